"""Dropout in its forms, with the randomness in a key.

What is kept is divided by 1 - rate, so that the expected value stays and evaluation is to call
nothing at all.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cnn_jax.layers import mapped
from cnn_jax.layers.arguments import floats
from cnn_jax.reference.arguments import check_rate


def dropout(key: jax.Array, x: ArrayLike, *, rate: float) -> jax.Array:
    """Drop single values, each by its own chance, and enlarge the others to make up for them.

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    section 4; with the division in training, section 10.

    Args:
        key: random key; layers with the same key would drop the same places.
        x: float, any shape.
        rate: chance of each value to be dropped, in [0, 1).

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers, or a rate outside [0, 1).

    >>> kept = dropout(jax.random.key(0), jnp.ones(1000), rate=0.5)
    >>> sorted(set(kept.tolist()))
    [0.0, 2.0]
    """
    x = floats(x, name="x")
    return drop(key, x, x.shape, rate)


def channel_dropout(key: jax.Array, images: ArrayLike, *, rate: float) -> jax.Array:
    """Drop whole channels: neighbouring pixels know too much about each other to drop alone.

    Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks", section 3.2
    (there called SpatialDropout).

    Args:
        key: random key; layers with the same key would drop the same places.
        images: float [N, H, W, C].
        rate: chance of each channel of each image to be dropped, in [0, 1).

    Returns:
        The shape and type of `images`.

    Raises:
        InputError: for integers, a wrong rank, or a rate outside [0, 1).

    >>> images = channel_dropout(jax.random.key(0), jnp.ones((1, 8, 8, 50)), rate=0.5)
    >>> sorted(set(images.mean((1, 2)).ravel().tolist()))
    [0.0, 2.0]
    """
    images = floats(images, ("images", "height", "width", "channels"), name="images")
    return drop(key, images, (images.shape[0], 1, 1, images.shape[3]), rate)


def drop_path(key: jax.Array, x: ArrayLike, *, rate: float) -> jax.Array:
    """Drop whole examples: put on a residual branch, it skips the branch for some of the batch.

    Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3; for each example instead
    of each batch, and with the division in training, as in Larsson et al. 2017, "FractalNet".

    Args:
        key: random key; branches with the same key would be skipped together.
        x: float [N, ...].
        rate: chance of each example to be dropped, in [0, 1).

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers, or a rate outside [0, 1).

    >>> x = drop_path(jax.random.key(0), jnp.ones((50, 8, 8, 3)), rate=0.5)
    >>> sorted(set(x.mean((1, 2, 3)).tolist()))
    [0.0, 2.0]
    """
    x = floats(x, name="x")
    return drop(key, x, x.shape[:1] + (1,) * (x.ndim - 1), rate)


def drop(key: jax.Array, x: jax.Array, mask_shape: tuple[int, ...], rate: float) -> jax.Array:
    """Drop the parts of an array that a mask of some shape tells apart.

    Args:
        key: random key.
        x: float, any shape; under a map over devices (`layers.mapped`) its first axis is the batch.
        mask_shape: that of `x`, with 1 for an axis along which all is dropped or nothing.
        rate: chance of each part to be dropped, in [0, 1).

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for a rate outside [0, 1).

    >>> rows = drop(jax.random.key(0), jnp.ones((50, 3)), (50, 1), 0.5)
    >>> sorted({tuple(row) for row in rows.tolist()})
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    check_rate(rate)
    if rate == 0:
        return x
    if mask_shape:  # drawn for the whole batch, so that devices that share it draw as one would
        mask_shape = (mapped.devices() * mask_shape[0], *mask_shape[1:])
    mask = jax.random.bernoulli(key, 1 - rate, mask_shape)
    mask = mapped.own_part(mask) if mask_shape else mask
    return jnp.where(mask, x / (1 - rate), 0).astype(x.dtype)
