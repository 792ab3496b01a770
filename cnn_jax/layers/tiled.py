"""Convolution as one matrix product: the form that stays fast under `vmap` over kernels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.typing import ArrayLike

from cnn_jax.layers.arguments import floats, vector
from cnn_jax.layers.convolution import IMAGES, pad
from cnn_jax.reference.arguments import Padding, Pair, check_kernel_channels, padding_pairs, pair
from cnn_jax.reference.geometry import output_size

_KERNEL = ("height", "width", "channels", "filters")

# The images are the last axis in memory: loops over them are long and without gaps, however few
# the channels. That is a third of the time of a training step of eight LeNet-5.
_IMAGES_LAST = Layout((3, 1, 2, 0))

# Columns of the product beyond which larger tiles multiply more zeros than they save copies.
_MOST_COLUMNS = 128
_LARGEST_TILE = 4


class _Track(NamedTuple):
    """How the tiles of the output follow each other in one direction."""

    size: int
    kernel: int
    stride: int
    dilation: int
    tile: int

    @property
    def positions(self) -> int:
        return output_size(
            self.size, kernel=self.kernel, stride=self.stride, dilation=self.dilation
        )

    @property
    def tiles(self) -> int:
        return -(-self.positions // self.tile)

    @property
    def block(self) -> int:
        """Pixels from one tile to the next."""
        return self.tile * self.stride

    @property
    def seen(self) -> int:
        """Blocks that the positions of a tile see together."""
        pixels = (self.tile - 1) * self.stride + (self.kernel - 1) * self.dilation + 1
        return -(-pixels // self.block)

    @property
    def blocks(self) -> int:
        """Blocks that all tiles see together."""
        return self.tiles + self.seen - 1


def tiled_convolution(
    images: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    padding_mode: str = "zero",
    tile: Pair | None = None,
) -> jax.Array:
    """Convolve by one matrix product, a row of which makes a tile of each filter's answers.

    With tiles of one position this is Chellapilla, Puri and Simard 2006, "High Performance
    Convolutional Neural Networks for Document Processing", section 4: a row holds what a position
    sees. Neighbouring positions see almost the same, so larger tiles copy less; they also give
    the product more columns, and a part of its entries are zeros.

    Under `jax.vmap` over kernels the product becomes a batched one; a convolution would become a
    grouped one, which XLA's CPU backend computes slowly.

    Args:
        images: float [N, H, W, C]; the computation is of their type.
        kernel: float [kh, kw, C, F].
        bias: float [F], added to each filter's answers; None adds nothing.
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.
        tile: positions of a tile, or (down, right); None for what suits the number of filters.

    Returns:
        [N, H', W', F] of the images' type, as of `convolution`.

    Raises:
        InputError: as `convolution`.

    >>> images, kernel = jnp.ones((1, 4, 4, 3)), jnp.ones((3, 3, 3, 2))
    >>> tiled_convolution(images, kernel, jnp.array([0.0, 0.5]))[0, 0]
    Array([[27. , 27.5],
           [27. , 27.5]], dtype=float32)
    """
    images = floats(images, IMAGES, name="images")
    kernel = floats(kernel, _KERNEL, name="kernel").astype(images.dtype)
    filters = kernel.shape[3]
    check_kernel_channels(kernel.shape[2], channels=images.shape[3], groups=1)
    if bias is not None:
        bias = vector(bias, name="bias", length=filters, what="filter").astype(images.dtype)
    images = pad(images, padding_pairs(padding), mode=padding_mode)
    down, across = (
        _Track(*sizes)
        for sizes in zip(
            images.shape[1:3],
            kernel.shape[:2],
            pair(stride, name="stride", at_least=1),
            pair(dilation, name="dilation", at_least=1),
            _tile_for(filters) if tile is None else pair(tile, name="tile", at_least=1),
            strict=True,
        )
    )
    images = with_layout_constraint(images, _IMAGES_LAST)
    patches = _patches(images, down, across)
    matrix = _matrix(kernel, down, across)
    tiles = lax.dot_general(matrix, patches, (((0,), (0,)), ((), ())))
    if bias is not None:  # here, where the sums that are its gradient run along the memory
        tiles += jnp.tile(bias, down.tile * across.tile)[:, None]
    return with_layout_constraint(_assembled(tiles, down, across, filters), _IMAGES_LAST)


def _assembled(tiles: jax.Array, down: _Track, across: _Track, filters: int) -> jax.Array:
    """Lay the tiles out as images, and cut off what lies beyond the last positions."""
    tiles = tiles.reshape(down.tile, across.tile, filters, down.tiles, across.tiles, -1)
    output = tiles.transpose(5, 3, 0, 4, 1, 2)
    output = output.reshape(-1, down.tiles * down.tile, across.tiles * across.tile, filters)
    return output[:, : down.positions, : across.positions]


def _tile_for(filters: int) -> tuple[int, int]:
    sides = range(_LARGEST_TILE, 1, -1)
    side = next((side for side in sides if side * side * filters <= _MOST_COLUMNS), 1)
    return side, side


def _patches(images: jax.Array, down: _Track, across: _Track) -> jax.Array:
    """What each tile sees: [across.seen, down.seen, block, block, C] x [tiles, tiles, N]."""
    x = images.transpose(3, 1, 2, 0)
    channels, height, width, count = x.shape
    more = (down.blocks * down.block - height, across.blocks * across.block - width)
    x = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, more[0], 0), (0, more[1], 0), (0, 0, 0)))
    x = x.reshape(channels, down.blocks, down.block, across.blocks, across.block, count)
    x = x.transpose(2, 4, 0, 1, 3, 5).reshape(-1, down.blocks, across.blocks, count)
    for axis, track in ((1, down), (2, across)):
        shifts = range(track.seen)
        parts = [lax.slice_in_dim(x, i, i + track.tiles, axis=axis) for i in shifts]
        x = jnp.concatenate(parts)
    return x.reshape(-1, down.tiles * across.tiles * count)


def _matrix(kernel: jax.Array, down: _Track, across: _Track) -> jax.Array:
    """The kernel at each place in a tile: the rows of `_patches` x [tile, tile, F]."""
    _, _, channels, filters = kernel.shape
    for axis, track in ((0, down), (1, across)):
        kernel = jnp.stack([_placed(kernel, axis, track, i) for i in range(track.tile)], axis=-2)
    kernel = kernel.reshape(
        down.seen, down.block, across.seen, across.block, channels, -1
    ).transpose(2, 0, 1, 3, 4, 5)
    return kernel.reshape(-1, down.tile * across.tile * filters)


def _placed(kernel: jax.Array, axis: int, track: _Track, index: int) -> jax.Array:
    """Put a kernel, dilated, where it lies for the position `index` of a tile."""
    before = index * track.stride
    after = track.seen * track.block - before - (track.kernel - 1) * track.dilation - 1
    config = [(0, 0, 0)] * kernel.ndim
    config[axis] = (before, after, track.dilation - 1)
    return lax.pad(kernel, jnp.zeros((), kernel.dtype), config)
