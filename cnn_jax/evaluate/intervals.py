"""Intervals: how far a figure measured on these images may be off."""

import math
from collections.abc import Callable

import numpy as np

from cnn_jax import ranges
from cnn_jax.errors import InputError


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: np.ndarray,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Measure anew on images drawn with replacement, and take the middle of what comes out.

    Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3: the percentile
    interval. It is too narrow for a few dozen images, and for a fraction near 0 or 1, for which
    there is `accuracy_interval`.

    Args:
        statistic: of arrays like the given ones -> a number; where it is NaN, as where a class is
            not drawn, the drawing does not count.
        arrays: [N, ...], all of as many images; an image's entries are drawn together.
        level: how often the interval shall hold the true value.
        resamples: how often to draw N images.
        seed: of the drawing.

    Returns:
        The lowest and the highest value; NaN for no images, or where the statistic always is.

    Raises:
        InputError: there is no array, their lengths differ, or an option is out of range.

    >>> low, high = bootstrap_interval(np.mean, np.arange(100.0))
    >>> round(low), round(high)
    (44, 55)
    """
    _check_level(level)
    ranges.whole("resamples", resamples, remedy="1000 is usual")
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        raise InputError(
            f"`arrays` have lengths of {lengths}: there must be one entry of each for every image"
        )
    if not lengths[0]:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    values = np.empty(resamples)
    for number in range(resamples):
        # Half as many bits are drawn faster, and indices fit into them.
        chosen = generator.integers(0, lengths[0], lengths[0], dtype=np.int32)
        values[number] = statistic(*(np.take(array, chosen, axis=0) for array in arrays))
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def accuracy_interval(correct: int, images: int, *, level: float = 0.95) -> tuple[float, float]:
    """Say between what the accuracy lies of which a sample is known.

    Wilson 1927, "Probable Inference": the accuracies that such a sample is no surprise under. It
    also holds where all are right, where drawing anew says that nothing can be wrong.

    Args:
        correct: images that are right.
        images: all of them.
        level: how often the interval shall hold the true accuracy.

    Returns:
        The lowest and the highest accuracy, 0 to 1; NaN for no images.

    Raises:
        InputError: `correct` does not lie between 0 and `images`, or the level is out of range.

    >>> [round(end, 3) for end in accuracy_interval(360, 360)]
    [0.989, 1.0]
    """
    _check_level(level)
    if not 0 <= correct <= images:
        raise InputError(
            f"`correct` (={correct}) must lie between 0 and `images` (={images}): count again"
        )
    if not images:
        return float("nan"), float("nan")
    from scipy.special import ndtri

    deviations = float(ndtri((1 + level) / 2))
    share, square = correct / images, deviations**2 / images
    middle = (share + square / 2) / (1 + square)
    reach = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _check_level(level: float) -> None:
    ranges.fraction("level", level, remedy="0.95 is usual")
    ranges.positive("level", level, remedy="0.95 is usual")
