"""Convolution, written out: slide a small kernel over the image, multiply, add up."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_groups,
    check_kernel_channels,
    check_length,
    float64,
    padding_pairs,
    pair,
    whole,
)
from cnn_jax.reference.geometry import output_size
from cnn_jax.reference.padding import pad

_PLANE = ("height", "width")
_IMAGE = ("height", "width", "channels")
_KERNEL = ("height", "width", "channels // groups", "filters")


def convolution2d(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Slide one kernel over one grey image: at each position multiply, add up, write down.

    What convolutional networks call convolution is cross-correlation: the kernel is laid on the
    image as it is printed, while mathematics turns it by 180 degrees first (see
    `true_convolution2d`). A network learns its kernels, so it would learn the turned ones: the
    difference matters only for kernels made by hand.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 9.6.

    Args:
        image: float [H, W].
        kernel: float [kh, kw].
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.

    Returns:
        float64 [H', W'], each by `output_size`.

    Raises:
        InputError: for integers, a wrong rank, or a kernel larger than the padded image.

    >>> image = np.array([[1, 2, 3, 0, 1], [4, 5, 6, 1, 2], [7, 8, 9, 2, 3],
    ...                   [1, 3, 5, 4, 0], [2, 4, 6, 1, 2]], float)
    >>> kernel = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], float)
    >>> convolution2d(image, kernel)    # the first number: 1 + 3 + 5 + 7 + 9
    array([[25., 18., 17.],
           [24., 22., 15.],
           [27., 20., 24.]])
    """
    image = float64(image, _PLANE, name="image")
    kernel = float64(kernel, _PLANE, name="kernel")
    down, right = pair(stride, name="stride", at_least=1)
    rows, columns = padding_pairs(padding)
    kh, kw = kernel.shape
    out_height = output_size(image.shape[0], kernel=kh, stride=down, padding=rows)
    out_width = output_size(image.shape[1], kernel=kw, stride=right, padding=columns)

    padded = pad(image, padding, mode=padding_mode)
    output = np.zeros((out_height, out_width))
    for i in range(out_height):
        for j in range(out_width):
            patch = padded[i * down : i * down + kh, j * right : j * right + kw]
            output[i, j] = np.sum(patch * kernel)
    return output


def true_convolution2d(
    image: ArrayLike,
    kernel: ArrayLike,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Convolution as mathematics defines it: the kernel is turned by 180 degrees first.

    Turned so, a single bright pixel is answered by the kernel as it is printed (cross-correlation
    answers with the turned one), and the operation commutes: image and kernel may change places.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 9.5.

    Args:
        image: float [H, W].
        kernel: float [kh, kw].
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.

    Returns:
        float64 [H', W'], each by `output_size`.

    Raises:
        InputError: as `convolution2d`.

    >>> dot = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], float)
    >>> kernel = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], float)
    >>> true_convolution2d(dot, kernel, padding=1)
    array([[1., 2., 3.],
           [4., 5., 6.],
           [7., 8., 9.]])
    >>> convolution2d(dot, kernel, padding=1)
    array([[9., 8., 7.],
           [6., 5., 4.],
           [3., 2., 1.]])
    """
    kernel = float64(kernel, _PLANE, name="kernel")
    return convolution2d(
        image, kernel[::-1, ::-1], stride=stride, padding=padding, padding_mode=padding_mode
    )


def convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Convolution as a layer does it: many channels in, many filters out.

    A filter has a kernel for each channel that it sees; their answers are added up, and each
    filter writes one channel of the output. Dilation leaves gaps between a kernel's entries.
    Groups share out channels and filters: the first filters see the first channels, and so on.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 2;
    dilation: Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions",
    equation 2; groups: Krizhevsky, Sutskever and Hinton 2012, section 3.5.

    Args:
        image: float [H, W, C].
        kernel: float [kh, kw, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C and F.
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.

    Returns:
        float64 [H', W', F], H' and W' by `output_size`.

    Raises:
        InputError: for integers, wrong shapes, groups that do not divide, or too large a kernel.

    >>> convolution(np.ones((4, 4, 3)), np.ones((3, 3, 3, 2)), bias=[0.0, 0.5])[:, :, 1]
    array([[27.5, 27.5],
           [27.5, 27.5]])
    """
    image = float64(image, _IMAGE, name="image")
    kernel = float64(kernel, _KERNEL, name="kernel")
    kh, kw, seen, filters = kernel.shape
    check_groups(groups, channels=image.shape[2], filters=filters)
    check_kernel_channels(seen, channels=image.shape[2], groups=groups)
    bias = filter_bias(bias, filters)
    down, right = pair(stride, name="stride", at_least=1)
    apart_down, apart_right = pair(dilation, name="dilation", at_least=1)
    rows, columns = padding_pairs(padding)
    height, width = image.shape[:2]
    height = output_size(height, kernel=kh, stride=down, padding=rows, dilation=apart_down)
    width = output_size(width, kernel=kw, stride=right, padding=columns, dilation=apart_right)

    padded = pad(image, padding, mode=padding_mode)
    output = np.zeros((height, width, filters))
    for i in range(height):
        for j in range(width):
            patch = padded[i * down :: apart_down, j * right :: apart_right][:kh, :kw]
            for f in range(filters):
                first = f // (filters // groups) * seen
                output[i, j, f] = np.sum(patch[:, :, first : first + seen] * kernel[..., f])
    return output + bias


def true_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Convolution of many channels with every kernel turned by 180 degrees first.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 9.5.

    Args:
        image: float [H, W, C].
        kernel: float [kh, kw, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C and F.
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.

    Returns:
        float64 [H', W', F], H' and W' by `output_size`.

    Raises:
        InputError: as `convolution`.

    >>> row = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
    >>> difference = np.array([1.0, -1.0]).reshape(1, 2, 1, 1)
    >>> true_convolution(row, difference).ravel()
    array([1., 2.])
    >>> convolution(row, difference).ravel()
    array([-1., -2.])
    """
    kernel = float64(kernel, _KERNEL, name="kernel")
    return convolution(
        image,
        kernel[::-1, ::-1],
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )


def depthwise_convolution(
    image: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Convolution in which channels never mix: as many groups as there are channels.

    A multiplier M gives every channel M filters of its own; their answers lie next to each other
    in the output.

    Howard et al. 2017, "MobileNets", section 3.1, equation 3.

    Args:
        image: float [H, W, C].
        kernel: float [kh, kw, 1, C * M].
        bias: float [C * M], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.

    Returns:
        float64 [H', W', C * M], H' and W' by `output_size`.

    Raises:
        InputError: for integers, wrong shapes, or a kernel larger than the padded image.

    >>> image = np.stack([np.ones((3, 3)), np.full((3, 3), 2.0)], axis=-1)
    >>> depthwise_convolution(image, np.ones((3, 3, 1, 2)))
    array([[[ 9., 18.]]])
    """
    image = float64(image, _IMAGE, name="image")
    return convolution(
        image,
        kernel,
        bias,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=image.shape[2],
        padding_mode=padding_mode,
    )


def convolution1d(
    signal: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zero",
) -> np.ndarray:
    """Convolution along time: a signal is an image of height 1.

    Waibel et al. 1989, "Phoneme Recognition Using Time-Delay Neural Networks", section II.

    Args:
        signal: float [L, C].
        kernel: float [k, C // groups, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: samples from one position to the next.
        padding: samples added at both ends, or (before, after).
        dilation: samples from one entry of the kernel to the next.
        groups: number of groups; divides C and F.
        padding_mode: what the added samples hold: zero, reflect, edge or wrap.

    Returns:
        float64 [L', F], L' by `output_size`.

    Raises:
        InputError: as `convolution`.

    >>> signal = np.array([[1.0], [2.0], [4.0], [8.0]])
    >>> convolution1d(signal, np.array([1.0, 1.0]).reshape(2, 1, 1)).ravel()
    array([ 3.,  6., 12.])
    """
    signal = float64(signal, ("length", "channels"), name="signal")
    kernel = float64(kernel, ("length", "channels // groups", "filters"), name="kernel")
    return convolution(
        signal[None],
        kernel[None],
        bias,
        stride=(1, whole(stride, name="stride", at_least=1)),
        padding=((0, 0), pair(padding, name="padding", at_least=0)),
        dilation=(1, whole(dilation, name="dilation", at_least=1)),
        groups=groups,
        padding_mode=padding_mode,
    )[0]


def filter_bias(bias: ArrayLike | None, filters: int) -> np.ndarray:
    """Return the bias as float64 [filters]: zeros where there is none.

    >>> filter_bias(None, 2)
    array([0., 0.])
    """
    if bias is None:
        return np.zeros(filters)
    bias = float64(bias, name="bias")
    check_length(bias, name="bias", length=filters, what="filter")
    return bias
