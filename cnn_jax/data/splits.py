"""Stratified, seeded splits."""

import hashlib
import math
from collections.abc import Iterator, Sequence

import numpy as np

from cnn_jax.data.source import Source, Subset
from cnn_jax.errors import InputError


def hold_out(
    source: Source, size: float | int, *, seed: int, argument: str = "validation"
) -> tuple[Subset, Subset]:
    """Split a source in two, with the classes in equal proportions on both sides.

    The same images as scikit-learn's `train_test_split(stratify=labels, random_state=seed)` puts
    there, which takes longer to import than digits to train on.

    Args:
        source: what is split.
        size: what the second part gets: a fraction (0 < size < 1) or a number of images (>= 1).
        seed: which images it gets.
        argument: what the user calls the size, for the error messages.

    Returns:
        The rest and the held-out part, each in the order of the source.

    Raises:
        InputError: the size is out of range, or too small to hold an image of each class.
    """
    total, classes = len(source), len(np.unique(source.labels))
    count = math.ceil(size * total) if 0 < size < 1 else size
    if count != int(count) or not 0 < count < total:
        raise InputError(
            f"`{argument}` (={size}) must be a fraction between 0 and 1 or a number of images "
            f"below the {total} that there are"
        )
    if min(count, total - count) < classes:
        raise InputError(
            f"`{argument}` (={size}) takes {count} of {total} images, which leaves one part "
            f"with fewer images than the {classes} classes: choose another size"
        )
    counts = np.bincount(source.labels)
    single = np.flatnonzero(counts == 1)
    if len(single):
        raise InputError(
            f"class {single[0]} has one image only, which cannot be in both parts of a split: add "
            f"images to it or turn `{argument}` off (=0)"
        )
    rest, held = _stratified(source.labels, int(count), seed)
    return Subset(source, rest), Subset(source, held)


def hold_out_by_name(
    source: Source,
    names: Sequence[str],
    size: float | int,
    *,
    seed: int,
    argument: str = "validation",
) -> tuple[Subset, Subset]:
    """Split a source in two by the names of its images, or of the groups that they belong to.

    The seed and a name give a number between 0 and 1, by a hash. With a fraction as `size`, what
    lies below it is held out: so adding files moves none that was there from one part to the
    other, and each class is held out in this proportion but for chance (5,000 images, 0.1: 500
    +- 21). Only a class that would be missing in one part gets its nearest name there. With a
    number as `size`, the lowest names of each class are held out, exactly in proportion, but never
    the last of a class; adding files may then move some across. One name, or group, is always on
    one side.

    Args:
        source: what is split; its labels may be [N] or, zeros and ones, [N, K].
        names: [N], a name for each image; images of equal names stay together.
        size: what the second part gets: a fraction (0 < size < 1) or a number of images (>= 1; of
            grouped or multi-label images about as many).
        seed: which images it gets.
        argument: what the user calls the size, for the error messages.

    Returns:
        The rest and the held-out part, each in the order of the source.

    Raises:
        InputError: the size is out of range, leaves a part empty, or leaves a class with no image
            that is not held out.

    >>> from cnn_jax.data.source import ArraySource
    >>> source = ArraySource(np.zeros((8, 2, 2, 1), np.uint8), np.repeat([0, 1], 4))
    >>> rest, held = hold_out_by_name(source, list("abcdefgh"), 2, seed=0)
    >>> held.labels
    array([0, 1])
    """
    total = len(source)
    if not 0 < size < total or (size >= 1 and size != int(size)):
        raise InputError(
            f"`{argument}` (={size}) must be a fraction between 0 and 1 or a number of images "
            f"below the {total} that there are"
        )
    unique, group = np.unique(np.asarray(names, object), return_inverse=True)
    height = np.array([_height(seed, name) for name in unique])
    exact = size >= 1 and len(unique) == total and source.labels.ndim == 1
    classes = list(_positions_by_class(source.labels))
    if exact:
        if size > total - len(classes):
            raise InputError(
                f"`{argument}` (={size}) of {total} images would leave a class with none to train "
                f"on: hold out {total - len(classes)} at most"
            )
        held = np.zeros(total, bool)
        for positions, count in zip(classes, _shares(classes, int(size)), strict=True):
            held[group[positions[np.argsort(height[group[positions]])[:count]]]] = True
    else:
        held = height < (size if size < 1 else size / total)
        for positions in classes:
            members = np.unique(group[positions])
            if len(members) > 1 and not held[members].any():
                held[members[np.argmin(height[members])]] = True
        for positions in classes:
            members = np.unique(group[positions])
            if held[members].all():
                held[members[np.argmax(height[members])]] = False
    chosen = held[group]
    if not chosen.any():
        raise InputError(
            f"`{argument}` (={size}) would hold out none of {total} images in {len(unique)} "
            "groups: choose a larger size"
        )
    return Subset(source, np.flatnonzero(~chosen)), Subset(source, np.flatnonzero(chosen))


def _stratified(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose `count` positions to hold out; return the others and them, in order."""
    generator = np.random.RandomState(seed)
    classes = list(_positions_by_class(labels))
    sizes = np.array([len(positions) for positions in classes])
    kept = _drawn(sizes, len(labels) - count, generator)
    _drawn(sizes - kept, count, generator)  # all that is left; but it may take random numbers
    rest, held = [], []
    for positions, keep in zip(classes, kept, strict=True):
        shuffled = positions[generator.permutation(len(positions))]
        rest.append(shuffled[:keep])
        held.append(shuffled[keep:])
    return np.sort(np.concatenate(rest)), np.sort(np.concatenate(held))


def _drawn(sizes: np.ndarray, count: int, generator: np.random.RandomState) -> np.ndarray:
    """Share a number out in proportion to sizes, the largest remainders first, equals by lot."""
    exact = sizes / sizes.sum() * count
    shares = np.floor(exact)
    remainders, missing = exact - shares, int(count - shares.sum())
    for value in np.unique(remainders)[::-1] if missing else ():
        (equal,) = np.nonzero(remainders == value)
        drawn = generator.choice(equal, size=min(len(equal), missing), replace=False)
        shares[drawn] += 1
        missing -= len(drawn)
        if not missing:
            break
    return shares.astype(int)


def _height(seed: int, name: str) -> float:
    digest = hashlib.blake2b(f"{seed} {name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _positions_by_class(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the positions of the images of each class that has any."""
    if labels.ndim == 2:
        yield from (np.flatnonzero(column) for column in labels.T if column.any())
        return
    order = np.argsort(labels, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _shares(classes: list[np.ndarray], count: int) -> np.ndarray:
    """Share a number out in proportion, the largest remainders first, the last of none."""
    sizes = np.array([len(positions) for positions in classes])
    exact = sizes * count / sizes.sum()
    shares = np.floor(exact).astype(int)
    while missing := count - shares.sum():
        order = np.argsort(shares - exact, kind="stable")
        room = order[shares[order] < sizes[order] - 1]
        shares[room[:missing]] += 1
    return shares
