"""Convolution, written out: slide a small kernel over the image, multiply, add up."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference import geometry
from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_groups,
    check_kernel_channels,
    check_length,
    check_padding_fits,
    check_padding_mode,
    float64,
    padding_pairs,
    pair,
    whole,
)

_PLANE = ("height", "width")
_IMAGE = ("height", "width", "channels")
_KERNEL = ("height", "width", "channels // groups", "filters")


def _source(index: int, size: int, mode: str) -> int:
    """Return the image's index from which padded index `index` (from 0 at the image) copies."""
    if mode == "reflect":
        index = abs(index)
        return min(index, 2 * (size - 1) - index)
    if mode == "edge":
        return min(max(index, 0), size - 1)
    return index % size


def pad(image: ArrayLike, padding: Padding, *, mode: str = "zero") -> np.ndarray:
    """Surround an image with pixels, so that a kernel can be centred on its border too.

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
        InputError: for an unknown mode, or a padding that reflect (H - 1 at most) or wrap (H at
            most) finds too few pixels for.

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
    >>> convolution2d(image, kernel)
    array([[25., 13., 17.],
           [22., 22., 16.],
           [27., 20., 20.]])
    """
    image = float64(image, _PLANE, name="image")
    kernel = float64(kernel, _PLANE, name="kernel")
    check_padding_mode(padding_mode)
    vertical, horizontal = pair(stride, name="stride", at_least=1)
    rows, columns = padding_pairs(padding)
    kh, kw = kernel.shape
    output = np.zeros(
        (
            geometry.output_size(image.shape[0], kernel=kh, stride=vertical, padding=rows),
            geometry.output_size(image.shape[1], kernel=kw, stride=horizontal, padding=columns),
        )
    )

    padded = pad(image, padding, mode=padding_mode)
    for i in range(output.shape[0]):
        for j in range(output.shape[1]):
            top, left = i * vertical, j * horizontal
            patch = padded[top : top + kh, left : left + kw]
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

    Each filter is a stack of kernels, one for each channel that it sees; the answers of the stack
    are added up, and each filter writes one channel of the output. Dilation spreads the kernel,
    leaving gaps between its entries. Groups share out channels and filters: the first filters see
    the first channels only, and so on.

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
        InputError: for integers, wrong shapes, groups that do not divide, or a kernel larger than
            the padded image.

    >>> colour = np.ones((4, 4, 3))
    >>> filters = np.ones((3, 3, 3, 2))
    >>> convolution(colour, filters, bias=[0.0, 0.5])[:, :, 1]
    array([[27.5, 27.5],
           [27.5, 27.5]])
    """
    image = float64(image, _IMAGE, name="image")
    kernel = float64(kernel, _KERNEL, name="kernel")
    height, width, channels = image.shape
    kh, kw, seen, filters = kernel.shape
    check_groups(groups, channels=channels, filters=filters)
    check_kernel_channels(seen, channels=channels, groups=groups)
    check_padding_mode(padding_mode)
    bias = _bias(bias, filters)
    vertical, horizontal = pair(stride, name="stride", at_least=1)
    apart_down, apart_right = pair(dilation, name="dilation", at_least=1)
    rows, columns = padding_pairs(padding)
    out_height = geometry.output_size(
        height, kernel=kh, stride=vertical, padding=rows, dilation=apart_down
    )
    out_width = geometry.output_size(
        width, kernel=kw, stride=horizontal, padding=columns, dilation=apart_right
    )

    padded = pad(image, padding, mode=padding_mode)
    output = np.zeros((out_height, out_width, filters))
    for i in range(out_height):
        for j in range(out_width):
            top, left = i * vertical, j * horizontal
            bottom = top + apart_down * (kh - 1) + 1
            right = left + apart_right * (kw - 1) + 1
            patch = padded[top:bottom:apart_down, left:right:apart_right]
            for f in range(filters):
                first = f // (filters // groups) * seen
                group = patch[:, :, first : first + seen]
                output[i, j, f] = np.sum(group * kernel[:, :, :, f]) + bias[f]
    return output


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

    It is the transpose of `convolution` as a linear map, so stride, padding and dilation are
    those of the convolution it turns round: the stride spaces out the pasted kernels, and the
    padding is cut off the result. Not an inverse: sizes come back, values do not.

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", chapter 4;
    the options mean what they mean in PyTorch's ConvTranspose2d and ONNX's ConvTranspose.

    Args:
        image: float [H, W, C].
        kernel: float [kh, kw, C, F // groups]: the image's channels before the filters.
        bias: float [F], added everywhere; None adds nothing.
        stride: pixels from one pasted kernel to the next, or (down, right).
        padding: pixels cut off every side, (height, width), or ((top, bottom), (left, right)).
        output_padding: pixels added at the bottom and the right, or (bottom, right), for sizes
            that the stride alone does not reach.
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides C. The first channels write the first filters, and so on.

    Returns:
        float64 [H', W', F], H' and W' by `transposed_output_size`.

    Raises:
        InputError: for integers, wrong shapes, groups that do not divide, a padding that leaves
            nothing, or an `output_padding` that is not smaller than stride or dilation.

    >>> image = np.array([[1.0, 2.0], [3.0, 4.0]])[:, :, None]
    >>> kernel = np.ones((2, 2, 1, 1))
    >>> transposed_convolution(image, kernel, stride=2)[:, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.],
           [3., 3., 4., 4.],
           [3., 3., 4., 4.]])
    """
    image = float64(image, _IMAGE, name="image")
    kernel = float64(kernel, ("height", "width", "channels", "filters // groups"), name="kernel")
    height, width, channels = image.shape
    kh, kw, kernel_channels, written = kernel.shape
    check_groups(groups, channels=channels, filters=written * groups)
    check_kernel_channels(kernel_channels, channels=channels, groups=1)
    bias = _bias(bias, written * groups)
    vertical, horizontal = pair(stride, name="stride", at_least=1)
    apart_down, apart_right = pair(dilation, name="dilation", at_least=1)
    more_down, more_right = pair(output_padding, name="output_padding", at_least=0)
    (top, bottom), (left, right) = padding_pairs(padding)
    out_height = geometry.transposed_output_size(
        height,
        kernel=kh,
        stride=vertical,
        padding=(top, bottom),
        output_padding=more_down,
        dilation=apart_down,
    )
    out_width = geometry.transposed_output_size(
        width,
        kernel=kw,
        stride=horizontal,
        padding=(left, right),
        output_padding=more_right,
        dilation=apart_right,
    )

    canvas = np.zeros((top + out_height + bottom, left + out_width + right, written * groups))
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                first = c // (channels // groups) * written
                for a in range(kh):
                    for b in range(kw):
                        row = i * vertical + a * apart_down
                        column = j * horizontal + b * apart_right
                        canvas[row, column, first : first + written] += (
                            image[i, j, c] * kernel[a, b, c]
                        )
    return canvas[top : top + out_height, left : left + out_width] + bias


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
    """Convolution in which channels never mix: each is filtered on its own.

    The extreme of groups, one for each channel. A multiplier M gives every channel M filters of
    its own; their answers lie next to each other in the output.

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
    kernel = float64(kernel, ("height", "width", "1", "channels * multiplier"), name="kernel")
    channels, filters = image.shape[2], kernel.shape[3]
    check_groups(channels, channels=channels, filters=filters)
    check_kernel_channels(kernel.shape[2], channels=channels, groups=channels)
    bias = _bias(bias, filters)

    multiplier = filters // channels
    answers = [
        convolution(
            image[:, :, [f // multiplier]],
            kernel[:, :, :, [f]],
            bias[[f]],
            stride=stride,
            padding=padding,
            dilation=dilation,
            padding_mode=padding_mode,
        )
        for f in range(filters)
    ]
    return np.concatenate(answers, axis=2)


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


def _bias(bias: ArrayLike | None, filters: int) -> np.ndarray:
    """Return the bias as float64 [filters], zeros where there is none."""
    if bias is None:
        return np.zeros(filters)
    bias = float64(bias, name="bias")
    check_length(bias, name="bias", length=filters, what="filter")
    return bias
