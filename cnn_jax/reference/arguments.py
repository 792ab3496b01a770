"""How arguments are written, and the sentence that meets a wrong one.

The layers read their arguments through these same functions, so that a mistake is explained in
the same words whichever package meets it. Only shapes and types are looked at, never values:
arrays may be NumPy's or JAX's, traced or not.
"""

import numbers
from collections.abc import Sequence

import numpy as np

from cnn_jax.errors import InputError

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

PADDING_MODES = ("zero", "reflect", "edge", "wrap")


def whole(value: int, *, name: str, at_least: int) -> int:
    """Return `value` as an int, once it is known to be one and large enough.

    Args:
        value: what the caller gave.
        name: the argument's name, for the error.
        at_least: the smallest value allowed.

    Returns:
        The int.

    Raises:
        InputError: if it is no whole number, or too small.

    >>> whole(2, name="stride", at_least=1)
    2
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise InputError(f"`{name}` (={value!r}) must be a whole number: write it as an int")
    if value < at_least:
        raise InputError(f"`{name}` (={value}) must be at least {at_least}")
    return int(value)


def pair(value: Pair, *, name: str, at_least: int) -> tuple[int, int]:
    """Read an option given once for both directions, or as (height, width).

    Args:
        value: an int or two of them.
        name: the argument's name, for the error.
        at_least: the smallest value allowed.

    Returns:
        (height, width).

    Raises:
        InputError: if it is neither, or too small.

    >>> pair(2, name="stride", at_least=1)
    (2, 2)
    >>> pair((2, 1), name="stride", at_least=1)
    (2, 1)
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != 2:
            raise InputError(f"`{name}` (={value!r}) must be an int or a pair (height, width)")
        height, width = value
    else:
        height = width = value
    return (
        whole(height, name=name, at_least=at_least),
        whole(width, name=name, at_least=at_least),
    )


def padding_pairs(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Read a padding in any of its three spellings.

    Args:
        padding: pixels on every side, (height, width), or ((top, bottom), (left, right)).

    Returns:
        ((top, bottom), (left, right)), in pixels.

    Raises:
        InputError: if it is none of the three, or negative.

    >>> padding_pairs(1)
    ((1, 1), (1, 1))
    >>> padding_pairs((1, 2))
    ((1, 1), (2, 2))
    >>> padding_pairs(((0, 1), (2, 3)))
    ((0, 1), (2, 3))
    """
    if not isinstance(padding, Sequence):
        padding = (padding, padding)
    if isinstance(padding, str) or len(padding) != 2:
        raise InputError(
            f"`padding` (={padding!r}) must be an int, a pair (height, width) "
            "or ((top, bottom), (left, right))"
        )
    height, width = padding
    return (
        pair(height, name="padding", at_least=0),
        pair(width, name="padding", at_least=0),
    )


def check_padding_mode(mode: str, *, name: str = "padding_mode") -> None:
    """Refuse a padding mode that does not exist.

    Args:
        mode: what the caller gave.
        name: the argument's name, for the error.

    Raises:
        InputError: if it is no padding mode.

    >>> check_padding_mode("reflect")
    """
    if mode not in PADDING_MODES:
        raise InputError(f"`{name}` (={mode!r}) must be one of {', '.join(PADDING_MODES)}")


def check_padding_fits(size: int, padding: tuple[int, int], *, mode: str) -> None:
    """Refuse a padding for which the image has too few pixels to copy from.

    Args:
        size: pixels of the image in one direction.
        padding: pixels (before, after) in that direction.
        mode: reflect needs one pixel more than it copies, since it leaves out the border itself;
            wrap goes round the image once at most; zero and edge always fit.

    Raises:
        InputError: if the padding does not fit.

    >>> check_padding_fits(4, (3, 3), mode="reflect")
    """
    most = {"reflect": size - 1, "wrap": size}.get(mode)
    if most is not None and max(padding) > most:
        raise InputError(
            f"`padding` (={max(padding)}) must be at most {most} for mode {mode!r} "
            f"on an image of {size} pixels: pad less, or use mode 'zero' or 'edge'"
        )


def check_rank(array, *shapes: tuple[str, ...], name: str) -> None:
    """Refuse an array with the wrong number of axes.

    Args:
        array: anything with a shape.
        shapes: the shapes allowed, each as the names of its axes.
        name: the argument's name, for the error.

    Raises:
        InputError: if no shape has as many axes.

    >>> check_rank(np.zeros((5, 4)), ("height", "width"), name="image")
    """
    if array.ndim not in [len(axes) for axes in shapes]:
        wanted = " or ".join("[" + ", ".join(axes) + "]" for axes in shapes)
        raise InputError(
            f"`{name}` (of shape {tuple(array.shape)}) must be {wanted}: "
            "add the missing axes or index the extra ones away"
        )


def check_floats(array, *, name: str) -> None:
    """Refuse an array of integers, booleans or complex numbers.

    Args:
        array: anything with a dtype.
        name: the argument's name, for the error.

    Raises:
        InputError: if it does not hold floating-point numbers.

    >>> check_floats(np.zeros(3), name="image")
    """
    # bfloat16 is of kind "V", hence the list of what is wrong rather than of what is right.
    if np.dtype(array.dtype).kind in "biuc":
        raise InputError(
            f"`{name}` (of type {array.dtype}) must hold floats: "
            f"convert it with {name}.astype('float32')"
        )


def check_groups(groups: int, *, channels: int, filters: int) -> None:
    """Refuse groups that cannot share out the channels or the filters evenly.

    Args:
        groups: number of groups.
        channels: channels of the image.
        filters: filters of the convolution, its output channels.

    Raises:
        InputError: if the groups do not divide both.

    >>> check_groups(2, channels=4, filters=6)
    """
    groups = whole(groups, name="groups", at_least=1)
    for count, what in ((channels, "image channels"), (filters, "filters")):
        if count % groups:
            divisors = [str(n) for n in range(1, count + 1) if count % n == 0]
            choices = " or ".join(filter(None, [", ".join(divisors[:-1]), divisors[-1]]))
            raise InputError(
                f"`groups` (={groups}) must divide the {what} (={count}): choose {choices}"
            )


def check_length(array, *, name: str, length: int, what: str) -> None:
    """Refuse a vector that does not hold one value for each of something.

    Args:
        array: anything with a shape.
        name: the argument's name, for the error.
        length: how many values there should be.
        what: what there is one value of.

    Raises:
        InputError: if the shape is not [length].

    >>> check_length(np.zeros(3), name="bias", length=3, what="filter")
    """
    if tuple(array.shape) != (length,):
        raise InputError(
            f"`{name}` (of shape {tuple(array.shape)}) must hold one value for each {what}: "
            f"give it the shape ({length},)"
        )


def check_kernel_channels(kernel_channels: int, *, channels: int, groups: int) -> None:
    """Refuse a kernel whose filters see another number of channels than the image offers.

    Args:
        kernel_channels: channels that each filter sees, the kernel's last axis but one.
        channels: channels of the image.
        groups: number of groups that the image's channels are shared out to.

    Raises:
        InputError: if the kernel does not see channels // groups.

    >>> check_kernel_channels(2, channels=4, groups=2)
    """
    if kernel_channels != channels // groups:
        raise InputError(
            f"`kernel` (with {kernel_channels} channels in each filter) must see "
            f"{channels // groups} (= image channels {channels} / groups {groups}): "
            "change the kernel's last axis but one, or `groups`"
        )


def check_window_padding(window: int, padding: tuple[int, int]) -> None:
    """Refuse a padding so wide that a pooling window would see no pixel of the image.

    Args:
        window: pixels of the window in one direction.
        padding: pixels (before, after) in that direction.

    Raises:
        InputError: if a padding is as large as the window, or larger.

    >>> check_window_padding(3, (2, 2))
    """
    if max(padding) >= window:
        raise InputError(
            f"`padding` (={max(padding)}) must be smaller than `window` (={window}): "
            "a window in the padding alone has nothing to pool"
        )


def check_rate(rate: float) -> None:
    """Refuse a dropout rate that is no probability, or that would leave nothing.

    Args:
        rate: share of values set to zero.

    Raises:
        InputError: if it is outside [0, 1).

    >>> check_rate(0.5)
    """
    if not 0 <= rate < 1:
        raise InputError(
            f"`rate` (={rate}) must be at least 0 and below 1: it is the share that is dropped"
        )


def check_odd(value: int, *, name: str) -> None:
    """Refuse a window that has no centre.

    Args:
        value: length of the window.
        name: the argument's name, for the error.

    Raises:
        InputError: if it is even or smaller than 1.

    >>> check_odd(5, name="size")
    """
    value = whole(value, name=name, at_least=1)
    if value % 2 == 0:
        raise InputError(
            f"`{name}` (={value}) must be odd, so that the window has a centre: "
            f"choose {value - 1} or {value + 1}"
        )


def float64(array, *shapes: tuple[str, ...], name: str) -> np.ndarray:
    """Return a float64 copy of an array that has passed the checks of type and shape.

    Args:
        array: floating-point numbers, as an array or nested lists.
        shapes: the shapes allowed, each as the names of its axes; none allows any.
        name: the argument's name, for the error.

    Returns:
        float64 of the same shape.

    Raises:
        InputError: if the type or the number of axes is wrong.

    >>> float64([1.0, 2.0], ("length",), name="signal")
    array([1., 2.])
    """
    array = np.asarray(array)
    check_floats(array, name=name)
    if shapes:
        check_rank(array, *shapes, name=name)
    return array.astype(np.float64)
