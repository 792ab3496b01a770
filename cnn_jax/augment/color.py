"""Colours: brightness, contrast, saturation and hue, set or drawn at random, and grey images.

The first three blend an image with a black, a grey and a colourless one, as Pillow's ImageEnhance
and torchvision do: 0 is only the other image, 1 the image itself, more than 1 leads away.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.errors import InputError

Number = float | jax.Array

# How bright the eye sees red, green and blue: ITU-R BT.601, as in Pillow's conversion to grey.
LUMINANCE = (0.299, 0.587, 0.114)


def luminance(image: jax.Array) -> jax.Array:
    """Weigh the channels by how bright the eye sees them.

    Args:
        image: [H, W, C], C 1 or 3.

    Returns:
        [H, W, 1].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> luminance(jnp.ones((2, 2, 3))).shape
    (2, 2, 1)
    """
    image = checks.image(image, colour=True)
    if image.shape[2] == 1:
        return image
    red, green, blue = LUMINANCE
    return image[:, :, :1] * red + image[:, :, 1:2] * green + image[:, :, 2:] * blue


def mean_of(values: jax.Array) -> jax.Array:
    """Compute the mean of an image's values, to the same bit whatever else is in the batch.

    A compiler adds floats in an order that it chooses for the size of the batch, and rounds
    accordingly. So they are counted in whole steps of 2**-30 times the number of values, or of
    2**-24 where that is more.

    Args:
        values: of any shape, between 0 and 1.

    Returns:
        float32 [].

    >>> mean_of(jnp.array([0.25, 0.5, 0.75])).item()
    0.5
    """
    scale = 2.0 ** min(24, 31 - values.size.bit_length())
    total = jnp.round(values.astype(jnp.float32) * scale).astype(jnp.int32).sum()
    return total / (scale * values.size)


def grayscale(image: jax.Array) -> jax.Array:
    """Take the colour out of an image, and keep its channels.

    Args:
        image: [H, W, C], C 1 or 3.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> grayscale(jnp.array([[[1.0, 0, 0]]])).shape
    (1, 1, 3)
    """
    return jnp.broadcast_to(luminance(image), jnp.shape(image))


def adjust_brightness(image: jax.Array, factor: Number) -> jax.Array:
    """Multiply an image, up to white.

    Args:
        image: [H, W, C], C 1 or 3.
        factor: 0 is black, 1 the image.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> adjust_brightness(jnp.array([[[0.25, 0.5, 0.75]]]), 2)[0, 0].tolist()
    [0.5, 1.0, 1.0]
    """
    image = checks.image(image, colour=True)
    return _blend(image, 0.0, factor)


def adjust_contrast(image: jax.Array, factor: Number) -> jax.Array:
    """Move every value away from the mean brightness.

    Args:
        image: [H, W, C], C 1 or 3.
        factor: 0 is all grey, 1 the image.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> adjust_contrast(jnp.array([[[0.25], [0.75]]]), 1.5)[0, :, 0].tolist()
    [0.125, 0.875]
    """
    image = checks.image(image, colour=True)
    return _blend(image, mean_of(luminance(image)), factor)


def adjust_saturation(image: jax.Array, factor: Number) -> jax.Array:
    """Move every colour away from the grey of its brightness; a grey image stays.

    Args:
        image: [H, W, C], C 1 or 3.
        factor: 0 is without colour, 1 the image.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> adjust_saturation(jnp.full((2, 2, 3), 0.5), 0.0).shape
    (2, 2, 3)
    """
    image = checks.image(image, colour=True)
    return image if image.shape[2] == 1 else _blend(image, luminance(image), factor)


def adjust_hue(image: jax.Array, shift: Number) -> jax.Array:
    """Go round the circle of colours: red, yellow, green, cyan, blue, magenta; a grey image stays.

    Hue, saturation and value are those of Smith 1978, "Color gamut transform pairs".

    Args:
        image: [H, W, C], C 1 or 3.
        shift: of the circle; 0 is the image, 1/3 turns red into green, 1 comes round.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> adjust_hue(jnp.array([[[1.0, 0, 0]]]), 0.5)[0, 0].tolist()
    [0.0, 1.0, 1.0]
    """
    image = checks.image(image, colour=True)
    if image.shape[2] == 1:
        return image
    red, green, blue = image[:, :, 0], image[:, :, 1], image[:, :, 2]
    value, low = image.max(2), image.min(2)
    chroma = value - low
    safe = jnp.where(chroma > 0, chroma, 1)
    # In sixths of the circle, from red.
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    place = hue[:, :, None] + 6 * jnp.asarray(shift, jnp.float32) + jnp.array([5.0, 3.0, 1.0])
    place = place % 6
    # Each channel is at the value for three sixths, at the lowest for one, else in between.
    away = jnp.clip(jnp.minimum(place, 4 - place), 0, 1)
    shifted = (value[:, :, None] - chroma[:, :, None] * away).astype(image.dtype)
    # Going to hue and back leaves rounding errors, which no shift at all must not.
    return jnp.where(jnp.asarray(shift) == 0, image, shifted)


def color_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float | Sequence[float] = 0.0,
    contrast: float | Sequence[float] = 0.0,
    saturation: float | Sequence[float] = 0.0,
    hue: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Adjust brightness, contrast, saturation and hue at random, in a random order.

    As torchvision's ColorJitter, where all 24 orders are equally likely. None of them costs more
    than the four: brightness, contrast and saturation are blends, of which three are made before
    the hue is shifted and three after it, and the order says which of them count.

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        brightness: b for a factor drawn evenly from max(0, 1 - b) to 1 + b, or its lowest and
            highest.
        contrast: likewise.
        saturation: likewise.
        hue: the largest shift to either side, at most 0.5, or the lowest and the highest.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank, type or number of
            channels.

    The strength of SimCLR (Chen et al. 2020, appendix A):

    >>> jitter = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
    >>> from functools import partial
    >>> operation = partial(color_jitter, **jitter)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    order, factors, shift = draw_jitter(
        key, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue
    )
    return apply_jitter(image, order, factors, shift)


def draw_jitter(
    key: jax.Array,
    *,
    brightness: float | Sequence[float] = 0.0,
    contrast: float | Sequence[float] = 0.0,
    saturation: float | Sequence[float] = 0.0,
    hue: float | Sequence[float] = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw what `color_jitter` does.

    Args:
        key: random key.
        brightness: as there.
        contrast: as there.
        saturation: as there.
        hue: as there.

    Returns:
        The order, int32 [4], of brightness (0), contrast (1), saturation (2) and hue (3); the
        factors of the first three, float32 [3]; the shift of the hue, float32.

    Raises:
        InputError: an option is out of range.

    >>> draw_jitter(jax.random.key(0))[1].tolist()
    [1.0, 1.0, 1.0]
    """
    lows, highs = zip(
        _around_one("brightness", brightness),
        _around_one("contrast", contrast),
        _around_one("saturation", saturation),
        checks.around_zero("hue", hue),
        strict=True,
    )
    if lows[3] < -0.5 or highs[3] > 0.5:
        raise InputError(
            f"`hue` (={hue}) must be between -0.5 and 0.5: half a circle either way is all of it"
        )
    order_key, key = jax.random.split(key)
    drawn = jax.random.uniform(
        key, (4,), minval=jnp.array(lows, jnp.float32), maxval=jnp.array(highs, jnp.float32)
    )
    return jax.random.permutation(order_key, 4), drawn[:3], drawn[3]


def apply_jitter(
    image: jax.Array, order: jax.Array, factors: jax.Array, shift: jax.Array
) -> jax.Array:
    """Do what `draw_jitter` has drawn.

    Args:
        image: [H, W, C], C 1 or 3.
        order: int32 [4], of brightness (0), contrast (1), saturation (2) and hue (3).
        factors: of the first three, float32 [3].
        shift: of the hue, float32.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> apply_jitter(jnp.ones((1, 1, 1)), jnp.arange(4), jnp.array([0.5, 1, 1]), 0.0).tolist()
    [[[0.5]]]
    """
    image = checks.image(image, colour=True)
    order = jnp.asarray(order)
    when = jnp.argmax(order == 3)
    # The order of the three blends, as if there were no hue among them.
    blends = jnp.where(jnp.arange(3) < when, order[:3], order[1:])
    for place in range(3):
        image = _any_blend(image, blends[place], jnp.where(place < when, factors[blends[place]], 1))
    image = adjust_hue(image, shift)
    for place in range(3):
        factor = jnp.where(place < when, 1, factors[blends[place]])
        image = _any_blend(image, blends[place], factor)
    return image


def random_grayscale(key: jax.Array, image: jax.Array, *, probability: float = 0.1) -> jax.Array:
    """Take the colour out of an image, with a probability.

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        probability: how often, 0 to 1.

    Returns:
        [H, W, C].

    Raises:
        InputError: the probability is out of range, or the image has the wrong rank, type or number
            of channels.

    >>> from functools import partial
    >>> operation = partial(random_grayscale, probability=0.2)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    ranges.fraction("probability", probability, with_one=True, remedy="0.1 is usual")
    grey = jax.random.bernoulli(key, 1.0 * probability)
    return jnp.where(grey, grayscale(image), image)


def _blend(image: jax.Array, other: Number, factor: Number) -> jax.Array:
    mixed = other + factor * (image - other)
    return jnp.where(factor == 1, image, jnp.clip(mixed, 0, 1)).astype(image.dtype)


def _any_blend(image: jax.Array, kind: jax.Array, factor: jax.Array) -> jax.Array:
    """Adjust brightness (0), contrast (1) or saturation (2)."""
    grey = luminance(image)
    # Without colour, to adjust the saturation is to do nothing.
    colourless = image if image.shape[2] == 1 else grey
    other = jnp.where(kind == 0, 0, jnp.where(kind == 1, mean_of(grey), colourless))
    return _blend(image, other, factor)


def _around_one(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return checks.interval(name, value, least=0)
    ranges.not_negative(name, value, remedy="0 leaves it as it is")
    return max(0.0, 1.0 - value), 1.0 + value
