"""Random fields: noise that is alike in neighbouring pixels."""

import jax
import jax.numpy as jnp
import numpy as np

Number = float | jax.Array


def smooth_field(grid: jax.Array, height: int, width: int) -> jax.Array:
    """Pass smoothly from each number of a grid to the next.

    The weights are those of Perlin 1985, "An Image Synthesizer": 3 t^2 - 2 t^3.

    Args:
        grid: float32 [rows, columns]; the outermost lie on the border of the result.
        height: of the result.
        width: of the result.

    Returns:
        float32 [height, width].

    >>> smooth_field(jnp.array([[0.0, 1.0]]), 1, 5)[0].tolist()
    [0.0, 0.15625, 0.5, 0.84375, 1.0]
    """
    exact = jax.lax.Precision.HIGHEST
    down, across = _weights(height, grid.shape[0]), _weights(width, grid.shape[1])
    return jnp.einsum("yr,rc,xc->yx", down, grid, across, precision=exact)


def clouds(key: jax.Array, height: int, width: int, *, decay: Number = 1.7) -> jax.Array:
    """Draw clouds: the sum of random fields, each twice as fine as the one before and weaker.

    Args:
        key: random key.
        height: of the result.
        width: of the result.
        decay: how many times weaker; the less, the rougher.

    Returns:
        float32 [height, width], from 0 to 1.

    >>> drawn = clouds(jax.random.key(0), 8, 8)
    >>> drawn.min().item(), drawn.max().item()
    (0.0, 1.0)
    """
    octaves = max(min(height, width).bit_length() - 1, 1)
    sides = [2 ** (octave + 1) for octave in range(octaves)]
    # Drawn at once, since each drawing takes its time to compile.
    drawn = jax.random.normal(key, (sum(side**2 for side in sides),))
    total, start = jnp.zeros((height, width)), 0
    for octave, side in enumerate(sides):
        grid = drawn[start : start + side**2].reshape(side, side)
        total += smooth_field(grid, height, width) / decay**octave
        start += side**2
    spread = jnp.maximum(total.max() - total.min(), 1e-6)
    return (total - total.min()) / spread


def _weights(length: int, cells: int) -> np.ndarray:
    """Weigh the cells for each pixel: float32 [length, cells].

    Made while tracing: XLA takes seconds to work out the same numbers as constants.

    >>> _weights(3, 2).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    if cells == 1:
        return np.ones((length, 1), np.float32)
    place = np.linspace(0, cells - 1, length)
    near = np.clip(1 - np.abs(place[:, None] - np.arange(cells)), 0, 1)
    return (near**2 * (3 - 2 * near)).astype(np.float32)
