"""What processing does to images: contrast, colour, pixels, distortion, compression."""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment import checks
from cnn_jax.augment.color import LUMINANCE, adjust_contrast, adjust_saturation
from cnn_jax.augment.warping import sample
from cnn_jax.evaluate.blur import side_of
from cnn_jax.evaluate.random_fields import smooth_field

Number = float | jax.Array

# Wallace 1992, "The JPEG Still Picture Compression Standard"; ITU-T T.81, tables K.1 and K.2.
_LUMINANCE_STEPS = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
], np.float32)  # fmt: skip
_COLOUR_STEPS = np.full((8, 8), 99, np.float32)
_COLOUR_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
# Row k is the k-th cosine, so that the transform of a block is C @ block @ C.T.
_COSINES = np.cos(np.pi * np.arange(8)[:, None] * (2 * np.arange(8) + 1) / 16) / 2
_COSINES[0] /= np.sqrt(2)


def contrast(key: jax.Array, image: jax.Array, *, factor: Number) -> jax.Array:
    """Move every value towards the mean brightness.

    Args:
        key: not used.
        image: [H, W, C], C 1 or 3.
        factor: 1 is the image, 0 all grey.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> contrast(jax.random.key(0), jnp.array([[[0.25], [0.75]]]), factor=0.5)[0, :, 0].tolist()
    [0.375, 0.625]
    """
    return adjust_contrast(image, factor)


def saturation(key: jax.Array, image: jax.Array, *, factor: Number) -> jax.Array:
    """Move every colour away from the grey of its brightness; a grey image stays.

    Args:
        key: not used.
        image: [H, W, C], C 1 or 3.
        factor: 1 is the image, more is more colourful.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> from functools import partial
    >>> operation = partial(saturation, factor=2.0)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    return adjust_saturation(image, factor)


def pixelation(key: jax.Array, image: jax.Array, *, fraction: Number) -> jax.Array:
    """Put the mean of a block for each of its pixels.

    Args:
        key: not used.
        image: [H, W, C].
        fraction: blocks to a pixel, in each direction; 1 leaves the image as it is.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> image = jnp.arange(4.0).reshape(1, 4, 1) / 4
    >>> pixelation(jax.random.key(0), image, fraction=0.5)[0, :, 0].tolist()
    [0.125, 0.125, 0.625, 0.625]
    """
    image = checks.image(image)
    rows, columns = (_averaging(length, fraction) for length in image.shape[:2])
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("yh,hwc,xw->yxc", rows, image, columns, precision=exact).astype(image.dtype)


def elastic(key: jax.Array, image: jax.Array, *, reach: Number, waves: int = 7) -> jax.Array:
    """Move each pixel by a little, neighbours alike.

    Simard, Steinkraus and Platt 2003, "Best Practices for Convolutional Neural Networks", section
    2, with displacements between those of a coarse grid.

    Args:
        key: random key.
        image: [H, W, C].
        reach: deviation of the displacements, as a fraction of `side_of` the image.
        waves: cells of the grid, in each direction.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank or type.

    >>> from functools import partial
    >>> operation = partial(elastic, reach=0.02)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image)
    height, width, _ = image.shape
    drawn = reach * side_of(image) * jax.random.normal(key, (2, waves, waves))
    right, down = (smooth_field(grid, height, width) for grid in drawn)
    y, x = jnp.mgrid[:height, :width].astype(jnp.float32)
    # The edge goes on outside.
    x, y = jnp.clip(x + right, 0, width - 1), jnp.clip(y + down, 0, height - 1)
    return sample(image, x, y)


def jpeg(key: jax.Array, image: jax.Array, *, quality: Number) -> jax.Array:
    """Lose what JPEG loses: cosine transforms of blocks of 8x8, rounded the coarser the finer.

    As libjpeg, with all of the colours' pixels (4:4:4).

    Args:
        key: not used.
        image: [H, W, C], C 1 or 3.
        quality: 1 to 100.

    Returns:
        [H, W, C], in steps of 1 / 255.

    Raises:
        InputError: the image has the wrong rank, type or number of channels.

    >>> from functools import partial
    >>> operation = partial(jpeg, quality=10.0)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((9, 12, 3))).shape
    (9, 12, 3)
    """
    image = checks.image(image, colour=True)
    height, width, channels = image.shape
    values = jnp.round(255 * image.astype(jnp.float32))
    if channels == 3:
        # Brightness, and how much bluer and redder.
        values = jnp.round(_mixed(values, _to_brightness()) + jnp.array([0, 128, 128]))
    framed = jnp.pad(values, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
    rows, columns = framed.shape[0] // 8, framed.shape[1] // 8
    blocks = framed.reshape(rows, 8, columns, 8, channels).transpose(0, 2, 4, 1, 3) - 128
    steps = [_LUMINANCE_STEPS, _COLOUR_STEPS, _COLOUR_STEPS][:channels]
    scale = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = jnp.clip(jnp.floor((jnp.stack(steps) * scale + 50) / 100), 1, 255)
    cosines = jnp.asarray(_COSINES, jnp.float32)
    waves = _product(cosines, blocks, cosines.T) / steps
    # Halves, which are frequent, are rounded away from zero.
    kept = jnp.sign(waves) * jnp.floor(jnp.abs(waves) + 0.5) * steps
    blocks = _product(cosines.T, kept, cosines) + 128
    values = blocks.transpose(0, 3, 1, 4, 2).reshape(framed.shape)[:height, :width]
    if channels == 3:
        shifted = jnp.clip(jnp.round(values), 0, 255) - jnp.array([0, 128, 128])
        values = _mixed(shifted, np.linalg.inv(_to_brightness()).astype(np.float32))
    return (jnp.clip(jnp.round(values), 0, 255) / 255).astype(image.dtype)


def _averaging(length: int, fraction: Number) -> jax.Array:
    """Make the matrix [length, length] that puts the means of blocks."""
    blocks = jnp.maximum(jnp.round(length * fraction), 1)
    block = jnp.floor((jnp.arange(length) + 0.5) * blocks / length)
    same = (block[:, None] == block).astype(jnp.float32)
    return same / same.sum(1, keepdims=True)


def _to_brightness() -> np.ndarray:
    """Make the matrix from red, green and blue to brightness, blueness and redness (JFIF)."""
    red, green, blue = LUMINANCE
    brightness = np.array([red, green, blue])
    bluer = (np.array([0, 0, 1]) - brightness) / (2 * (1 - blue))
    redder = (np.array([1, 0, 0]) - brightness) / (2 * (1 - red))
    return np.stack([brightness, bluer, redder]).astype(np.float32)


def _mixed(colours: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply the colour of each pixel by a matrix."""
    return jnp.matmul(colours, matrix.T, precision=jax.lax.Precision.HIGHEST)


def _product(left: jax.Array, blocks: jax.Array, right: jax.Array) -> jax.Array:
    exact = jax.lax.Precision.HIGHEST
    return jnp.einsum("ij,...jk,kl->...il", left, blocks, right, precision=exact)
