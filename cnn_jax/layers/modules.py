"""The linen modules around the pure functions: only where there are parameters."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.layers.arguments import Padding, Pair, float_array, pair
from cnn_jax.layers.convolution import convolution, convolution1d, transposed_convolution
from cnn_jax.layers.normalization import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
)

Initializer = nn.initializers.Initializer


class Conv(nn.Module):
    """Convolution with learnt filters."""

    features: int
    kernel_size: Pair = 3
    stride: Pair = 1
    padding: Padding = 0
    padding_mode: str = "zero"
    dilation: Pair = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, images) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        images = float_array("images", images, "N H W C").astype(self.dtype)
        shape = (*pair("kernel_size", self.kernel_size), images.shape[-1] // self.groups)
        kernel = self.param("kernel", self.kernel_init, (*shape, self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        return convolution(
            images,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )


class Conv1d(nn.Module):
    """Convolution of signals with learnt filters."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    padding: int | tuple[int, int] = 0
    padding_mode: str = "zero"
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, signals) -> jax.Array:
        """Map [N, L, C] to [N, L', features]."""
        signals = float_array("signals", signals, "N L C").astype(self.dtype)
        shape = (self.kernel_size, signals.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        return convolution1d(
            signals,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            padding_mode=self.padding_mode,
        )


class ConvTranspose(nn.Module):
    """Transposed convolution with learnt filters."""

    features: int
    kernel_size: Pair = 3
    stride: Pair = 1
    padding: Padding = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, images) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        images = float_array("images", images, "N H W C").astype(self.dtype)
        shape = (*pair("kernel_size", self.kernel_size), images.shape[-1])
        kernel = self.param("kernel", self.kernel_init, (*shape, self.features // self.groups))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        return transposed_convolution(
            images,
            kernel,
            bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Dense(nn.Module):
    """A linear map of the last axis with learnt weights."""

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x) -> jax.Array:
        """Map [..., C] to [..., features]."""
        x = float_array("x", x).astype(self.dtype)
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features))
        output = x @ kernel.astype(self.dtype)
        if not self.use_bias:
            return output
        bias = self.param("bias", self.bias_init, (self.features,))
        return output + bias.astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation with running statistics."""

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    axis_name: str | None = None
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x, *, train: bool = False) -> jax.Array:
        """Map [..., C] to [..., C]."""
        x = float_array("x", x)
        channels = (x.shape[-1],)
        scale = self.param("scale", self.scale_init, channels)
        bias = self.param("bias", self.bias_init, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if not train:
            return batch_norm_eval(
                x, scale, bias, mean.value, var.value, epsilon=self.epsilon
            ).astype(self.dtype)
        axis_name = None if self.is_initializing() else self.axis_name
        output, batch_mean, batch_var = batch_norm(
            x, scale, bias, epsilon=self.epsilon, axis_name=axis_name, shift=mean.value
        )
        if not self.is_initializing():
            devices = 1 if axis_name is None else lax.axis_size(axis_name)
            mean.value, var.value = batch_norm_statistics(
                mean.value,
                var.value,
                batch_mean,
                batch_var,
                momentum=self.momentum,
                count=devices * x.size // x.shape[-1],
            )
        return output.astype(self.dtype)


class LayerNorm(nn.Module):
    """Layer normalisation of the last axis."""

    epsilon: float = 1e-6
    dtype: Any = jnp.float32
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x) -> jax.Array:
        """Map [..., C] to [..., C]."""
        x = float_array("x", x)
        scale = self.param("scale", self.scale_init, (x.shape[-1],))
        bias = self.param("bias", self.bias_init, (x.shape[-1],))
        return layer_norm(x, scale, bias, epsilon=self.epsilon).astype(self.dtype)
