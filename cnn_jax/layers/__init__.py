"""The operations of convolutional networks: pure functions, and small modules around them."""

from cnn_jax.layers.convolution import (
    convolution,
    convolution1d,
    depthwise_convolution,
    pad,
    transposed_convolution,
    true_convolution,
)
from cnn_jax.layers.modules import (
    BatchNorm,
    Conv,
    Conv1d,
    ConvTranspose,
    Dense,
    LayerNorm,
)
from cnn_jax.layers.normalization import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
)
from cnn_jax.layers.pooling import average_pool, global_average_pool, global_max_pool, max_pool

__all__ = [
    "BatchNorm",
    "Conv",
    "Conv1d",
    "ConvTranspose",
    "Dense",
    "LayerNorm",
    "average_pool",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_statistics",
    "convolution",
    "convolution1d",
    "depthwise_convolution",
    "global_average_pool",
    "global_max_pool",
    "layer_norm",
    "max_pool",
    "pad",
    "transposed_convolution",
    "true_convolution",
]
