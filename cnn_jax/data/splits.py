"""Stratified, seeded splits."""

import math

import numpy as np

from cnn_jax.data.source import Source, Subset
from cnn_jax.errors import InputError


def hold_out(
    source: Source, size: float | int, *, seed: int, argument: str = "validation"
) -> tuple[Subset, Subset]:
    """Split a source in two, with the classes in equal proportions on both sides.

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
    from sklearn.model_selection import train_test_split

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
    rest, held = train_test_split(
        np.arange(total), test_size=int(count), stratify=source.labels, random_state=seed
    )
    return Subset(source, np.sort(rest)), Subset(source, np.sort(held))
