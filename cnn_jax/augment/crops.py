"""Cutting a part out of an image at random, at its size or brought to another."""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.augment.resizing import resize_crop
from cnn_jax.errors import InputError

TRIES = 10


def shifted_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    padding: int,
    mode: Literal["zero", "reflect"] = "zero",
) -> jax.Array:
    """Shift an image by up to `padding` pixels each way.

    The same as padding on all sides and cropping at random to the old size (He et al. 2016,
    section 4.2, with padding 4).

    Args:
        key: random key.
        image: [H, W, C].
        padding: largest shift in pixels; each shift from -padding to padding is equally likely.
        mode: what comes in: zeros, or the image mirrored at its edge (without the edge twice).

    Returns:
        [H, W, C].

    Raises:
        InputError: the padding is no whole number, the mode unknown, or the image too small to be
            mirrored so far.

    >>> from functools import partial
    >>> operation = partial(shifted_crop, padding=4)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.zeros((32, 32, 3))).shape
    (32, 32, 3)
    """
    ranges.whole("padding", padding, least=0, remedy="4 is usual for images of 32x32")
    checks.one_of("mode", mode, ("zero", "reflect"))
    rows, columns = image.shape[:2]
    if mode == "reflect" and padding >= min(rows, columns):
        raise InputError(
            f"`padding` (={padding}) must be below the image's size ({rows}x{columns}): "
            "only so far can it be mirrored"
        )
    start = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    around = ((padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(image, around, mode="constant" if mode == "zero" else "reflect")
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    size: int | Sequence[int] | None = None,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Cut out a rectangle of random size, shape and place, and bring it to a size.

    Szegedy et al. 2015, "Going Deeper with Convolutions", section 6, drawn as torchvision does: ten
    tries with the area even, and the ratio even in its logarithm; where no rectangle fits the
    image, its middle at the nearest ratio. Bilinear and antialiased.

    Args:
        key: random key.
        image: [H, W, C].
        size: height and width of the result, or one number for both; None for the image's.
        scale: the lowest and the highest area, as a fraction of the image's.
        ratio: the lowest and the highest width for a height of 1.

    Returns:
        [*size, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank or type.

    >>> image = jnp.zeros((256, 320, 3))
    >>> from functools import partial
    >>> operation = partial(random_resized_crop, size=224)
    >>> jax.eval_shape(operation, jax.random.key(0), image).shape
    (224, 224, 3)
    """
    image = checks.image(image)
    box = draw_box(key, image.shape, scale=scale, ratio=ratio)
    return resize_crop(image, *box, size=image.shape[:2] if size is None else size)


def draw_box(
    key: jax.Array,
    shape: Sequence[int],
    *,
    scale: Sequence[float] = (0.08, 1.0),
    ratio: Sequence[float] = (3 / 4, 4 / 3),
) -> jax.Array:
    """Draw the rectangle of `random_resized_crop`.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        scale: the lowest and the highest area, as a fraction of the image's.
        ratio: the lowest and the highest width for a height of 1.

    Returns:
        int32 [4]: top, left, height, width.

    Raises:
        InputError: an option is out of range.

    >>> draw_box(jax.random.key(0), (60, 80), scale=(1, 1), ratio=(1.5, 1.5)).tolist()
    [3, 0, 53, 80]
    """
    areas = checks.above_zero("scale", scale)
    ratios = checks.above_zero("ratio", ratio)
    rows, columns = shape[:2]
    shape_key, place_key = jax.random.split(key)
    ends = zip(areas, [math.log(end) for end in ratios], strict=True)
    lows, highs = (jnp.array(both, jnp.float32)[:, None] for both in ends)
    area, logarithm = jax.random.uniform(shape_key, (2, TRIES), minval=lows, maxval=highs)
    area, stretch = area * (rows * columns), jnp.exp(logarithm)
    heights = jnp.round(jnp.sqrt(area / stretch)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area * stretch)).astype(jnp.int32)
    fits = (heights > 0) & (heights <= rows) & (widths > 0) & (widths <= columns)
    first = jnp.argmax(fits)
    height, width = heights[first], widths[first]
    room = jnp.maximum(jnp.stack([rows - height, columns - width]) + 1, 1)
    top, left = jax.random.randint(place_key, (2,), 0, room)
    middle = jnp.array(_middle(rows, columns, ratios))
    return jnp.where(fits[first], jnp.stack([top, left, height, width]), middle)


def _middle(rows: int, columns: int, ratios: Sequence[float]) -> tuple[int, int, int, int]:
    """Choose the middle of an image at the ratio in a range that is nearest to its own."""
    height = min(rows, round(columns / ratios[0]))
    width = min(columns, round(rows * ratios[1]))
    return (rows - height) // 2, (columns - width) // 2, height, width
