"""Adding noise to an image."""

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks


def gaussian_noise(key: jax.Array, image: jax.Array, *, deviation: float = 0.1) -> jax.Array:
    """Add independent Gaussian noise to every value, and clip to 0 and 1.

    Args:
        key: random key.
        image: [H, W, C].
        deviation: of the noise; 0 leaves the image as it is.

    Returns:
        [H, W, C].

    Raises:
        InputError: the deviation is negative, or the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(gaussian_noise, deviation=0.05)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    ranges.not_negative("deviation", deviation, remedy="0 is no noise")
    noise = deviation * jax.random.normal(key, image.shape)
    return jnp.clip(image + noise, 0, 1).astype(image.dtype)
