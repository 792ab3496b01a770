"""Pooling as pure functions on batches."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from cnn_jax.layers.arguments import floats, widened
from cnn_jax.layers.window_maximum import moved, window_maximum
from cnn_jax.reference import geometry
from cnn_jax.reference.arguments import (
    Padding,
    Pair,
    check_window_padding,
    padding_pairs,
    pair,
    whole,
)

_IMAGES = ("images", "height", "width", "channels")
_SIGNALS = ("signals", "length", "channels")

# Above it the unrolled program grows too long to be worth its speed.
_MOST_SHIFTS = 16
# Windows of up to so many pixels have a gradient of their own.
_MOST_ENTRIES = 25


class _Track(NamedTuple):
    """The positions of a window in one direction."""

    size: int
    window: int
    stride: int
    before: int
    after: int
    count: int

    @property
    def missing(self) -> int:
        """Pixels to add behind the image for the last window to be whole; negative: to cut off."""
        return (self.count - 1) * self.stride + self.window - self.size - self.before

    def lengths(self, include_padding: bool) -> np.ndarray:
        """Return how many pixels each position counts, as [count].

        What lies beyond the padding, where ceil_mode lets the last window reach, never counts.
        """
        starts = np.arange(self.count) * self.stride - self.before
        stops = starts + self.window
        if include_padding:
            return np.minimum(stops, self.size + self.after) - starts
        return np.minimum(stops, self.size) - np.maximum(starts, 0)


def _tracks(
    sizes: Sequence[int], window: Pair, stride: Pair | None, padding: Padding, ceil_mode: bool
) -> list[_Track]:
    """Return the positions down and across images, once the options have been checked."""
    windows = pair(window, name="window", at_least=1)
    strides = windows if stride is None else pair(stride, name="stride", at_least=1)
    tracks = []
    for size, wide, step, pads in zip(sizes, windows, strides, padding_pairs(padding), strict=True):
        check_window_padding(wide, pads)
        count = geometry.output_size(
            size, kernel=wide, stride=step, padding=pads, ceil_mode=ceil_mode
        )
        tracks.append(_Track(size, wide, step, *pads, count))
    return tracks


def _slide(
    images: jax.Array, tracks: list[_Track], combine: Callable, *, fill: float, plain: bool
) -> jax.Array:
    """Combine the pixels under each position of the window.

    The shifted form goes down first, then across: `combine` of the images moved by each entry of
    the window. Maxima of small windows have a gradient of their own besides, see `window_maximum`.
    """
    fill = np.array(fill, images.dtype)
    frame = [(0, 0, 0), *((track.before, track.missing, 0) for track in tracks), (0, 0, 0)]
    images = lax.pad(images, fill, frame)
    down, across = tracks
    if plain or max(down.window, across.window) > _MOST_SHIFTS:
        return lax.reduce_window(
            images,
            fill,
            combine,
            (1, down.window, across.window, 1),
            (1, down.stride, across.stride, 1),
            "VALID",
        )
    window, stride = (down.window, across.window), (down.stride, across.stride)
    if combine is lax.max and down.window * across.window <= _MOST_ENTRIES:
        return window_maximum(images, window, stride)
    for axis, track in enumerate(tracks):
        images = functools.reduce(combine, moved(images, axis, track.window, track.stride))
    return images


def max_pool(
    images: ArrayLike,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    plain: bool = False,
) -> jax.Array:
    """Keep the largest value under the window: was the feature seen anywhere here?

    Padding never wins: it counts as minus infinity. Where several pixels are the largest, the
    first of them, row by row, gets all the gradient; but windows of more than 25 pixels, up to 16
    a side, share it among them.

    Zhou and Chellappa 1988, "Computation of optical flow using a neural network"; Goodfellow,
    Bengio and Courville 2016, "Deep Learning", section 9.3.

    Args:
        images: float [N, H, W, C].
        window: side of the window, or (height, width), in pixels.
        stride: pixels from one position to the next, or (down, right); None is the window.
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right));
            smaller than the window.
        ceil_mode: whether pixels left over at the end get a last, smaller window.
        plain: whether to keep to the compiler's form, many times slower on a CPU.

    Returns:
        [N, H', W', C] of the same type, H' and W' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: for integers, a wrong rank, a window larger than the padded image (with
            `ceil_mode`, larger by a stride or more), or a padding as large as the window.

    >>> images = jnp.array([[1, 3, 2, 4], [5, 6, 1, 2], [3, 2, 7, 8], [1, 4, 2, 4]], float)
    >>> max_pool(images[None, :, :, None], window=2)[0, :, :, 0]
    Array([[6., 4.],
           [4., 8.]], dtype=float32)
    """
    images = floats(images, _IMAGES, name="images")
    tracks = _tracks(images.shape[1:3], window, stride, padding, ceil_mode)
    return _slide(images, tracks, lax.max, fill=-np.inf, plain=plain)


def average_pool(
    images: ArrayLike,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    plain: bool = False,
) -> jax.Array:
    """Keep the mean of the values under the window: how much of the feature is there here?

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A
    (subsampling, there with a trainable factor and bias).

    Args:
        images: float [N, H, W, C].
        window: side of the window, or (height, width), in pixels.
        stride: pixels from one position to the next, or (down, right); None is the window.
        padding: zeros added on every side, (height, width), or ((top, bottom), (left, right));
            smaller than the window.
        ceil_mode: whether pixels left over at the end get a last, smaller window.
        count_include_pad: whether padding counts in the number that the sum is divided by.
        plain: whether to keep to the compiler's form, slower on a CPU.

    Returns:
        [N, H', W', C] of the same type, H' and W' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> images = jnp.array([[1, 3, 2, 4], [5, 6, 1, 2], [3, 2, 7, 8], [1, 4, 2, 4]], float)
    >>> average_pool(images[None, :, :, None], window=2)[0, :, :, 0]
    Array([[3.75, 2.25],
           [2.5 , 5.25]], dtype=float32)
    """
    images = floats(images, _IMAGES, name="images")
    tracks = _tracks(images.shape[1:3], window, stride, padding, ceil_mode)
    sums = _slide(widened(images), tracks, lax.add, fill=0, plain=plain)
    rows, columns = (track.lengths(count_include_pad) for track in tracks)
    counts = np.outer(rows, columns)[:, :, None].astype(sums.dtype)
    return (sums / counts).astype(images.dtype)


def _adapt(images: jax.Array, output_size: Pair, summarise: Callable) -> jax.Array:
    """Summarise the windows that share images out, rows first: windows are rectangles."""
    for axis, count in zip((1, 2), pair(output_size, name="output_size", at_least=1), strict=True):
        size = images.shape[axis]
        windows = [
            lax.slice_in_dim(images, i * size // count, -(-(i + 1) * size // count), axis=axis)
            for i in range(count)
        ]
        images = jnp.concatenate(
            [summarise(window, axis=axis, keepdims=True) for window in windows], axis=axis
        )
    return images


def adaptive_average_pool(images: ArrayLike, *, output_size: Pair) -> jax.Array:
    """Average to a given size, whatever the images': the windows are chosen to fit.

    Window i of n goes from floor(i * H / n) up to ceil((i + 1) * H / n), as in PyTorch's
    AdaptiveAvgPool2d; He et al. 2015, "Spatial Pyramid Pooling in Deep Convolutional Networks",
    section 2.2, with averages.

    Args:
        images: float [N, H, W, C].
        output_size: pixels of the output's side, or (height, width).

    Returns:
        [N, *output_size, C] of the same type.

    Raises:
        InputError: for integers, a wrong rank, or a size below 1.

    >>> images = jnp.arange(1.0, 6.0).reshape(1, 1, 5, 1)
    >>> adaptive_average_pool(images, output_size=(1, 2)).ravel()
    Array([2., 4.], dtype=float32)
    """
    images = floats(images, _IMAGES, name="images")
    return _adapt(widened(images), output_size, jnp.mean).astype(images.dtype)


def adaptive_max_pool(images: ArrayLike, *, output_size: Pair) -> jax.Array:
    """Keep the largest values on a grid of a given size: the windows are chosen to fit.

    Where several pixels are the largest, they share the gradient.

    He et al. 2015, "Spatial Pyramid Pooling in Deep Convolutional Networks", section 2.2; windows
    as in `adaptive_average_pool`.

    Args:
        images: float [N, H, W, C].
        output_size: pixels of the output's side, or (height, width).

    Returns:
        [N, *output_size, C] of the same type.

    Raises:
        InputError: for integers, a wrong rank, or a size below 1.

    >>> images = jnp.arange(1.0, 6.0).reshape(1, 1, 5, 1)
    >>> adaptive_max_pool(images, output_size=(1, 2)).ravel()
    Array([3., 5.], dtype=float32)
    """
    images = floats(images, _IMAGES, name="images")
    return _adapt(images, output_size, jnp.max)


def global_average_pool(images: ArrayLike) -> jax.Array:
    """Average each channel over the whole image: one number for each feature map.

    Lin, Chen and Yan 2014, "Network In Network", section 3.2.

    Args:
        images: float [N, H, W, C].

    Returns:
        [N, C] of the same type.

    Raises:
        InputError: for integers or a wrong rank.

    >>> global_average_pool(jnp.array([[[[1.0, 10.0], [3.0, 30.0]]]]))
    Array([[ 2., 20.]], dtype=float32)
    """
    return floats(images, _IMAGES, name="images").mean((1, 2))


def global_max_pool(images: ArrayLike) -> jax.Array:
    """Keep the largest value of each channel, wherever in the image it is.

    Where several pixels are the largest, they share the gradient.

    Oquab et al. 2015, "Is object localization for free?", section 3.

    Args:
        images: float [N, H, W, C].

    Returns:
        [N, C] of the same type.

    Raises:
        InputError: for integers or a wrong rank.

    >>> global_max_pool(jnp.array([[[[1.0, 10.0], [3.0, 30.0]]]]))
    Array([[ 3., 30.]], dtype=float32)
    """
    return floats(images, _IMAGES, name="images").max((1, 2))


def _along_signals(pool: Callable, signals: ArrayLike, window, stride, padding, **options):
    """Pool signals as images of height 1."""
    signals = floats(signals, _SIGNALS, name="signals")
    return pool(
        signals[:, None],
        window=(1, whole(window, name="window", at_least=1)),
        stride=None if stride is None else (1, whole(stride, name="stride", at_least=1)),
        padding=((0, 0), pair(padding, name="padding", at_least=0)),
        **options,
    )[:, 0]


def max_pool1d(
    signals: ArrayLike,
    *,
    window: int,
    stride: int | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
    plain: bool = False,
) -> jax.Array:
    """Keep the largest value under a window in time: a signal is an image of height 1.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", section 9.3, figure 9.8.

    Args:
        signals: float [N, L, C].
        window: samples of the window.
        stride: samples from one position to the next; None is the window.
        padding: samples added at both ends, or (before, after); smaller than the window.
        ceil_mode: whether samples left over at the end get a last, smaller window.
        plain: whether to keep to the compiler's form, many times slower on a CPU.

    Returns:
        [N, L', C] of the same type, L' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> max_pool1d(jnp.array([1.0, 5.0, 2.0, 3.0]).reshape(1, 4, 1), window=2).ravel()
    Array([5., 3.], dtype=float32)
    """
    return _along_signals(
        max_pool, signals, window, stride, padding, ceil_mode=ceil_mode, plain=plain
    )


def average_pool1d(
    signals: ArrayLike,
    *,
    window: int,
    stride: int | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    plain: bool = False,
) -> jax.Array:
    """Keep the mean under a window in time: a signal is an image of height 1.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A,
    in one direction.

    Args:
        signals: float [N, L, C].
        window: samples of the window.
        stride: samples from one position to the next; None is the window.
        padding: zeros added at both ends, or (before, after); smaller than the window.
        ceil_mode: whether samples left over at the end get a last, smaller window.
        count_include_pad: whether padding counts in the number that the sum is divided by.
        plain: whether to keep to the compiler's form, slower on a CPU.

    Returns:
        [N, L', C] of the same type, L' by `cnn_jax.reference.output_size`.

    Raises:
        InputError: as `max_pool`.

    >>> average_pool1d(jnp.array([1.0, 5.0, 2.0, 3.0]).reshape(1, 4, 1), window=2).ravel()
    Array([3. , 2.5], dtype=float32)
    """
    return _along_signals(
        average_pool,
        signals,
        window,
        stride,
        padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        plain=plain,
    )
