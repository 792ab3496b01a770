"""Pooling as pure functions on NHWC batches."""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.layers.arguments import Padding, Pair, array, float_array, padding_pairs, pair


def max_pool(
    images,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    plain: bool = False,
) -> jax.Array:
    """Keep the largest value of each window."""
    images = array("images", images, "N H W C")
    window = pair("window", window)
    stride = window if stride is None else pair("stride", stride)
    return lax.reduce_window(
        images,
        -jnp.inf,
        lax.max,
        (1, *window, 1),
        (1, *stride, 1),
        ((0, 0), *padding_pairs(padding), (0, 0)),
    )


def average_pool(
    images,
    *,
    window: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """Average each window."""
    images = float_array("images", images, "N H W C")
    window = pair("window", window)
    stride = window if stride is None else pair("stride", stride)
    sums = lax.reduce_window(
        images,
        0.0,
        lax.add,
        (1, *window, 1),
        (1, *stride, 1),
        ((0, 0), *padding_pairs(padding), (0, 0)),
    )
    return sums / (window[0] * window[1])


def global_average_pool(images) -> jax.Array:
    """Average each channel over all positions."""
    return float_array("images", images, "N H W C").mean((1, 2))


def global_max_pool(images) -> jax.Array:
    """Keep the largest value of each channel."""
    return array("images", images, "N H W C").max((1, 2))
