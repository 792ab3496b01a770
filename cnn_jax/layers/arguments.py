"""How layers read their arrays; the checks and their words are the reference's."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cnn_jax.reference.arguments import check_floats, check_length, check_rank


def floats(array: ArrayLike, *shapes: tuple[str, ...], name: str) -> jax.Array:
    """Return an array that has passed the checks of type and of shape.

    Args:
        array: floating-point numbers, as an array or nested lists; traced or not.
        shapes: the shapes allowed, each as the names of its axes; none allows any.
        name: the argument's name, for the error.

    Returns:
        The array, in its own floating-point type.

    Raises:
        InputError: if the type or the number of axes is wrong.

    >>> floats([1.0, 2.0], ("length",), name="signal")
    Array([1., 2.], dtype=float32)
    """
    array = jnp.asarray(array)
    check_floats(array, name=name)
    if shapes:
        check_rank(array, *shapes, name=name)
    return array


def vector(array: ArrayLike, *, name: str, length: int, what: str) -> jax.Array:
    """Return an array that holds one float for each of something.

    Args:
        array: floating-point numbers [length].
        name: the argument's name, for the error.
        length: how many values there should be.
        what: what there is one value of.

    Returns:
        The array, in its own floating-point type.

    Raises:
        InputError: if the type is wrong or the shape is not [length].

    >>> vector([1.0, 2.0], name="bias", length=2, what="filter")
    Array([1., 2.], dtype=float32)
    """
    array = floats(array, name=name)
    check_length(array, name=name, length=length, what=what)
    return array


def widened(array: jax.Array) -> jax.Array:
    """Return the array in float32 where its own type is narrower: sums and powers need it.

    Args:
        array: floating-point numbers of any shape.

    Returns:
        The same numbers, in float32 or wider.

    >>> widened(jnp.ones(2, jnp.bfloat16)).dtype
    dtype('float32')
    """
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))
