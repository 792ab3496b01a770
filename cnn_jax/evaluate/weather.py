"""Weather: fog, snow, and more light than there should be."""

import jax
import jax.numpy as jnp

from cnn_jax.augment import checks
from cnn_jax.evaluate.blur import convolved, line, side_of
from cnn_jax.evaluate.random_fields import clouds, smooth_field

Number = float | jax.Array


def fog(key: jax.Array, image: jax.Array, *, density: Number) -> jax.Array:
    """Mix an image with clouds.

    Args:
        key: random key.
        image: [H, W, C].
        density: parts of clouds to one of the image.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(fog, density=2.0)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    layer = clouds(key, *image.shape[:2])[:, :, None]
    return ((image + density * layer) / (1 + density)).astype(image.dtype)


def snow(key: jax.Array, image: jax.Array, *, threshold: Number, whiteness: Number) -> jax.Array:
    """Let flakes fall over an image, and whiten it.

    Args:
        key: random key.
        image: [H, W, C].
        threshold: deviations of a random field above which there is snow; the less, the more.
        whiteness: how much of the image gives way to a brighter one, 0 to 1.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(snow, threshold=1.0, whiteness=0.3)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    height, width, _ = image.shape
    side = side_of(image)
    field_key, angle_key = jax.random.split(key)
    # Flakes are a pixel in small images, and three in one of 224.
    rows, columns = (max(1, length * 75 // max(side, 75)) for length in (height, width))
    field = smooth_field(jax.random.normal(field_key, (rows, columns)), height, width)
    flakes = jnp.clip(field - threshold, 0, 1)[:, :, None]
    # They fall, more or less.
    angle = jax.random.uniform(angle_key, minval=jnp.pi / 4, maxval=3 * jnp.pi / 4)
    falling = convolved(flakes, line(angle, 0.03 * side, 0.03 * side))
    whiter = jnp.maximum(image, jnp.clip(1.5 * image.mean(2, keepdims=True) + 0.5, 0, 1))
    mixed = image + whiteness * (whiter - image) + falling
    return jnp.clip(mixed, 0, 1).astype(image.dtype)


def brightness(key: jax.Array, image: jax.Array, *, amount: Number) -> jax.Array:
    """Raise the brightest channel of each pixel, and the others in proportion.

    Args:
        key: not used.
        image: [H, W, C].
        amount: by how much, at most up to white.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> image = jnp.array([[[0.5, 0.25, 0.0]]])
    >>> brightness(jax.random.key(0), image, amount=0.25)[0, 0].tolist()
    [0.75, 0.375, 0.0]
    """
    image = checks.image(image)
    value = image.max(2, keepdims=True)
    raised = jnp.minimum(value + amount, 1)
    scaled = image * (raised / jnp.where(value > 0, value, 1))
    return jnp.where(value > 0, scaled, raised).astype(image.dtype)
