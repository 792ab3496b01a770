"""Maps of each channel's values, by their order in the image or regardless of it.

Where an operation is defined on bytes, a value counts as the byte nearest to it.
"""

import jax
import jax.numpy as jnp

from cnn_jax.augment import checks

Number = float | jax.Array

# Less than the distance of two bytes, more than a byte's rounding error when divided by 255.
TOLERANCE = 1e-5


def invert(image: jax.Array) -> jax.Array:
    """Make a negative.

    Args:
        image: [H, W, C].

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> invert(jnp.array([[[0.25]]])).tolist()
    [[[0.75]]]
    """
    return 1 - checks.image(image)


def solarize(image: jax.Array, threshold: Number) -> jax.Array:
    """Make a negative of what is at least as bright as a threshold.

    Args:
        image: [H, W, C].
        threshold: 0 for all; above 1 for nothing. At 1, as in Pillow, white itself turns black.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> solarize(jnp.array([[[0.25, 0.5, 1.0]]]), 0.5)[0, 0].tolist()
    [0.25, 0.5, 0.0]
    """
    image = checks.image(image)
    return jnp.where(image >= threshold - TOLERANCE, 1 - image, image)


def posterize(image: jax.Array, bits: int | jax.Array) -> jax.Array:
    """Keep the upper bits of each byte.

    Args:
        image: [H, W, C].
        bits: kept, 0 to 8; 8 leaves the image as it is.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> (255 * posterize(jnp.array([[[200 / 255]]]), 2)).tolist()
    [[[192.0]]]
    """
    image = checks.image(image)
    step = jnp.left_shift(1, 8 - jnp.asarray(bits, jnp.int32))
    kept = jnp.floor(_bytes(image) / step) * step / 255
    return jnp.where(step == 1, image, kept).astype(image.dtype)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretch each channel from 0 to 1; a channel of one value stays.

    Args:
        image: [H, W, C].

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> autocontrast(jnp.array([[[0.25], [0.5], [0.75]]]))[0, :, 0].tolist()
    [0.0, 0.5, 1.0]
    """
    image = checks.image(image)
    low, high = image.min((0, 1)), image.max((0, 1))
    flat = high <= low
    stretched = (image - low) / jnp.where(flat, 1, high - low)
    return jnp.where(flat, image, stretched)


def equalize(image: jax.Array) -> jax.Array:
    """Spread the bytes of each channel so that all are about equally frequent.

    As in Pillow's `ImageOps.equalize`; a channel of one value stays.

    Args:
        image: [H, W, C].

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> image = jnp.arange(0, 64, 2).repeat(9).reshape(16, 18, 1) / 255
    >>> equalize(image).max().tolist()
    1.0
    """
    image = checks.image(image)
    channels = image.shape[2]
    place = _bytes(image).astype(jnp.int32) + 256 * jnp.arange(channels)
    counts = jnp.zeros(channels * 256, jnp.int32).at[place].add(1, mode="promise_in_bounds")
    counts = counts.reshape(channels, 256)
    below = jnp.cumsum(counts, 1) - counts
    # All but the pixels of the brightest byte that there is.
    step = jnp.where(counts > 0, below, 0).max(1) // 255
    # The half keeps every quotient off the whole numbers, where its rounding error would matter.
    start, per_pixel = step // 2 + 0.5, 1 / jnp.maximum(step, 1).astype(jnp.float32)
    rank = below.reshape(-1).at[place].get(mode="promise_in_bounds")
    spread = jnp.minimum(jnp.floor((rank + start) * per_pixel), 255) / 255
    return jnp.where(step > 0, spread, image).astype(image.dtype)


def _bytes(image: jax.Array) -> jax.Array:
    return jnp.floor(jnp.clip(image, 0, 1).astype(jnp.float32) * 255 + 0.5)
