"""Every operation of a convolutional network in plain NumPy loops: to read, and to test against.

One image at a time, [height, width] or [height, width, channels], in float64. Nothing here is
fast and nothing is clever: the layers are, and tests hold them to these.
"""

from cnn_jax.reference.activations import elu, gelu, hard_swish, leaky_relu, relu, silu, softmax
from cnn_jax.reference.convolution import (
    convolution,
    convolution1d,
    convolution2d,
    depthwise_convolution,
    true_convolution,
    true_convolution2d,
)
from cnn_jax.reference.filters import FILTERS, box_blur, gaussian_blur
from cnn_jax.reference.geometry import (
    ReceptiveField,
    Window,
    convolution_parameters,
    dense_parameters,
    output_size,
    receptive_field,
    transposed_output_size,
)
from cnn_jax.reference.losses import cross_entropy
from cnn_jax.reference.normalization import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
    local_response_norm,
)
from cnn_jax.reference.padding import pad
from cnn_jax.reference.pooling import (
    adaptive_average_pool,
    adaptive_max_pool,
    average_pool,
    average_pool1d,
    global_average_pool,
    global_max_pool,
    max_pool,
    max_pool1d,
)
from cnn_jax.reference.regularization import channel_dropout, dropout
from cnn_jax.reference.transposed import transposed_convolution

__all__ = [
    "FILTERS",
    "ReceptiveField",
    "Window",
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "average_pool1d",
    "batch_norm",
    "batch_norm_eval",
    "batch_norm_statistics",
    "box_blur",
    "channel_dropout",
    "convolution",
    "convolution1d",
    "convolution2d",
    "convolution_parameters",
    "cross_entropy",
    "dense_parameters",
    "depthwise_convolution",
    "dropout",
    "elu",
    "gaussian_blur",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "hard_swish",
    "layer_norm",
    "leaky_relu",
    "local_response_norm",
    "max_pool",
    "max_pool1d",
    "output_size",
    "pad",
    "receptive_field",
    "relu",
    "silu",
    "softmax",
    "transposed_convolution",
    "transposed_output_size",
    "true_convolution",
    "true_convolution2d",
]
