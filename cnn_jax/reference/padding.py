"""Padding, written out: pixels around an image, so that a kernel can stand on its border too."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference.arguments import (
    Padding,
    check_padding_fits,
    check_padding_mode,
    float64,
    padding_pairs,
)

_PLANE = ("height", "width")
_IMAGE = ("height", "width", "channels")


def pad(image: ArrayLike, padding: Padding, *, mode: str = "zero") -> np.ndarray:
    """Surround an image with pixels.

    A row `a b c d` with two pixels on each side becomes

        zero     0 0 | a b c d | 0 0
        reflect  c b | a b c d | c b     mirrored at the border pixel, which is not repeated
        edge     a a | a b c d | d d
        wrap     c d | a b c d | a b     the image repeated like a tile

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 2.2,
    for zeros; the other modes are those of `numpy.pad`.

    Args:
        image: float [H, W] or [H, W, C].
        padding: pixels on every side, (height, width), or ((top, bottom), (left, right)).
        mode: zero, reflect, edge or wrap.

    Returns:
        float64 [top + H + bottom, left + W + right] or the same with C.

    Raises:
        InputError: for integers, a wrong rank, an unknown mode, or a padding that reflect (H - 1
            at most) or wrap (H at most) finds too few pixels for.

    >>> pad([[1.0, 2.0, 3.0]], ((0, 0), (2, 2)), mode="reflect")
    array([[3., 2., 1., 2., 3., 2., 1.]])
    """
    image = float64(image, _PLANE, _IMAGE, name="image")
    check_padding_mode(mode, name="mode")
    (top, bottom), (left, right) = padding_pairs(padding)
    height, width = image.shape[:2]
    check_padding_fits(height, (top, bottom), mode=mode)
    check_padding_fits(width, (left, right), mode=mode)

    padded = np.zeros((top + height + bottom, left + width + right, *image.shape[2:]))
    if mode == "zero":
        padded[top : top + height, left : left + width] = image
        return padded
    for i in range(padded.shape[0]):
        for j in range(padded.shape[1]):
            padded[i, j] = image[_source(i - top, height, mode), _source(j - left, width, mode)]
    return padded


def _source(index: int, size: int, mode: str) -> int:
    """Return the index in the image from which `index` copies; 0 is the image's first pixel."""
    if mode == "reflect":
        index = abs(index)
        return min(index, 2 * (size - 1) - index)
    if mode == "edge":
        return min(max(index, 0), size - 1)
    return index % size
