"""Convolution, batch normalisation and ReLU, of which the Inception networks are built."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers


class ConvNormRelu(nn.Module):
    """relu(norm(conv(x))), the convolution without a bias.

    Attributes:
        features: channels of the output.
        kernel_size: of the convolution.
        stride: of the convolution.
        padding: of the convolution.
        stddev: of the kernel's truncated normal distribution.
        dtype: type of the computation.
    """

    features: int
    kernel_size: int | tuple[int, int] = 1
    stride: int = 1
    padding: int | tuple[int, int] = 0
    stddev: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        x = layers.Conv(
            self.features,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.truncated_normal(self.stddev),
            name="conv",
        )(x)
        norm = layers.BatchNorm(epsilon=1e-3, dtype=self.dtype, name="bn")
        return nn.relu(norm(x, train=train))
