"""Convolution in its forms, as pure functions on NHWC batches."""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.layers.arguments import Padding, Pair, array, float_array, padding_pairs, pair

_PAD_MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def pad(images, padding: Padding, *, mode: str = "zero") -> jax.Array:
    """Surround images by pixels."""
    images = array("images", images, "N H W C")
    if mode not in _PAD_MODES:
        raise ValueError(f"`padding_mode` (={mode!r}) must be one of {', '.join(_PAD_MODES)}")
    pads = padding_pairs(padding)
    return jnp.pad(images, ((0, 0), *pads, (0, 0)), mode=_PAD_MODES[mode])


def convolution(
    images,
    kernel,
    bias=None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zero",
    plain: bool = False,
) -> jax.Array:
    """Slide filters over images."""
    images = float_array("images", images, "N H W C")
    kernel = array("kernel", kernel, "kh kw C/groups F").astype(images.dtype)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    pads = padding_pairs(padding)
    if padding_mode != "zero":
        images, pads = pad(images, pads, mode=padding_mode), ((0, 0), (0, 0))
    output = _plain(images, kernel, stride, pads, dilation, groups)
    return output if bias is None else output + jnp.asarray(bias).astype(output.dtype)


def _plain(images, kernel, stride, pads, dilation, groups):
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=stride,
        padding=pads,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=_LAYOUT,
    )


def true_convolution(images, kernel, bias=None, **options) -> jax.Array:
    """Convolve in the mathematicians' sense: with the kernel turned by 180 degrees."""
    return convolution(images, jnp.flip(jnp.asarray(kernel), (0, 1)), bias, **options)


def depthwise_convolution(images, kernel, bias=None, **options) -> jax.Array:
    """Convolve every channel with filters of its own."""
    images = jnp.asarray(images)
    return convolution(images, kernel, bias, groups=images.shape[-1], **options)


def convolution1d(
    signals, kernel, bias=None, *, stride=1, padding=0, dilation=1, groups=1, padding_mode="zero"
) -> jax.Array:
    """Slide filters over signals."""
    signals = float_array("signals", signals, "N L C")
    kernel = array("kernel", kernel, "k C/groups F")
    return convolution(
        signals[:, None],
        kernel[None],
        bias,
        stride=(1, stride),
        padding=((0, 0), (padding, padding) if isinstance(padding, int) else padding),
        dilation=(1, dilation),
        groups=groups,
        padding_mode=padding_mode,
    )[:, 0]


def transposed_convolution(
    images,
    kernel,
    bias=None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> jax.Array:
    """Spread every pixel over the output by the filters."""
    images = float_array("images", images, "N H W C")
    kernel = array("kernel", kernel, "kh kw C F/groups").astype(images.dtype)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    output_padding = pair("output_padding", output_padding, least=0)
    height, width, channels, features = kernel.shape
    pads = [
        (dil * (size - 1) - low, dil * (size - 1) - high + extra)
        for size, dil, (low, high), extra in zip(
            (height, width), dilation, padding_pairs(padding), output_padding, strict=True
        )
    ]
    kernel = jnp.flip(kernel, (0, 1)).reshape(height, width, groups, channels // groups, features)
    kernel = jnp.moveaxis(kernel, 2, 3).reshape(height, width, channels // groups, -1)
    output = lax.conv_general_dilated(
        images,
        kernel,
        window_strides=(1, 1),
        padding=pads,
        lhs_dilation=stride,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=_LAYOUT,
    )
    return output if bias is None else output + jnp.asarray(bias).astype(output.dtype)
