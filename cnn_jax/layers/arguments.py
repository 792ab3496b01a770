"""Options of one number or several, in their full form, and the checks that arrays pass."""

import jax
import jax.numpy as jnp

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


def pair(name: str, value: Pair, *, least: int = 1) -> tuple[int, int]:
    """Return an option of one or two numbers as (vertical, horizontal).

    >>> pair("stride", 2)
    (2, 2)
    """
    numbers = (value, value) if _is_integer(value) else _sequence(value)
    if len(numbers) != 2 or not all(_is_integer(number) for number in numbers):
        raise ValueError(f"`{name}` (={value!r}) must be an integer or a pair of integers")
    if min(numbers) < least:
        raise ValueError(f"`{name}` (={value!r}) must be at least {least} in both directions")
    return int(numbers[0]), int(numbers[1])


def padding_pairs(value: Padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return a padding as ((top, bottom), (left, right)).

    >>> padding_pairs((1, 2))
    ((1, 1), (2, 2))
    """
    sides = _sequence(value)
    if len(sides) == 2 and all(len(_sequence(side)) == 2 for side in sides):
        return pair("padding", sides[0], least=0), pair("padding", sides[1], least=0)
    vertical, horizontal = pair("padding", value, least=0)
    return (vertical, vertical), (horizontal, horizontal)


def _is_integer(value) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _sequence(value) -> tuple:
    return tuple(value) if isinstance(value, (tuple, list)) else ()


def array(name: str, value, layout: str) -> jax.Array:
    """Return `value` as an array with one axis for each word of `layout`."""
    value = jnp.asarray(value)
    if value.ndim != len(layout.split()):
        raise ValueError(
            f"`{name}` of shape {value.shape} must have the {len(layout.split())} axes "
            f"[{layout.replace(' ', ', ')}]: reshape it"
        )
    return value


def float_array(name: str, value, layout: str | None = None) -> jax.Array:
    """Return `value` as an array of floats, with the axes of `layout` where one is given."""
    value = jnp.asarray(value) if layout is None else array(name, value, layout)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(
            f"`{name}` of type {value.dtype} must hold floats: convert it with "
            f"`{name}.astype(jnp.float32)`"
        )
    return value
