"""Convolutions 3x3 with 16 multiplications for four outputs instead of 36."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# G of equation 10: what three entries of a kernel become, down as across.
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)


def winograd(images: jax.Array, kernel: jax.Array, pads) -> jax.Array:
    """Convolve with 3x3 kernels at stride 1 by F(2x2, 3x3).

    Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks", equation 8 and
    algorithm 1. Tiles of 4x4 pixels overlap by two; each gives 2x2 outputs. Rounding is that of
    the usual form: all constants are 1 and 1/2.

    Args:
        images: float32 [N, H, W, C].
        kernel: [3, 3, C, F].
        pads: ((top, bottom), (left, right)) in pixels; negative cuts off.

    Returns:
        [N, H', W', F].

    >>> image = jnp.arange(25.0).reshape(1, 5, 5, 1)
    >>> winograd(image, jnp.ones((3, 3, 1, 1)), ((0, 0), (0, 0)))[0, :, :, 0]
    Array([[ 54.,  63.,  72.],
           [ 99., 108., 117.],
           [144., 153., 162.]], dtype=float32)
    """
    (count, *sizes, channels), filters = images.shape, kernel.shape[3]
    height, width = (size + sum(pad) - 2 for size, pad in zip(sizes, pads, strict=True))
    down, across = (height + 1) // 2, (width + 1) // 2
    frame = [
        (before, 2 * tiles + 2 - size - before, 0)
        for size, (before, _), tiles in zip(sizes, pads, (down, across), strict=True)
    ]
    padded = lax.pad(images, np.zeros((), images.dtype), [(0, 0, 0), *frame, (0, 0, 0)])
    rows = _transformed(*(padded[:, i : i + 2 * down - 1 : 2] for i in range(4)))
    tiles = [
        jnp.stack(_transformed(*(row[:, :, i : i + 2 * across - 1 : 2] for i in range(4))))
        for row in rows
    ]
    entries = jnp.dot(np.kron(_KERNEL, _KERNEL), kernel.reshape(9, -1))
    products = [
        lax.dot_general(tile.reshape(4, -1, channels), entry, (((2,), (1,)), ((0,), (0,))))
        for tile, entry in zip(tiles, entries.reshape(4, 4, channels, filters), strict=True)
    ]
    outputs = [
        jnp.stack([part.reshape(count, down, across, filters) for part in _summed(*row)], 3)
        for row in _summed(*products)
    ]
    joined = jnp.stack(outputs, 2).reshape(count, 2 * down, 2 * across, filters)
    return joined[:, :height, :width]


def _transformed(a, b, c, d):
    """Apply B of equation 10 to four rows or columns."""
    return a - c, b + c, c - b, b - d


def _summed(a, b, c, d):
    """Apply A of equation 10 to the products of four rows or columns."""
    return a + b + c, b - c - d
