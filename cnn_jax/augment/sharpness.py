"""Blurring and sharpening: each pixel mixed with its neighbours."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.errors import InputError

Number = float | jax.Array


def smooth(image: jax.Array) -> jax.Array:
    """Mix each pixel with its eight neighbours, 5 to 1 each; the outermost pixels stay.

    Pillow's filter SMOOTH, the other end of its enhancement of sharpness.

    Args:
        image: [H, W, C].

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> smooth(jnp.zeros((3, 3, 1)).at[1, 1].set(13))[1, 1, 0].tolist()
    5.0
    """
    image = checks.image(image)
    height, width, _ = image.shape
    if min(height, width) < 3:
        return image
    rows = image[:-2] + image[1:-1] + image[2:]
    mixed = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image[1:-1, 1:-1]) / 13
    return image.at[1:-1, 1:-1].set(mixed)


def adjust_sharpness(image: jax.Array, factor: Number) -> jax.Array:
    """Blend an image with its smoothed self, or lead away from that.

    Args:
        image: [H, W, C].
        factor: 0 is smoothed, 1 the image, more than 1 sharper.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> adjust_sharpness(jnp.ones((8, 8, 3)), 1.9).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    smoothed = smooth(image)
    mixed = jnp.clip(smoothed + factor * (image - smoothed), 0, 1)
    return jnp.where(factor == 1, image, mixed).astype(image.dtype)


def gaussian_blur(image: jax.Array, deviation: Number, *, size: int) -> jax.Array:
    """Blur an image with a Gaussian, mirrored at its edge.

    Args:
        image: [H, W, C].
        deviation: of the Gaussian, in pixels; 0 leaves the image as it is.
        size: of the window that is summed over, an odd number of pixels.

    Returns:
        [H, W, C].

    Raises:
        InputError: the size is even or too large to mirror the image, or the image has the wrong
            rank or type.

    >>> gaussian_blur(jnp.ones((8, 8, 3)), 1.5, size=5).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    _check_size(size, image)
    reach = size // 2
    # A deviation of 0 would divide by itself at the middle.
    place = jnp.arange(-reach, reach + 1) / jnp.maximum(deviation, 1e-3)
    weights = jnp.exp(-0.5 * place**2)
    weights = weights / weights.sum()
    height, width, _ = image.shape
    padded = jnp.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    across = sum(padded[:, i : i + width] * weights[i] for i in range(size))
    return sum(across[i : i + height] * weights[i] for i in range(size)).astype(image.dtype)


def random_blur(
    key: jax.Array,
    image: jax.Array,
    *,
    size: int,
    deviation: Sequence[float] = (0.1, 2.0),
    probability: float = 0.5,
) -> jax.Array:
    """Blur an image by a random Gaussian, with a probability.

    As in SimCLR (Chen et al. 2020, appendix A), whose window is a tenth of the image.

    Args:
        key: random key.
        image: [H, W, C].
        size: of the window that is summed over, an odd number of pixels.
        deviation: the lowest and the highest, in pixels, each as likely.
        probability: how often, 0 to 1.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(random_blur, size=3)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((32, 32, 3))).shape
    (32, 32, 3)
    """
    image = checks.image(image)
    low, high = checks.interval("deviation", deviation, least=0)
    ranges.fraction("probability", probability, with_one=True, remedy="0.5 is usual")
    key, deviation_key = jax.random.split(key)
    drawn = jax.random.uniform(deviation_key, minval=low, maxval=high)
    happens = jax.random.bernoulli(key, 1.0 * probability)
    return gaussian_blur(image, jnp.where(happens, drawn, 0.0), size=size)


def _check_size(size: int, image: jax.Array) -> None:
    ranges.whole("size", size, remedy="a tenth of the image, made odd, is usual")
    if size % 2 == 0:
        raise InputError(f"`size` (={size}) must be odd, to have a middle: choose {size + 1}")
    if size // 2 >= min(image.shape[:2]):
        raise InputError(
            f"`size` (={size}) must be at most {2 * min(image.shape[:2]) - 1}: "
            f"so far can an image of {image.shape[0]}x{image.shape[1]} be mirrored"
        )
