"""Blotting out a rectangle, so that no single part decides."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks

TRIES = 10

Number = int | jax.Array


def erase(
    image: jax.Array,
    top: Number,
    left: Number,
    height: Number,
    width: Number,
    *,
    fill: float | Sequence[float] | jax.Array = 0.0,
) -> jax.Array:
    """Fill a rectangle; what lies outside of the image is passed over.

    Args:
        image: [H, W, C].
        top: its first row.
        left: its first column.
        height: in pixels.
        width: in pixels.
        fill: a number, one for each channel, or an image.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> erase(jnp.ones((2, 3, 1)), 0, 1, 1, 2)[:, :, 0].tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    image = checks.image(image)
    rows, columns = jnp.arange(image.shape[0])[:, None], jnp.arange(image.shape[1])
    inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)
    return jnp.where(inside[:, :, None], jnp.asarray(fill, image.dtype), image)


def cutout(
    key: jax.Array, image: jax.Array, *, size: int, fill: float | Sequence[float] = 0.0
) -> jax.Array:
    """Blot out a square around a random pixel; near the edge, part of it falls outside.

    DeVries & Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout",
    section 3.2; on CIFAR-10 16 pixels, on CIFAR-100 8 (section 4.2).

    Args:
        key: random key.
        image: [H, W, C].
        size: of the square, in pixels; 0 leaves the image as it is.
        fill: what with, a number or one for each channel. The paper's zero stands for the mean
            colour, since its images are normalised.

    Returns:
        [H, W, C].

    Raises:
        InputError: the size is no whole number, or the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(cutout, size=16)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((32, 32, 3))).shape
    (32, 32, 3)
    """
    ranges.whole("size", size, least=0, remedy="16 is usual for images of 32x32")
    image = checks.image(image)
    centre = jax.random.randint(key, (2,), 0, jnp.array(image.shape[:2]))
    top, left = centre - size // 2
    return erase(image, top, left, size, size, fill=fill)


def random_erasing(
    key: jax.Array,
    image: jax.Array,
    *,
    probability: float = 0.5,
    scale: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 10 / 3),
    fill: float | Sequence[float] | Literal["noise"] = "noise",
) -> jax.Array:
    """Blot out a rectangle of random size, shape and place, with a probability.

    Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1; the ratio is drawn evenly in
    its logarithm, so that upright rectangles are as likely as flat ones (torchvision does so too).

    Args:
        key: random key.
        image: [H, W, C].
        probability: how often, 0 to 1.
        scale: the lowest and the highest area, as a fraction of the image's.
        ratio: the lowest and the highest height for a width of 1.
        fill: a number, one for each channel, or noise, which is even from 0 to 1 at each pixel.

    Returns:
        [H, W, C]: as it was where ten tries give no rectangle smaller than the image.

    Raises:
        InputError: an option is out of range, or the image has the wrong rank or type.

    >>> jax.eval_shape(random_erasing, jax.random.key(0), jnp.ones((32, 32, 3))).shape
    (32, 32, 3)
    """
    image = checks.image(image)
    noise_key, key = jax.random.split(key)
    if isinstance(fill, str):
        checks.one_of("fill", fill, ("noise", "a number"))
        fill = jax.random.uniform(noise_key, image.shape, image.dtype)
    rectangle = draw_rectangle(key, image.shape, probability=probability, scale=scale, ratio=ratio)
    return erase(image, *rectangle, fill=fill)


def draw_rectangle(
    key: jax.Array,
    shape: Sequence[int],
    *,
    probability: float = 0.5,
    scale: Sequence[float] = (0.02, 0.33),
    ratio: Sequence[float] = (0.3, 10 / 3),
) -> jax.Array:
    """Draw the rectangle of `random_erasing`.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        probability: as there.
        scale: as there.
        ratio: as there.

    Returns:
        int32 [4]: top, left, height, width; the height is 0 where nothing is to be erased.

    Raises:
        InputError: an option is out of range.

    >>> draw_rectangle(jax.random.key(0), (32, 32), probability=0)[2].tolist()
    0
    """
    ranges.fraction("probability", probability, with_one=True, remedy="0.5 is usual")
    areas = checks.interval("scale", scale, least=0)
    ratios = checks.above_zero("ratio", ratio)
    shape_key, place_key, key = jax.random.split(key, 3)
    ends = zip(areas, [math.log(end) for end in ratios], strict=True)
    lows, highs = (jnp.array(both, jnp.float32)[:, None] for both in ends)
    area, logarithm = jax.random.uniform(shape_key, (2, TRIES), minval=lows, maxval=highs)
    rows, columns = shape[:2]
    area, stretch = area * (rows * columns), jnp.exp(logarithm)
    heights = jnp.round(jnp.sqrt(area * stretch)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / stretch)).astype(jnp.int32)
    fits = (heights < rows) & (widths < columns)
    first = jnp.argmax(fits)
    height, width = heights[first], widths[first]
    happens = fits[first] & jax.random.bernoulli(key, 1.0 * probability)
    room = jnp.maximum(jnp.stack([rows - height, columns - width]) + 1, 1)
    top, left = jax.random.randint(place_key, (2,), 0, room)
    return jnp.stack([top, left, jnp.where(happens, height, 0), width])
