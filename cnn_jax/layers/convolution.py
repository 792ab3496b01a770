"""Convolution in its forms, as pure functions on batches."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cnn_jax.layers import convolution_forms
from cnn_jax.layers.arguments import floats, vector
from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_groups,
    check_kernel_channels,
    check_padding_fits,
    check_padding_mode,
    padding_pairs,
    pair,
    whole,
)
from cnn_jax.reference.geometry import output_size

IMAGES = ("images", "height", "width", "channels")
_KERNEL = ("height", "width", "channels // groups", "filters")
_NUMPY_MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(images: ArrayLike, padding: Padding, *, mode: str = "zero") -> jax.Array:
    """Surround images with pixels, so that a kernel can be centred on their borders too.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 2.2,
    for zeros; the other modes are those of `jax.numpy.pad`, and `cnn_jax.reference.pad` draws
    them.

    Args:
        images: float [N, H, W, C].
        padding: pixels on every side, (height, width), or ((top, bottom), (left, right)).
        mode: zero, reflect (the border pixel is not repeated), edge or wrap.

    Returns:
        [N, top + H + bottom, left + W + right, C] of the same type.

    Raises:
        InputError: for an unknown mode, or a padding that reflect (H - 1 at most) or wrap (H at
            most) finds too few pixels for.

    >>> row = jnp.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> pad(row, ((0, 0), (2, 2)), mode="reflect").ravel()
    Array([3., 2., 1., 2., 3., 2., 1.], dtype=float32)
    """
    images = floats(images, IMAGES, name="images")
    check_padding_mode(mode, name="mode")
    rows, columns = padding_pairs(padding)
    check_padding_fits(images.shape[1], rows, mode=mode)
    check_padding_fits(images.shape[2], columns, mode=mode)
    return jnp.pad(images, ((0, 0), rows, columns, (0, 0)), mode=_NUMPY_MODES[mode])


def convolution(
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zero",
    plain: bool = False,
) -> jax.Array:
    """Slide filters over images: at each position multiply, add up over all channels seen.

    As everywhere in deep learning this is cross-correlation; `true_convolution` turns the kernel.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 2;
    dilation: Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions",
    equation 2; groups: Krizhevsky, Sutskever and Hinton 2012, section 3.5.

    Args:
        images: float [N, H, W, C]; the computation is of their type.
        kernel: float [kh, kw, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C and F. The first filters see the first channels only.
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.
        plain: whether to keep to the compiler's convolution where a faster form is known.

    Returns:
        [N, H', W', F] of the images' type, H' and W' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: for integers, wrong shapes, groups that do not divide, or a kernel larger than
            the padded image.

    >>> convolution(jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 2)), jnp.array([0.0, 0.5]))[0, 0]
    Array([[27. , 27.5],
           [27. , 27.5]], dtype=float32)
    """
    images = floats(images, IMAGES, name="images")
    kernel = floats(kernel, _KERNEL, name="kernel").astype(images.dtype)
    check_groups(groups, channels=images.shape[3], filters=kernel.shape[3])
    check_kernel_channels(kernel.shape[2], channels=images.shape[3], groups=groups)
    check_padding_mode(padding_mode)
    strides = pair(stride, name="stride", at_least=1)
    dilations = pair(dilation, name="dilation", at_least=1)
    pads = padding_pairs(padding)
    for axis in (0, 1):
        output_size(
            images.shape[1 + axis],
            kernel=kernel.shape[axis],
            stride=strides[axis],
            padding=pads[axis],
            dilation=dilations[axis],
        )
    if padding_mode != "zero" or _beyond_reach(pads, kernel, dilations):
        images, pads = pad(images, pads, mode=padding_mode), ((0, 0), (0, 0))
    call = images, kernel, strides, pads, dilations, groups
    form = convolution_forms.compiled if plain else convolution_forms.fastest(*call)
    return add_bias(form(*call), bias)


def _beyond_reach(pads, kernel: jax.Array, dilations: tuple[int, int]) -> bool:
    """Whether some positions see padding alone, so that the gradient would crop, not pad.

    As a convolution with a negative padding the gradient would be wrong: XLA's CPU backend reads
    beside the images there (openxla/xla issue 48713, seen in jaxlib 0.10.2).
    """
    return any(
        max(sides) > gap * (length - 1)
        for sides, gap, length in zip(pads, dilations, kernel.shape[:2], strict=True)
    )


def add_bias(output: jax.Array, bias: ArrayLike | None) -> jax.Array:
    """Add a bias [F] to each filter's answers [N, H, W, F]; None adds nothing."""
    if bias is None:
        return output
    bias = vector(bias, name="bias", length=output.shape[-1], what="filter")
    return output + bias.astype(output.dtype)


def true_convolution(
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zero",
    plain: bool = False,
) -> jax.Array:
    """Convolve in the sense of mathematics: every kernel is turned by 180 degrees first.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 9.5.

    Args:
        images: float [N, H, W, C]; the computation is of their type.
        kernel: float [kh, kw, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C and F.
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.
        plain: whether to keep to the compiler's convolution where a faster form is known.

    Returns:
        [N, H', W', F] of the images' type, H' and W' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `convolution`.

    >>> row = jnp.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
    >>> true_convolution(row, jnp.array([1.0, -1.0]).reshape(1, 2, 1, 1)).ravel()
    Array([1., 2.], dtype=float32)
    """
    kernel = floats(kernel, _KERNEL, name="kernel")
    return convolution(
        images,
        kernel[::-1, ::-1],
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
        plain=plain,
    )


def depthwise_convolution(
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    padding_mode: str = "zero",
    plain: bool = False,
) -> jax.Array:
    """Convolve every channel with filters of its own; channels do not mix.

    On a CPU it is computed as a sum of shifted images, one for each entry of the kernel, which is
    many times faster than the compiler's grouped convolution there.

    Sifre 2014, "Rigid-motion scattering for image classification", section 6.2; Howard et al.
    2017, "MobileNets", section 3.1.

    Args:
        images: float [N, H, W, C]; the computation is of their type.
        kernel: float [kh, kw, 1, C * multiplier]; the first `multiplier` filters see channel 0.
        bias: float [C * multiplier], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.
        plain: whether to keep to the compiler's convolution on a CPU too.

    Returns:
        [N, H', W', C * multiplier], H' and W' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `convolution`.

    >>> images = jnp.stack([jnp.ones((1, 3, 3)), jnp.full((1, 3, 3), 2.0)], axis=-1)
    >>> depthwise_convolution(images, jnp.ones((3, 3, 1, 2))).ravel()
    Array([ 9., 18.], dtype=float32)
    """
    images = floats(images, IMAGES, name="images")
    return convolution(
        images,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=images.shape[3],
        padding_mode=padding_mode,
        plain=plain,
    )


def convolution1d(
    signals: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zero",
    plain: bool = False,
) -> jax.Array:
    """Slide filters along signals: a signal is an image of height 1.

    Waibel et al. 1989, "Phoneme Recognition Using Time-Delay Neural Networks", section II.

    Args:
        signals: float [N, L, C]; the computation is of their type.
        kernel: float [k, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: samples from one position to the next.
        padding: samples added at both ends, or (before, after).
        dilation: samples from one entry of the kernel to the next.
        groups: number of groups; divides C and F.
        padding_mode: what the added samples hold: zero, reflect, edge or wrap.
        plain: whether to keep to the compiler's convolution where a faster form is known.

    Returns:
        [N, L', F] of the signals' type, L' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `convolution`.

    >>> signals = jnp.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1)
    >>> convolution1d(signals, jnp.ones((2, 1, 1))).ravel()
    Array([ 3.,  6., 12.], dtype=float32)
    """
    signals = floats(signals, ("signals", "length", "channels"), name="signals")
    kernel = floats(kernel, ("length", "channels // groups", "filters"), name="kernel")
    return convolution(
        signals[:, None],
        kernel[None],
        bias,
        stride=(1, whole(stride, name="stride", at_least=1)),
        padding=((0, 0), pair(padding, name="padding", at_least=0)),
        dilation=(1, whole(dilation, name="dilation", at_least=1)),
        groups=groups,
        padding_mode=padding_mode,
        plain=plain,
    )[:, 0]
