"""Blur of lenses and movements. Lengths are fractions of `side_of` an image.

How strong a blur is may be traced; how strong it is at most must be known, for its window.
"""

import math

import jax
import jax.numpy as jnp

from cnn_jax.augment import checks
from cnn_jax.augment.geometry import affine
from cnn_jax.augment.sharpness import gaussian_blur as _blurred

Number = float | jax.Array


def side_of(image: jax.Array) -> int:
    """Say what lengths are fractions of: the shorter side, and no less than 32 pixels.

    Args:
        image: [H, W, C].

    Returns:
        In pixels.

    >>> side_of(jnp.zeros((240, 320, 3))), side_of(jnp.zeros((8, 8, 1)))
    (240, 32)
    """
    return max(min(image.shape[:2]), 32)


def gaussian_blur(
    key: jax.Array, image: jax.Array, *, deviation: Number, largest: float = 0.03
) -> jax.Array:
    """Blur with a Gaussian.

    Args:
        key: not used.
        image: [H, W, C].
        deviation: as a fraction of `side_of`.
        largest: that it may have.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or is a single pixel wide or high.

    >>> from functools import partial
    >>> operation = partial(gaussian_blur, deviation=0.02)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    side = side_of(checks.image(image))
    reach = min(math.ceil(3 * largest * side), min(image.shape[:2]) - 1)
    return _blurred(image, deviation * side, size=2 * reach + 1)


def defocus_blur(
    key: jax.Array, image: jax.Array, *, radius: Number, largest: float = 0.05
) -> jax.Array:
    """Spread each pixel over a disk, as a lens out of focus does.

    Args:
        key: not used.
        image: [H, W, C].
        radius: of the disk, as a fraction of `side_of`; 0 leaves the image as it is.
        largest: that it may be.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(defocus_blur, radius=0.02)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    side = side_of(checks.image(image))
    down, across = _window(largest * side)
    # The edge of the disk is a pixel wide, so that every radius has a disk of its own.
    return convolved(image, jnp.clip(radius * side + 1 - jnp.hypot(down, across), 0, 1))


def motion_blur(
    key: jax.Array, image: jax.Array, *, length: Number, largest: float = 0.2
) -> jax.Array:
    """Spread each pixel along a line in a random direction, as a moving camera does.

    Args:
        key: random key.
        image: [H, W, C].
        length: of the line, as a fraction of `side_of`; 0 leaves the image as it is.
        largest: that it may be.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(motion_blur, length=0.1)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    side = side_of(checks.image(image))
    angle = jax.random.uniform(key, maxval=jnp.pi)
    return convolved(image, line(angle, length * side, largest * side))


def line(angle: Number, length: Number, largest: float) -> jax.Array:
    """Draw a line through the middle of a window, the filter of a motion.

    Args:
        angle: to the horizontal, in radians.
        length: in pixels.
        largest: that it may be, in pixels.

    Returns:
        float32 [window, window].

    >>> line(0.0, 2.0, 2.0)[2].tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    down, across = _window(largest / 2)
    along = across * jnp.cos(angle) + down * jnp.sin(angle)
    aside = down * jnp.cos(angle) - across * jnp.sin(angle)
    ends = jnp.clip((length + 1) / 2 - jnp.abs(along), 0, 1)
    return ends * jnp.clip(1 - jnp.abs(aside), 0, 1)


def zoom_blur(key: jax.Array, image: jax.Array, *, factor: Number, copies: int = 10) -> jax.Array:
    """Average an image with enlarged copies, as a lens that zooms while it is exposed.

    Args:
        key: not used.
        image: [H, W, C].
        factor: of the largest copy; 1 leaves the image as it is.
        copies: how many, evenly spread from the image to the largest.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(zoom_blur, factor=1.2)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    total = image
    for number in range(1, copies + 1):
        zoom = 1 + (factor - 1) * number / copies
        total += affine(image, scale=zoom)
    return jnp.clip(total / (copies + 1), 0, 1).astype(image.dtype)


def convolved(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Filter each channel, the image mirrored at its edge, by the Fourier transform.

    A filter of each image's own is no convolution that XLA is fast at.

    Args:
        image: [H, W, C].
        kernel: [k, k], k odd, not negative; it is divided by its sum.

    Returns:
        [H, W, C], between 0 and 1.

    >>> blurred = convolved(jnp.zeros((3, 3, 1)).at[1, 1].set(1.0), jnp.ones((1, 3)))
    >>> blurred[1, :, 0].round(3).tolist()
    [0.3330000042915344, 0.3330000042915344, 0.3330000042915344]
    """
    height, width, _ = image.shape
    down, across = kernel.shape[0] // 2, kernel.shape[1] // 2
    framed = jnp.pad(image, ((down, down), (across, across), (0, 0)), mode="symmetric")
    shape = framed.shape[:2]
    spectrum = jnp.fft.rfft2(framed.astype(jnp.float32), axes=(0, 1))
    filters = jnp.fft.rfft2(kernel / kernel.sum(), s=shape)[:, :, None]
    filtered = jnp.fft.irfft2(spectrum * filters, s=shape, axes=(0, 1))
    # What wraps around lies within the frame.
    inner = filtered[2 * down : 2 * down + height, 2 * across : 2 * across + width]
    return jnp.clip(inner, 0, 1).astype(image.dtype)


def _window(radius: float) -> tuple[jax.Array, jax.Array]:
    """Number the rows and columns of a window from its middle, a pixel wider than the radius."""
    reach = math.ceil(radius) + 1
    places = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
    return places[:, None], places[None, :]
