"""Transposed convolution, written out: every pixel pastes the kernel onto a larger image."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_groups,
    check_kernel_channels,
    float64,
    padding_pairs,
    pair,
    whole,
)
from cnn_jax.reference.convolution import filter_bias
from cnn_jax.reference.geometry import transposed_output_size

_IMAGE = ("height", "width", "channels")
_KERNEL = ("height", "width", "channels", "filters // groups")


def transposed_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Paste the kernel at every pixel, weighted by that pixel: images grow instead of shrinking.

    The transpose of `convolution` as a linear map, so the options are those of the convolution it
    turns round. It is not an inverse: sizes come back, values do not.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4;
    the options mean what they mean in PyTorch's ConvTranspose2d and ONNX's ConvTranspose.

    Args:
        image: float [H, W, C].
        kernel: float [kh, kw, C, F // groups]: the image's channels before the filters.
        bias: float [F], added everywhere; None adds nothing.
        stride: pixels from one pasted kernel to the next, or (down, right).
        padding: pixels cut off every side, (height, width), or ((top, bottom), (left, right)).
        output_padding: pixels added at the bottom and the right, or (bottom, right).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C. The first channels write the first filters.

    Returns:
        float64 [H', W', F], H' and W' by `transposed_output_size`.

    Raises:
        InputError: for integers, wrong shapes, groups that do not divide, or impossible sizes.

    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None]
    >>> transposed_convolution(image, np.ones((2, 2, 1, 1)), stride=2)[:, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]])
    """
    image = float64(image, _IMAGE, name="image")
    kernel = float64(kernel, _KERNEL, name="kernel")
    (*_, channels), (*_, written) = image.shape, kernel.shape
    groups = whole(groups, name="groups", at_least=1)
    check_groups(groups, channels=channels, filters=written * groups)
    check_kernel_channels(kernel.shape[2], channels=channels, groups=1)
    bias = filter_bias(bias, written * groups)
    strides = pair(stride, name="stride", at_least=1)
    apart = pair(dilation, name="dilation", at_least=1)
    extra = pair(output_padding, name="output_padding", at_least=0)
    sides = padding_pairs(padding)
    out_height, out_width = (
        transposed_output_size(n, kernel=k, stride=s, padding=p, output_padding=e, dilation=d)
        for n, k, s, p, e, d in zip(
            image.shape[:2], kernel.shape[:2], strides, sides, extra, apart, strict=True
        )
    )

    pasted = _paste(image, kernel, strides=strides, apart=apart, groups=groups)
    pasted = np.pad(pasted, ((0, extra[0]), (0, extra[1]), (0, 0)))
    (top, _), (left, _) = sides
    return pasted[top : top + out_height, left : left + out_width] + bias


def _paste(
    image: np.ndarray,
    kernel: np.ndarray,
    *,
    strides: tuple[int, int],
    apart: tuple[int, int],
    groups: int,
) -> np.ndarray:
    """Return the sum of all pasted kernels, with nothing cut off yet."""
    (height, width, channels), (kh, kw, _, written) = image.shape, kernel.shape
    output = np.zeros(
        (
            (height - 1) * strides[0] + (kh - 1) * apart[0] + 1,
            (width - 1) * strides[1] + (kw - 1) * apart[1] + 1,
            written * groups,
        )
    )
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(kh, kw):
            pixel = output[i * strides[0] + a * apart[0], j * strides[1] + b * apart[1]]
            for c in range(channels):
                first = c // (channels // groups) * written
                pixel[first : first + written] += image[i, j, c] * kernel[a, b, c]
    return output
