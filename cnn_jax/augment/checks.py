"""Checks of what augmentations are given. Shapes are known while tracing; traced numbers pass."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.errors import InputError


def image(value: jax.Array, *, colour: bool = False) -> jax.Array:
    """Require a float image [H, W, C].

    Args:
        value: what was given.
        colour: whether only 1 or 3 channels will do.

    Returns:
        The image.

    Raises:
        InputError: it has another rank, is not of floats, or has another number of channels.

    >>> image(jnp.zeros((28, 28)))
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `image` (of shape 28x28) must be [height, width, channels]: map a \
batch with jax.vmap, give a grey image a channel with image[:, :, None]
    """
    shape = jnp.shape(value)
    size = "x".join(map(str, shape)) or "()"
    if len(shape) != 3:
        raise InputError(
            f"`image` (of shape {size}) must be [height, width, channels]: map a batch with "
            "jax.vmap, give a grey image a channel with image[:, :, None]"
        )
    dtype = jnp.result_type(value)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(
            f"`image` (of {dtype}) must be of floats between 0 and 1: divide bytes by 255"
        )
    if colour and shape[2] not in (1, 3):
        raise InputError(
            f"`image` (of shape {size}) must have 1 channel or red, green and blue: drop the others"
        )
    return jnp.asarray(value)


def around_zero(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    """Read a range that one number stands for: 10 is (-10, 10).

    Args:
        name: of the argument.
        value: a number, or a lowest and a highest.

    Returns:
        The lowest and the highest.

    Raises:
        InputError: the number is negative, or the two are in the wrong order.

    >>> around_zero("degrees", 10)
    (-10, 10)
    """
    if isinstance(value, Sequence):
        return interval(name, value)
    ranges.not_negative(name, value, remedy="it reaches as far to both sides")
    return -value, value


def interval(
    name: str, value: Sequence[float], *, least: float = -float("inf")
) -> tuple[float, float]:
    """Require a lowest and a highest number.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest right value.

    Returns:
        The two.

    Raises:
        InputError: they are not two, in the wrong order or below the smallest.

    >>> interval("scale", (1, 0.5))
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `scale` (=(1, 0.5)) must be the lowest and the highest value: \
choose for example (0.5, 1)
    """
    if not isinstance(value, Sequence) or len(value) != 2 or not value[0] <= value[1]:
        example = "(0.5, 1)"
        if isinstance(value, Sequence) and len(value) == 2:
            example = f"({value[1]}, {value[0]})"
        raise InputError(
            f"`{name}` (={value}) must be the lowest and the highest value: "
            f"choose for example {example}"
        )
    if value[0] < least:
        raise InputError(f"`{name}` (={value}) must not go below {least}: raise the lowest value")
    return value[0], value[1]


def above_zero(name: str, value: Sequence[float]) -> tuple[float, float]:
    """Require a lowest number above 0 and a highest.

    Args:
        name: of the argument.
        value: what was given.

    Returns:
        The two.

    Raises:
        InputError: they are not two, in the wrong order or not positive.

    >>> above_zero("ratio", (0.75, 1.33))
    (0.75, 1.33)
    """
    lowest, highest = interval(name, value)
    ranges.positive(name, lowest, remedy="raise the lowest value")
    return lowest, highest


def one_of(name: str, value: str, known: Sequence[str]) -> None:
    """Require one of a few words.

    Args:
        name: of the argument.
        value: what was given.
        known: the words.

    Raises:
        InputError: it is none of them.

    >>> one_of("interpolation", "cubic", ("nearest", "bilinear"))
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `interpolation` (=cubic) must be nearest or bilinear: choose one
    """
    if value not in known:
        raise InputError(f"`{name}` (={value}) must be {' or '.join(known)}: choose one")


def size(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    """Read a height and a width that one number may stand for.

    Args:
        name: of the argument.
        value: a whole number, or two.

    Returns:
        The height and the width, in pixels.

    Raises:
        InputError: they are not two, or not whole numbers above 0.

    >>> size("size", 224)
    (224, 224)
    """
    both = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(both) != 2:
        raise InputError(f"`{name}` (={value}) must be a height and a width: give two numbers")
    for number in both:
        ranges.whole(name, number, remedy="it is in pixels")
    return both
