"""The operations of convolutional networks: pure functions, and small modules around them.

Images are [N, height, width, channels], signals [N, length, channels]. A random key comes first,
arrays follow, options are keywords. The same operations one pixel at a time: `cnn_jax.reference`.
"""

from cnn_jax.layers.activations import (
    elu,
    gelu,
    hard_sigmoid,
    hard_swish,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
)
from cnn_jax.layers.convolution import (
    convolution,
    convolution1d,
    depthwise_convolution,
    pad,
    true_convolution,
)
from cnn_jax.layers.modules import (
    BatchNorm,
    Conv,
    Conv1d,
    ConvTranspose,
    Dense,
    Dropout,
    LayerNorm,
)
from cnn_jax.layers.normalization import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
    local_response_norm,
)
from cnn_jax.layers.pooling import (
    adaptive_average_pool,
    adaptive_max_pool,
    average_pool,
    average_pool1d,
    global_average_pool,
    global_max_pool,
    max_pool,
    max_pool1d,
)
from cnn_jax.layers.regularization import channel_dropout, drop_path, dropout
from cnn_jax.layers.transposed import transposed_convolution

__all__ = [
    "BatchNorm",
    "Conv",
    "Conv1d",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "LayerNorm",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "average_pool1d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_statistics",
    "channel_dropout",
    "convolution",
    "convolution1d",
    "depthwise_convolution",
    "drop_path",
    "dropout",
    "elu",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "hard_sigmoid",
    "hard_swish",
    "layer_norm",
    "leaky_relu",
    "local_response_norm",
    "max_pool",
    "max_pool1d",
    "pad",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "transposed_convolution",
    "true_convolution",
]
