"""Mirroring an image left to right: at random, or in every other epoch."""

import jax
import jax.numpy as jnp


def flip(image: jax.Array) -> jax.Array:
    """Mirror an image left to right.

    Args:
        image: [H, W, C].

    Returns:
        [H, W, C].

    >>> flip(jnp.arange(3.0).reshape(1, 3, 1))[0, :, 0].tolist()
    [2.0, 1.0, 0.0]
    """
    return image[:, ::-1]


def random_flip(key: jax.Array, image: jax.Array, *, probability: float = 0.5) -> jax.Array:
    """Mirror an image left to right, with a probability.

    Args:
        key: random key.
        image: [H, W, C].
        probability: how often, 0 to 1.

    Returns:
        [H, W, C].

    >>> image = jnp.arange(3.0).reshape(1, 3, 1)
    >>> random_flip(jax.random.key(0), image, probability=1)[0, :, 0].tolist()
    [2.0, 1.0, 0.0]
    """
    mirrored = jax.random.bernoulli(key, 1.0 * probability)
    return jnp.where(mirrored, image[:, ::-1], image)
