"""Transposed convolution as a pure function on batches."""

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from cnn_jax.layers.arguments import floats
from cnn_jax.layers.convolution import IMAGES, add_bias
from cnn_jax.layers.convolution_forms import LAYOUT
from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_groups,
    check_kernel_channels,
    padding_pairs,
    pair,
)
from cnn_jax.reference.geometry import transposed_output_size


def transposed_convolution(
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> jax.Array:
    """Paste the kernel at every pixel, weighted by that pixel: images grow instead of shrinking.

    Computed as the convolution that gives the same: the image spaced out with zeros by the
    stride, the kernel turned, the padding turned inside out.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4;
    the options mean what they mean in PyTorch's ConvTranspose2d and ONNX's ConvTranspose.

    Args:
        images: float [N, H, W, C]; the computation is of their type.
        kernel: float [kh, kw, C, F // groups]: the images' channels before the filters.
        bias: float [F], added everywhere; None adds nothing.
        stride: pixels from one pasted kernel to the next, or (down, right).
        padding: pixels cut off every side, (height, width), or ((top, bottom), (left, right)).
        output_padding: pixels added at the bottom and the right, or (bottom, right).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C. The first channels write the first filters, and so on.

    Returns:
        [N, H', W', F], H' and W' by `cnn_jax.reference.transposed_output_size`.

    Raises:
        InputError: for integers, wrong shapes, groups that do not divide, a padding that leaves
            nothing, or an `output_padding` that is not smaller than stride or dilation.

    >>> images = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    >>> transposed_convolution(images, jnp.ones((2, 2, 1, 1)), stride=2)[0, :, :, 0]
    Array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]], dtype=float32)
    """
    images = floats(images, IMAGES, name="images")
    kernel = floats(kernel, ("height", "width", "channels", "filters // groups"), name="kernel")
    channels, written = kernel.shape[2:]
    check_groups(groups, channels=images.shape[3], filters=written * groups)
    check_kernel_channels(channels, channels=images.shape[3], groups=1)
    strides = pair(stride, name="stride", at_least=1)
    dilations = pair(dilation, name="dilation", at_least=1)
    pads = _turned_padding(
        images.shape[1:3], kernel.shape[:2], strides, padding, output_padding, dilations
    )
    turned = _turned_kernel(kernel, groups).astype(images.dtype)
    return add_bias(_spaced_convolution(images, turned, strides, pads, dilations, groups), bias)


def _spaced_convolution(images, kernel, strides, pads, dilations, groups):
    """Convolve images whose pixels are spaced out by the strides; a padding may be negative.

    The compiler always gets a padding of 1 or more, and what that is too much is cut off the
    output. XLA's CPU backend reads beside the images where a padding is negative (openxla/xla issue
    48713), and its simplifier aborts where it is 0, stride and kernel are 2, and in the other
    direction the kernel is larger than the image (both seen in jaxlib 0.10.2). It reads beside
    them only where the padding in front is negative and that behind is not: the gradient of the
    images, whose paddings may be negative behind or at both sides, is right.
    """
    output = lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(1, 1),
        padding=[(max(before, 1), max(after, 1)) for before, after in pads],
        lhs_dilation=strides,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=LAYOUT,
    )
    rows, columns = (
        slice(max(1 - before, 0), size - max(1 - after, 0))
        for (before, after), size in zip(pads, output.shape[1:3], strict=True)
    )
    return output[:, rows, columns]


def _turned_padding(sizes, kernels, strides, padding, output_padding, dilations):
    """Return the padding, perhaps negative, by which a convolution cuts as the transposed one."""
    extras = pair(output_padding, name="output_padding", at_least=0)
    pads = []
    for size, kernel, stride, (before, after), extra, dilation in zip(
        sizes, kernels, strides, padding_pairs(padding), extras, dilations, strict=True
    ):
        transposed_output_size(
            size,
            kernel=kernel,
            stride=stride,
            padding=(before, after),
            output_padding=extra,
            dilation=dilation,
        )
        reach = dilation * (kernel - 1)
        pads.append((reach - before, reach - after + extra))
    return pads


def _turned_kernel(kernel: jax.Array, groups: int) -> jax.Array:
    """Turn a kernel [kh, kw, C, F // groups] into a convolution's [kh, kw, C // groups, F]."""
    kh, kw, channels, written = kernel.shape
    grouped = kernel[::-1, ::-1].reshape(kh, kw, groups, channels // groups, written)
    return jnp.moveaxis(grouped, 2, 3).reshape(kh, kw, channels // groups, groups * written)
