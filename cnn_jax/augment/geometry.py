"""Turning, moving, scaling and shearing an image: affine maps around its middle."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.augment.warping import Interpolation, warp
from cnn_jax.errors import InputError

Number = float | jax.Array


def affine_matrix(
    shape: Sequence[int],
    *,
    degrees: Number = 0.0,
    translation: Sequence[Number] | jax.Array = (0.0, 0.0),
    scale: Number = 1.0,
    shear: Sequence[Number] | jax.Array = (0.0, 0.0),
) -> jax.Array:
    """Make the matrix, from result to image, that shears, scales, turns and then moves an image.

    Args:
        shape: of the image: height, width and whatever follows.
        degrees: to turn by, counter-clockwise, around the middle of the image.
        translation: pixels to move by, to the right and down.
        scale: how many times larger, around the middle.
        shear: degrees by which verticals lean to the right and horizontals rise to the right.

    Returns:
        float32 [3, 3], for `warp`.

    >>> affine_matrix((5, 5, 3), translation=(2, 1)).tolist()
    [[1.0, 0.0, -2.0], [0.0, 1.0, -1.0], [0.0, 0.0, 1.0]]
    """
    middle_x, middle_y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    # Rows count downwards, so that what the eye sees as counter-clockwise is a negative angle.
    angle = -jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    lean, rise = jnp.tan(jnp.deg2rad(jnp.asarray(shear, jnp.float32)))
    # From the moved image back: unturn, then unshear the horizontals, then the verticals.
    down_x, down_y = rise * cosine - sine, rise * sine + cosine
    across_x, across_y = cosine + lean * down_x, sine + lean * down_y
    a, b, c, d = (entry / scale for entry in (across_x, across_y, down_x, down_y))
    x, y = middle_x + translation[0], middle_y + translation[1]
    zero = jnp.zeros_like(a)
    return jnp.stack(
        [
            jnp.stack([a, b, middle_x - (a * x + b * y)]),
            jnp.stack([c, d, middle_y - (c * x + d * y)]),
            jnp.stack([zero, zero, zero + 1]),
        ]
    )


def rotate(
    image: jax.Array,
    degrees: Number,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Turn an image counter-clockwise around its middle.

    Args:
        image: [H, W, C].
        degrees: the angle.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or the interpolation is unknown.

    >>> image = jnp.arange(4.0).reshape(2, 2, 1)
    >>> rotate(image, 90, interpolation="nearest")[:, :, 0].tolist()
    [[1.0, 3.0], [0.0, 2.0]]
    """
    image = checks.image(image)
    matrix = affine_matrix(image.shape, degrees=degrees)
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def translate(
    image: jax.Array,
    translation: Sequence[Number] | jax.Array,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Move an image.

    Args:
        image: [H, W, C].
        translation: pixels to the right, pixels down; fractions of a pixel as well.
        interpolation: nearest (rounds to whole pixels) or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or the interpolation is unknown.

    >>> translate(jnp.arange(3.0).reshape(1, 3, 1), (0.5, 0))[0, :, 0].tolist()
    [0.0, 0.5, 1.5]
    """
    image = checks.image(image)
    matrix = affine_matrix(image.shape, translation=translation)
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def shear(
    image: jax.Array,
    steps: Sequence[Number] | jax.Array,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Shear an image around its outer corner at the top left, as policies do.

    Args:
        image: [H, W, C].
        steps: pixels to the left by which each row lies off the one above, and pixels upwards by
            which each column lies off the one on its left.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or the interpolation is unknown.

    >>> shear(jnp.ones((3, 3, 1)), (1, 0), interpolation="nearest")[:, :, 0].tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    image = checks.image(image)
    matrix = shear_matrix(steps)
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def shear_matrix(steps: Sequence[Number] | jax.Array) -> jax.Array:
    """Make the matrix, from result to image, that shears around the outer corner at the top left.

    Args:
        steps: as for `shear`.

    Returns:
        float32 [3, 3], for `warp`.

    >>> shear_matrix((0.5, 0)).tolist()
    [[1.0, 0.5, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    across, down = (jnp.asarray(step, jnp.float32) for step in steps)
    zero, one = jnp.zeros_like(across), jnp.ones_like(across)
    # The outer corner is half a pixel from the middle of the first.
    return jnp.stack(
        [
            jnp.stack([one, across, across / 2]),
            jnp.stack([down, one, down / 2]),
            jnp.stack([zero, zero, one]),
        ]
    )


def affine(
    image: jax.Array,
    *,
    degrees: Number = 0.0,
    translation: Sequence[Number] | jax.Array = (0.0, 0.0),
    scale: Number = 1.0,
    shear: Sequence[Number] | jax.Array = (0.0, 0.0),
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Shear, scale, turn and then move an image, interpolating once.

    Args:
        image: [H, W, C].
        degrees: to turn by, counter-clockwise, around the middle.
        translation: pixels to the right, pixels down.
        scale: how many times larger.
        shear: degrees by which verticals lean to the right and horizontals rise to the right.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or the interpolation is unknown.

    >>> image = jnp.ones((8, 8, 3))
    >>> bool((affine(image, degrees=20, scale=2) == image).all())
    True
    """
    image = checks.image(image)
    matrix = affine_matrix(
        image.shape, degrees=degrees, translation=translation, scale=scale, shear=shear
    )
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def random_affine(
    key: jax.Array,
    image: jax.Array,
    *,
    degrees: float | Sequence[float] = 0.0,
    translation: float | Sequence[float] = 0.0,
    scale: Sequence[float] = (1.0, 1.0),
    shear: float | Sequence[float] = 0.0,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Turn, move, scale and shear an image at random, each evenly within its range, in one go.

    Args:
        key: random key.
        image: [H, W, C].
        degrees: the largest angle to either side, or the lowest and the highest.
        translation: the largest way as a fraction of the size, or one of the width and one of the
            height.
        scale: the lowest and the highest.
        shear: the largest lean of the verticals to either side, in degrees, or one for the
            verticals and one for the horizontals.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank or type.

    A course's recipe for handwritten digits:

    >>> image = jnp.zeros((28, 28, 1))
    >>> from functools import partial
    >>> operation = partial(random_affine, degrees=10, translation=0.1)
    >>> jax.eval_shape(operation, jax.random.key(0), image).shape
    (28, 28, 1)
    """
    image = checks.image(image)
    drawn = draw_affine(
        key, image.shape, degrees=degrees, translation=translation, scale=scale, shear=shear
    )
    return affine(image, **drawn, interpolation=interpolation, fill=fill)


def draw_affine(
    key: jax.Array,
    shape: Sequence[int],
    *,
    degrees: float | Sequence[float] = 0.0,
    translation: float | Sequence[float] = 0.0,
    scale: Sequence[float] = (1.0, 1.0),
    shear: float | Sequence[float] = 0.0,
) -> dict[str, jax.Array]:
    """Draw what `random_affine` does.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        degrees: as there.
        translation: as there.
        scale: as there.
        shear: as there.

    Returns:
        The options of `affine`: degrees, translation, scale and shear.

    Raises:
        InputError: an option is out of range.

    >>> drawn = draw_affine(jax.random.key(0), (28, 28), scale=(2, 2))
    >>> drawn["scale"].tolist(), drawn["shear"].tolist()
    (2.0, [0.0, 0.0])
    """
    reach_x, reach_y = _pair("translation", translation, otherwise=translation)
    lean, rise = _pair("shear", shear, otherwise=0.0)
    lows, highs = zip(
        checks.around_zero("degrees", degrees),
        (-reach_x * shape[1], reach_x * shape[1]),
        (-reach_y * shape[0], reach_y * shape[0]),
        checks.above_zero("scale", scale),
        (-lean, lean),
        (-rise, rise),
        strict=True,
    )
    drawn = jax.random.uniform(
        key, (6,), minval=jnp.array(lows, jnp.float32), maxval=jnp.array(highs, jnp.float32)
    )
    names = ("degrees", "translation", "scale", "shear")
    return dict(zip(names, (drawn[0], drawn[1:3], drawn[3], drawn[4:6]), strict=True))


def random_rotation(
    key: jax.Array,
    image: jax.Array,
    *,
    degrees: float | Sequence[float],
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Turn an image around its middle by a random angle, each as likely.

    Args:
        key: random key.
        image: [H, W, C].
        degrees: the largest angle to either side, or the lowest and the highest (positive is
            counter-clockwise).
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the range is none, or the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(random_rotation, degrees=10)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.zeros((28, 28, 1))).shape
    (28, 28, 1)
    """
    return random_affine(key, image, degrees=degrees, interpolation=interpolation, fill=fill)


def random_translation(
    key: jax.Array,
    image: jax.Array,
    *,
    fraction: float | Sequence[float],
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Move an image by a random way, across and down each evenly within its range.

    Args:
        key: random key.
        image: [H, W, C].
        fraction: the largest way as a fraction of the size, or one of the width and one of the
            height.
        interpolation: nearest (moves by whole pixels) or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the fraction is out of range, or the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(random_translation, fraction=0.1)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.zeros((28, 28, 1))).shape
    (28, 28, 1)
    """
    _pair("fraction", fraction, otherwise=fraction)
    return random_affine(key, image, translation=fraction, interpolation=interpolation, fill=fill)


def _pair(
    name: str, value: float | Sequence[float], *, otherwise: float | Sequence[float]
) -> tuple[float, float]:
    """Read two reaches, where one number stands for (number, otherwise)."""
    both = tuple(value) if isinstance(value, Sequence) else (value, otherwise)
    if len(both) != 2:
        raise InputError(f"`{name}` (={value}) must be a number, or two: across and down")
    for number in both:
        ranges.not_negative(name, number, remedy="it reaches as far to both sides")
    return both
