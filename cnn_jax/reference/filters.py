"""Kernels made by hand, as data: what a network has to find by itself was once drawn on paper.

Slide them with `convolution2d`, which does not turn them. An edge filter answers with a positive
number where the image is brighter on the side of its positive entries, a negative one where it is
darker, and zero where it is flat: its entries add up to zero. A blur's entries add up to one, so
that the brightness stays.

Gonzalez and Woods 2018, "Digital Image Processing", sections 3.5, 3.6 and 10.2.
"""

import math
from types import MappingProxyType

import numpy as np

from cnn_jax.errors import InputError
from cnn_jax.reference.arguments import check_odd, whole


def box_blur(size: int) -> np.ndarray:
    """Blur by the plain mean of a square.

    Gonzalez and Woods 2018, "Digital Image Processing", section 3.5.

    Args:
        size: side of the kernel, in pixels.

    Returns:
        float64 [size, size], adding up to 1.

    Raises:
        InputError: if the size is below 1.

    >>> box_blur(2)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    size = whole(size, name="size", at_least=1)
    return np.full((size, size), 1 / size**2)


def gaussian_blur(size: int, *, sigma: float) -> np.ndarray:
    """Blur by a bell: near pixels count more than far ones.

    Gonzalez and Woods 2018, "Digital Image Processing", section 3.5.

    Args:
        size: side of the kernel, in pixels; odd. 6 * sigma holds nearly all of the bell.
        sigma: standard deviation of the bell, in pixels.

    Returns:
        float64 [size, size], adding up to 1.

    Raises:
        InputError: if the size is even, or sigma is not positive.

    >>> gaussian_blur(3, sigma=1.0).round(3)
    array([[0.075, 0.124, 0.075],
           [0.124, 0.204, 0.124],
           [0.075, 0.124, 0.075]])
    """
    check_odd(size, name="size")
    if not sigma > 0:
        raise InputError(f"`sigma` (={sigma}) must be positive: 1.0 suits a size of 5")
    kernel = np.zeros((size, size))
    centre = size // 2
    for i in range(size):
        for j in range(size):
            kernel[i, j] = math.exp(-((i - centre) ** 2 + (j - centre) ** 2) / (2 * sigma**2))
    return kernel / kernel.sum()


def _constant(kernel) -> np.ndarray:
    # The table is shared by everyone who imports it: nobody may write into it.
    kernel = np.array(kernel, np.float64)
    kernel.setflags(write=False)
    return kernel


FILTERS = MappingProxyType(
    {
        name: _constant(kernel)
        for name, kernel in {
            "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
            "vertical": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
            "horizontal": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
            "diagonal": [[0, -1, -1], [1, 0, -1], [1, 1, 0]],
            "antidiagonal": [[1, 1, 0], [1, 0, -1], [0, -1, -1]],
            "sobel_vertical": [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
            "sobel_horizontal": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
            "prewitt_vertical": [[1, 0, -1], [1, 0, -1], [1, 0, -1]],
            "prewitt_horizontal": [[1, 1, 1], [0, 0, 0], [-1, -1, -1]],
            "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
            "box_blur": box_blur(3),
            "gaussian_blur": gaussian_blur(5, sigma=1.0),
            "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
            "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
        }.items()
    }
)
