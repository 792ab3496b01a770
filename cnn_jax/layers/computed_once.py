"""Arrays that XLA's CPU backend is to work out once."""

import math

import jax
import jax.numpy as jnp
from jax import lax

_BLOCK = 32


def computed_once(array: jax.Array) -> jax.Array:
    """Return an array as its product with the identity, so that it is worked out once and kept.

    XLA's CPU backend works out again, at every read, what leads to an array that is put in another
    order or read by several windows; over the additions of a stage of residual blocks that took 37
    ms instead of 2. No other operation that it keeps its hands off costs as little: 64 operations
    a number at the most. On other backends, and for odd numbers of channels, it is the array.

    Args:
        array: float [..., C].

    Returns:
        The same; but of 32 channels beside each other all are NaN where one is not finite.

    >>> computed_once(jnp.arange(4.0).reshape(2, 2)).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    side = math.gcd(array.shape[-1], _BLOCK)
    if jax.default_backend() != "cpu" or side == 1:
        return array
    rows = array.reshape(-1, side)
    return lax.dot(rows, jnp.eye(side, dtype=array.dtype)).reshape(array.shape)
