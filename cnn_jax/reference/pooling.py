"""Pooling, written out: slide a window over the image and keep one number for each position."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference import geometry
from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_window_padding,
    float64,
    padding_pairs,
    pair,
    whole,
)

_PLANE = ("height", "width")
_IMAGE = ("height", "width", "channels")


def _positions(
    size: int, *, window: int, stride: int, padding: tuple[int, int], ceil_mode: bool
) -> list[tuple[slice, int]]:
    """Return, for each position in one direction, the image's pixels and the window's length.

    The length counts padding. Where ceil_mode lets the last window reach past the padding, what
    lies beyond belongs to nothing and is not counted (PyTorch's rule, and ONNX's).
    """
    check_window_padding(window, padding)
    before, after = padding
    count = geometry.output_size(
        size, kernel=window, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    positions = []
    for i in range(count):
        start = i * stride - before
        stop = min(start + window, size + after)
        positions.append((slice(max(start, 0), min(stop, size)), stop - start))
    return positions


def _grid(
    image: np.ndarray, window: Pair, stride: Pair | None, padding: Padding, ceil_mode: bool
) -> tuple[list[tuple[slice, int]], list[tuple[slice, int]]]:
    """Return the positions down and across the image."""
    windows = pair(window, name="window", at_least=1)
    strides = windows if stride is None else pair(stride, name="stride", at_least=1)
    down, across = (
        _positions(size, window=w, stride=s, padding=p, ceil_mode=ceil_mode)
        for size, w, s, p in zip(
            image.shape[:2], windows, strides, padding_pairs(padding), strict=True
        )
    )
    return down, across


def max_pool(
    image: ArrayLike,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
) -> np.ndarray:
    """Keep the largest value under the window: was the feature seen anywhere here?

    Padding never wins: it counts as minus infinity.

    Zhou and Chellappa 1988, "Computation of optical flow using a neural network"; Goodfellow,
    Bengio and Courville 2016, "Deep Learning", section 9.3.

    Args:
        image: float [H, W] or [H, W, C].
        window: side of the window, or (height, width), in pixels.
        stride: pixels from one position to the next, or (down, right); None is the window, so
            that windows neither overlap nor leave gaps.
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right));
            smaller than the window.
        ceil_mode: whether pixels left over at the end get a last, smaller window.

    Returns:
        float64 [H', W'] or [H', W', C], H' and W' by `output_size`.

    Raises:
        InputError: for integers, a wrong rank, a window larger than the padded image (with
            `ceil_mode`, larger by a stride or more), or a padding as large as the window.

    >>> image = np.array([[1, 3, 2, 4], [5, 6, 1, 2], [3, 2, 7, 8], [1, 4, 2, 4]], float)
    >>> max_pool(image, window=2)
    array([[6., 4.],
           [4., 8.]])
    """
    image = float64(image, _PLANE, _IMAGE, name="image")
    down, across = _grid(image, window, stride, padding, ceil_mode)
    output = np.zeros((len(down), len(across), *image.shape[2:]))
    for i, (rows, _) in enumerate(down):
        for j, (columns, _) in enumerate(across):
            output[i, j] = np.max(image[rows, columns], axis=(0, 1))
    return output


def average_pool(
    image: ArrayLike,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Keep the mean of the values under the window: how much of the feature is there here?

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A
    (subsampling, there with a trainable factor and bias).

    Args:
        image: float [H, W] or [H, W, C].
        window: side of the window, or (height, width), in pixels.
        stride: pixels from one position to the next, or (down, right); None is the window.
        padding: zeros added on every side, (height, width), or ((top, bottom), (left, right));
            smaller than the window.
        ceil_mode: whether pixels left over at the end get a last, smaller window.
        count_include_pad: whether padding counts in the number that the sum is divided by.

    Returns:
        float64 [H', W'] or [H', W', C], H' and W' by `output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> image = np.array([[1, 3, 2, 4], [5, 6, 1, 2], [3, 2, 7, 8], [1, 4, 2, 4]], float)
    >>> average_pool(image, window=2)
    array([[3.75, 2.25],
           [2.5 , 5.25]])
    >>> average_pool(np.ones((2, 2)), window=2, padding=1, count_include_pad=False)
    array([[1., 1.],
           [1., 1.]])
    """
    image = float64(image, _PLANE, _IMAGE, name="image")
    down, across = _grid(image, window, stride, padding, ceil_mode)
    output = np.zeros((len(down), len(across), *image.shape[2:]))
    for i, (rows, tall) in enumerate(down):
        for j, (columns, wide) in enumerate(across):
            patch = image[rows, columns]
            count = tall * wide if count_include_pad else patch.shape[0] * patch.shape[1]
            output[i, j] = np.sum(patch, axis=(0, 1)) / count
    return output


def _shares(size: int, count: int) -> list[slice]:
    """Share out `size` pixels to `count` windows; they overlap where the division leaves a rest."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def adaptive_average_pool(image: ArrayLike, *, output_size: Pair) -> np.ndarray:
    """Average to a given size, whatever the image's: the windows are chosen to fit.

    Window i of n goes from floor(i * H / n) up to ceil((i + 1) * H / n), as in PyTorch's
    AdaptiveAvgPool2d; for one window it is He et al. 2015, "Spatial Pyramid Pooling", section 2.2
    with its coarsest level.

    Args:
        image: float [H, W] or [H, W, C].
        output_size: pixels of the output's side, or (height, width).

    Returns:
        float64 [*output_size] or [*output_size, C].

    Raises:
        InputError: for integers, a wrong rank, or a size below 1.

    >>> adaptive_average_pool([[1.0, 2.0, 3.0, 4.0, 5.0]], output_size=(1, 2))
    array([[2., 4.]])
    """
    image = float64(image, _PLANE, _IMAGE, name="image")
    height, width = pair(output_size, name="output_size", at_least=1)
    output = np.zeros((height, width, *image.shape[2:]))
    for i, rows in enumerate(_shares(image.shape[0], height)):
        for j, columns in enumerate(_shares(image.shape[1], width)):
            output[i, j] = np.mean(image[rows, columns], axis=(0, 1))
    return output


def adaptive_max_pool(image: ArrayLike, *, output_size: Pair) -> np.ndarray:
    """Keep the largest values on a grid of a given size: the windows are chosen to fit.

    He et al. 2015, "Spatial Pyramid Pooling in Deep Convolutional Networks", section 2.2; windows
    as in `adaptive_average_pool`.

    Args:
        image: float [H, W] or [H, W, C].
        output_size: pixels of the output's side, or (height, width).

    Returns:
        float64 [*output_size] or [*output_size, C].

    Raises:
        InputError: for integers, a wrong rank, or a size below 1.

    >>> adaptive_max_pool([[1.0, 2.0, 3.0, 4.0, 5.0]], output_size=(1, 2))
    array([[3., 5.]])
    """
    image = float64(image, _PLANE, _IMAGE, name="image")
    height, width = pair(output_size, name="output_size", at_least=1)
    output = np.zeros((height, width, *image.shape[2:]))
    for i, rows in enumerate(_shares(image.shape[0], height)):
        for j, columns in enumerate(_shares(image.shape[1], width)):
            output[i, j] = np.max(image[rows, columns], axis=(0, 1))
    return output


def global_average_pool(image: ArrayLike) -> np.ndarray:
    """Average each channel over the whole image: one number for each feature map.

    Lin, Chen and Yan 2014, "Network In Network", section 3.2.

    Args:
        image: float [H, W, C].

    Returns:
        float64 [C].

    Raises:
        InputError: for integers or a wrong rank.

    >>> global_average_pool([[[1.0, 10.0], [3.0, 30.0]]])
    array([ 2., 20.])
    """
    image = float64(image, _IMAGE, name="image")
    return np.array([np.mean(image[:, :, c]) for c in range(image.shape[2])])


def global_max_pool(image: ArrayLike) -> np.ndarray:
    """Keep the largest value of each channel, wherever in the image it is.

    Oquab et al. 2015, "Is object localization for free?", section 3.

    Args:
        image: float [H, W, C].

    Returns:
        float64 [C].

    Raises:
        InputError: for integers or a wrong rank.

    >>> global_max_pool([[[1.0, 10.0], [3.0, 30.0]]])
    array([ 3., 30.])
    """
    image = float64(image, _IMAGE, name="image")
    return np.array([np.max(image[:, :, c]) for c in range(image.shape[2])])


def max_pool1d(
    signal: ArrayLike,
    *,
    window: int,
    stride: int | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
) -> np.ndarray:
    """Keep the largest value under a window in time: a signal is an image of height 1.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", section 9.3, figure 9.8.

    Args:
        signal: float [L] or [L, C].
        window: samples of the window.
        stride: samples from one position to the next; None is the window.
        padding: samples added at both ends, or (before, after); smaller than the window.
        ceil_mode: whether samples left over at the end get a last, smaller window.

    Returns:
        float64 [L'] or [L', C], L' by `output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> max_pool1d([1.0, 5.0, 2.0, 3.0], window=2)
    array([5., 3.])
    """
    signal = float64(signal, ("length",), ("length", "channels"), name="signal")
    return max_pool(
        signal[None],
        window=(1, whole(window, name="window", at_least=1)),
        stride=None if stride is None else (1, whole(stride, name="stride", at_least=1)),
        padding=((0, 0), pair(padding, name="padding", at_least=0)),
        ceil_mode=ceil_mode,
    )[0]


def average_pool1d(
    signal: ArrayLike,
    *,
    window: int,
    stride: int | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> np.ndarray:
    """Keep the mean under a window in time: a signal is an image of height 1.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A,
    in one direction.

    Args:
        signal: float [L] or [L, C].
        window: samples of the window.
        stride: samples from one position to the next; None is the window.
        padding: zeros added at both ends, or (before, after); smaller than the window.
        ceil_mode: whether samples left over at the end get a last, smaller window.
        count_include_pad: whether padding counts in the number that the sum is divided by.

    Returns:
        float64 [L'] or [L', C], L' by `output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> average_pool1d([1.0, 5.0, 2.0, 3.0], window=2)
    array([3. , 2.5])
    """
    signal = float64(signal, ("length",), ("length", "channels"), name="signal")
    return average_pool(
        signal[None],
        window=(1, whole(window, name="window", at_least=1)),
        stride=None if stride is None else (1, whole(stride, name="stride", at_least=1)),
        padding=((0, 0), pair(padding, name="padding", at_least=0)),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )[0]
