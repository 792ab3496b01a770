"""Comparison of two classifiers on the same images."""

from dataclasses import dataclass

import numpy as np

from cnn_jax.errors import InputError


@dataclass(frozen=True)
class McNemar:
    """Where two classifiers differ.

    Attributes:
        images: all that both have looked at.
        only_a: those that the first alone gets right.
        only_b: those that the second alone gets right.
        p_value: how often a coin would fall at least as unevenly on the images of which one alone
            is right; 1 for none.
    """

    images: int
    only_a: int
    only_b: int
    p_value: float

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first; NaN for no images."""
        return (self.only_b - self.only_a) / self.images if self.images else float("nan")


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Test whether two classifiers are equally often right: the exact form, two-sided.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions".

    Args:
        right_a: bool [N], whether the first is right.
        right_b: bool [N], whether the second is, of the same images in the same order.

    Returns:
        The comparison.

    Raises:
        InputError: they are not of the same number of images, or not boolean.

    Six images that only the second gets right, of seven where one alone does: 16 of 128 throws of
    seven coins fall as unevenly.

    >>> mcnemar(np.array([1, 0, 0, 0, 0, 0, 0, 1]) > 0, np.array([0, 1, 1, 1, 1, 1, 1, 1]) > 0)
    McNemar(images=8, only_a=1, only_b=6, p_value=0.125)
    """
    right_a, right_b = np.asarray(right_a), np.asarray(right_b)
    if right_a.dtype != bool or right_b.dtype != bool or right_a.shape != right_b.shape:
        raise InputError(
            f"`right_a` ({right_a.dtype} of shape {right_a.shape}) and `right_b` ({right_b.dtype} "
            f"of shape {right_b.shape}) must say of the same images whether each is right: compare "
            "predictions with labels"
        )
    from scipy.special import bdtr

    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    tail = float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    # Both tails hold the middle where the two are equal.
    return McNemar(right_a.size, only_a, only_b, min(1.0, 2 * tail))
