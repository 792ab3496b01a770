"""How arguments are written, and the sentence that meets a wrong one.

The layers read their arguments through these same functions, so that a mistake is explained in
the same words whichever package meets it. Only shapes and types are looked at, never values:
arrays may be NumPy's or JAX's, traced or not. Every function raises InputError.
"""

import numbers
from collections.abc import Sequence

import numpy as np

from cnn_jax.errors import InputError

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]

PADDING_MODES = ("zero", "reflect", "edge", "wrap")


def whole(value: int, *, name: str, at_least: int) -> int:
    """Return an option that is one number.

    >>> whole(2, name="stride", at_least=1)
    2
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise InputError(f"`{name}` (={value!r}) must be a whole number: write it as an int")
    if value < at_least:
        raise InputError(f"`{name}` (={value}) must be at least {at_least}: choose a larger one")
    return int(value)


def pair(value: Pair, *, name: str, at_least: int) -> tuple[int, int]:
    """Return an option given once for both directions, or twice, as (height, width).

    >>> pair(2, name="stride", at_least=1), pair((2, 1), name="stride", at_least=1)
    ((2, 2), (2, 1))
    """
    if not isinstance(value, Sequence):
        value = (value, value)
    if isinstance(value, str) or len(value) != 2:
        raise InputError(
            f"`{name}` (={value!r}) must be two numbers, or one for both: write 2 ints"
        )
    first, second = value
    return (
        whole(first, name=name, at_least=at_least),
        whole(second, name=name, at_least=at_least),
    )


def padding_pairs(padding: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a padding in any of its three spellings as ((top, bottom), (left, right)).

    >>> padding_pairs(1), padding_pairs((1, 2)), padding_pairs(((0, 1), (2, 3)))
    (((1, 1), (1, 1)), ((1, 1), (2, 2)), ((0, 1), (2, 3)))
    """
    if not isinstance(padding, Sequence):
        padding = (padding, padding)
    if isinstance(padding, str) or len(padding) != 2:
        raise InputError(
            f"`padding` (={padding!r}) must be one number, (height, width) or "
            "((top, bottom), (left, right)): write one of the three"
        )
    height, width = padding
    return pair(height, name="padding", at_least=0), pair(width, name="padding", at_least=0)


def check_padding_mode(mode: str, *, name: str = "padding_mode") -> None:
    """Refuse a padding mode that does not exist.

    >>> check_padding_mode("reflect")
    """
    if mode not in PADDING_MODES:
        raise InputError(f"`{name}` (={mode!r}) is unknown: choose {_choice(PADDING_MODES)}")


def check_padding_fits(size: int, padding: tuple[int, int], *, mode: str) -> None:
    """Refuse a padding for which the image has too few pixels to copy from.

    Reflect leaves out the border itself, so it has size - 1 pixels to copy; wrap goes round once.

    >>> check_padding_fits(4, (3, 3), mode="reflect")
    """
    most = {"reflect": size - 1, "wrap": size}.get(mode)
    if most is not None and max(padding) > most:
        raise InputError(
            f"`padding` (={max(padding)}) must be at most {most} for mode {mode!r} "
            f"on an image of {size} pixels: pad less, or use mode 'zero' or 'edge'"
        )


def check_window_padding(window: int, padding: tuple[int, int]) -> None:
    """Refuse a padding so wide that a pooling window would see no pixel of the image.

    >>> check_window_padding(3, (2, 2))
    """
    if max(padding) >= window:
        raise InputError(
            f"`padding` (={max(padding)}) must be smaller than `window` (={window}), since a "
            f"window of padding alone has nothing to pool: choose at most {window - 1}"
        )


def check_rank(array, *shapes: tuple[str, ...], name: str) -> None:
    """Refuse an array with the wrong number of axes; a first "..." stands for any number.

    >>> check_rank(np.zeros((5, 4)), ("height", "width"), name="image")
    >>> check_rank(np.zeros((5, 4)), ("...", "channels"), name="x")
    """
    for axes in shapes:
        if array.ndim == len(axes) or (axes[0] == "..." and array.ndim >= len(axes) - 1):
            return
    wanted = " or ".join("[" + ", ".join(axes) + "]" for axes in shapes)
    raise InputError(
        f"`{name}` (of shape {tuple(array.shape)}) must be {wanted}: "
        "add the missing axes or index the extra ones away"
    )


def check_floats(array, *, name: str) -> None:
    """Refuse an array of integers, booleans, complex numbers or text.

    >>> check_floats(np.zeros(3), name="image")
    """
    # bfloat16 is of kind "V", hence the list of what is wrong rather than of what is right.
    if np.dtype(array.dtype).kind in "biucOSU":
        raise InputError(
            f"`{name}` (of type {array.dtype}) must hold floats: "
            f"convert it with {name}.astype('float32')"
        )


def check_shape(array, shape: tuple[int, ...], *, name: str, rule: str) -> None:
    """Refuse an array of another shape than the other arguments ask for.

    >>> check_shape(np.zeros((2, 3)), (2, 3), name="mask", rule="one entry for each value")
    """
    if tuple(array.shape) != shape:
        raise InputError(
            f"`{name}` (of shape {tuple(array.shape)}) must hold {rule}: give it the shape {shape}"
        )


def check_length(array, *, name: str, length: int, what: str) -> None:
    """Refuse a vector that does not hold one value for each of something.

    >>> check_length(np.zeros(3), name="bias", length=3, what="filter")
    """
    check_shape(array, (length,), name=name, rule=f"one value for each {what}")


def check_groups(groups: int, *, channels: int, filters: int) -> None:
    """Refuse groups that cannot share out the channels or the filters evenly.

    >>> check_groups(2, channels=4, filters=6)
    """
    groups = whole(groups, name="groups", at_least=1)
    for count, what in ((channels, "image channels"), (filters, "filters")):
        if count % groups:
            divisors = [n for n in range(1, count + 1) if count % n == 0]
            raise InputError(
                f"`groups` (={groups}) must divide the {what} (={count}): "
                f"choose {_choice(divisors)}"
            )


def check_kernel_channels(kernel_channels: int, *, channels: int, groups: int) -> None:
    """Refuse a kernel whose filters see another number of channels than the image offers.

    >>> check_kernel_channels(2, channels=4, groups=2)
    """
    if kernel_channels != channels // groups:
        raise InputError(
            f"`kernel` (with {kernel_channels} channels on its last axis but one) must have "
            f"{channels // groups} there (= image channels {channels} / groups {groups}): "
            "change the kernel, or `groups`"
        )


def check_rate(rate: float) -> None:
    """Refuse a dropout rate that is no share, or that would leave nothing.

    >>> check_rate(0.5)
    """
    if not 0 <= rate < 1:
        raise InputError(
            f"`rate` (={rate}) must be at least 0 and below 1: it is the share that is dropped"
        )


def check_odd(value: int, *, name: str) -> None:
    """Refuse a window that has no centre.

    >>> check_odd(5, name="size")
    """
    if whole(value, name=name, at_least=1) % 2 == 0:
        raise InputError(
            f"`{name}` (={value}) must be odd, so that the window has a centre: "
            f"choose {value - 1} or {value + 1}"
        )


def float64(array, *shapes: tuple[str, ...], name: str) -> np.ndarray:
    """Return an array, or nested lists, as float64, once type and number of axes are right.

    >>> float64([1.0, 2.0], ("length",), name="signal")
    array([1., 2.])
    """
    array = np.asarray(array)
    check_floats(array, name=name)
    if shapes:
        check_rank(array, *shapes, name=name)
    return array.astype(np.float64)


def _choice(values: Sequence) -> str:
    *firsts, last = map(str, values)
    return f"{', '.join(firsts)} or {last}" if firsts else last
