"""Looking at an image from aside: projective maps that move its corners."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.augment.warping import Interpolation, warp


def perspective_matrix(shape: Sequence[int], corners: jax.Array) -> jax.Array:
    """Make the matrix, from result to image, that moves the corners of an image to four places.

    In closed form, through the unit square: Heckbert 1989, "Fundamentals of Texture Mapping and
    Image Warping", on inferring projective maps.

    Args:
        shape: of the image: height, width and whatever follows; at least 2 pixels each way.
        corners: [4, 2]: the places (column, row) of the top left, top right, bottom right and
            bottom left pixel, which must form a convex quadrilateral.

    Returns:
        float32 [3, 3], for `warp`.

    >>> corners = jnp.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    >>> bool((perspective_matrix((5, 5), corners) == jnp.eye(3)).all())
    True
    """
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = jnp.asarray(corners, jnp.float32)
    # From the unit square to the four places...
    far_x, far_y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    right_x, right_y, down_x, down_y = x1 - x2, y1 - y2, x3 - x2, y3 - y2
    area = right_x * down_y - right_y * down_x
    g = (far_x * down_y - far_y * down_x) / area
    h = (right_x * far_y - right_y * far_x) / area
    a, b, c = x1 - x0 + g * x1, x3 - x0 + h * x3, x0
    d, e, f = y1 - y0 + g * y1, y3 - y0 + h * y3, y0
    # ... and back, stretched to the image.
    inverse = jnp.stack(
        [
            jnp.stack([e - f * h, c * h - b, b * f - c * e]) * (shape[1] - 1),
            jnp.stack([f * g - d, a - c * g, c * d - a * f]) * (shape[0] - 1),
            jnp.stack([d * h - e * g, b * g - a * h, a * e - b * d]),
        ]
    )
    return inverse / inverse[2, 2]


def perspective(
    image: jax.Array,
    corners: jax.Array,
    *,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Move the corners of an image to four places.

    Args:
        image: [H, W, C].
        corners: [4, 2]: the new places (column, row) of the top left, top right, bottom right and
            bottom left pixel, which must form a convex quadrilateral.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type, or the interpolation is unknown.

    >>> image = jnp.arange(9.0).reshape(3, 3, 1)
    >>> upside_down = jnp.array([[0, 2], [2, 2], [2, 0], [0, 0]])
    >>> perspective(image, upside_down)[:, 0, 0].tolist()
    [6.0, 3.0, 0.0]
    """
    image = checks.image(image)
    matrix = perspective_matrix(image.shape, corners)
    return warp(image, matrix, interpolation=interpolation, fill=fill)


def random_perspective(
    key: jax.Array,
    image: jax.Array,
    *,
    distortion: float = 0.5,
    probability: float = 0.5,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Move each corner of an image inwards at random, with a probability.

    Args:
        key: random key.
        image: [H, W, C].
        distortion: the largest way of a corner as a fraction of half the size, 0 to below 1; every
            way across and down up to it is equally likely (torchvision draws whole pixels). Above
            2/3 the corners may fold over, and a part of the image vanish.
        probability: how often, 0 to 1.
        interpolation: nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank or type.

    >>> jax.eval_shape(random_perspective, jax.random.key(0), jnp.zeros((32, 32, 3))).shape
    (32, 32, 3)
    """
    image = checks.image(image)
    corners = draw_corners(key, image.shape, distortion=distortion, probability=probability)
    return perspective(image, corners, interpolation=interpolation, fill=fill)


def draw_corners(
    key: jax.Array, shape: Sequence[int], *, distortion: float = 0.5, probability: float = 0.5
) -> jax.Array:
    """Draw the new places of the corners for `random_perspective`.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        distortion: the largest way of a corner as a fraction of half the size, 0 to below 1.
        probability: how often they move at all, 0 to 1.

    Returns:
        float32 [4, 2], as `perspective` takes them.

    Raises:
        InputError: an option is out of range.

    >>> draw_corners(jax.random.key(0), (5, 9), distortion=0).tolist()
    [[0.0, 0.0], [8.0, 0.0], [8.0, 4.0], [0.0, 4.0]]
    """
    ranges.fraction("distortion", distortion, remedy="0.5 is usual")
    ranges.fraction("probability", probability, with_one=True, remedy="0.5 is usual")
    key, ways_key = jax.random.split(key)
    far = jnp.array([shape[1] - 1, shape[0] - 1], jnp.float32)
    ways = jax.random.uniform(ways_key, (4, 2)) * (distortion * far / 2)
    ways = jnp.where(jax.random.bernoulli(key, 1.0 * probability), ways, 0.0)
    at_the_end = jnp.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return jnp.where(at_the_end, far - ways, ways)
