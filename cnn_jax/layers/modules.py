"""The linen modules around the pure functions: only where there are parameters.

Parameters and running statistics are float32; the computation and the output are in `dtype`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.errors import InputError
from cnn_jax.layers import mapped
from cnn_jax.layers.arguments import floats
from cnn_jax.layers.convolution import convolution, convolution1d
from cnn_jax.layers.normalization import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
)
from cnn_jax.layers.regularization import drop
from cnn_jax.layers.transposed import transposed_convolution
from cnn_jax.reference.arguments import Padding, Pair, check_groups, pair, whole

Initializer = nn.initializers.Initializer

_IMAGES = ("images", "height", "width", "channels")
_CHANNELS_LAST = ("...", "channels")


class Conv(nn.Module):
    """Convolution with learnt filters: parameters `kernel` [kh, kw, C // groups, F] and `bias` [F].

    With `groups` equal to the channels it is depthwise, and computed as such. Options as in
    `convolution`; by default the kernel is drawn as in He et al. 2015, "Delving Deep into
    Rectifiers", equation 10.

    Attributes:
        features: filters, the channels of the output.
        kernel_size: side of the kernel, or (height, width).
        stride: pixels from one position to the next, or (down, right).
        padding: pixels added on every side, (height, width), or ((top, bottom), (left, right)).
        padding_mode: what the added pixels hold: zero, reflect, edge or wrap.
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides the channels and the features.
        use_bias: whether there is a bias.
        dtype: type of the computation and the output.
        kernel_init: draws the kernel.
        bias_init: draws the bias.
        plain: whether to keep to the compiler's convolution where a faster form is known.

    Raises:
        InputError: as `convolution`, at initialisation or at call.

    >>> model = Conv(8, kernel_size=3, padding=1, stride=2)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> jax.tree.map(jnp.shape, variables["params"])
    {'bias': (8,), 'kernel': (3, 3, 3, 8)}
    >>> model.apply(variables, jnp.ones((5, 32, 32, 3))).shape
    (5, 16, 16, 8)
    """

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
    plain: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        images = floats(images, _IMAGES, name="images").astype(self.dtype)
        size = pair(self.kernel_size, name="kernel_size", at_least=1)
        seen = _channels_in_group(images.shape[3], self.features, self.groups)
        kernel = self.param("kernel", self.kernel_init, (*size, seen, self.features))
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
            plain=self.plain,
        )


class Conv1d(nn.Module):
    """Convolution of signals with learnt filters: `kernel` [k, C // groups, F] and `bias` [F].

    Options as in `convolution1d`: Waibel et al. 1989, "Phoneme Recognition Using Time-Delay Neural
    Networks", section II.

    Attributes:
        features: filters, the channels of the output.
        kernel_size: samples of the kernel.
        stride: samples from one position to the next.
        padding: samples added at both ends, or (before, after).
        padding_mode: what the added samples hold: zero, reflect, edge or wrap.
        dilation: samples from one entry of the kernel to the next.
        groups: number of groups; divides the channels and the features.
        use_bias: whether there is a bias.
        dtype: type of the computation and the output.
        kernel_init: draws the kernel.
        bias_init: draws the bias.
        plain: whether to keep to the compiler's convolution where a faster form is known.

    Raises:
        InputError: as `convolution`, at initialisation or at call.

    >>> model = Conv1d(8, kernel_size=5, padding=2)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 100, 3)))
    >>> model.apply(variables, jnp.ones((5, 100, 3))).shape
    (5, 100, 8)
    """

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
    plain: bool = False

    @nn.compact
    def __call__(self, signals: jax.Array) -> jax.Array:
        """Map [N, L, C] to [N, L', features]."""
        axes = ("signals", "length", "channels")
        signals = floats(signals, axes, name="signals").astype(self.dtype)
        size = whole(self.kernel_size, name="kernel_size", at_least=1)
        seen = _channels_in_group(signals.shape[2], self.features, self.groups)
        kernel = self.param("kernel", self.kernel_init, (size, seen, self.features))
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
            plain=self.plain,
        )


class ConvTranspose(nn.Module):
    """Transposed convolution with learnt filters: `kernel` [kh, kw, C, F // groups], `bias` [F].

    Options as in `transposed_convolution`: Dumoulin and Visin 2016, "A guide to convolution
    arithmetic for deep learning", chapter 4.

    Attributes:
        features: filters, the channels of the output.
        kernel_size: side of the kernel, or (height, width).
        stride: pixels from one pasted kernel to the next, or (down, right).
        padding: pixels cut off every side, (height, width), or ((top, bottom), (left, right)).
        output_padding: pixels added at the bottom and the right, or (bottom, right).
        dilation: pixels from one entry of the kernel to the next, or (down, right).
        groups: number of groups; divides the channels and the features.
        use_bias: whether there is a bias.
        dtype: type of the computation and the output.
        kernel_init: draws the kernel.
        bias_init: draws the bias.

    Raises:
        InputError: as `transposed_convolution`, at initialisation or at call.

    >>> model = ConvTranspose(8, kernel_size=2, stride=2)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 16, 16, 3)))
    >>> model.apply(variables, jnp.ones((5, 16, 16, 3))).shape
    (5, 32, 32, 8)
    """

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
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        images = floats(images, _IMAGES, name="images").astype(self.dtype)
        size = pair(self.kernel_size, name="kernel_size", at_least=1)
        _channels_in_group(images.shape[3], self.features, self.groups)
        shape = (*size, images.shape[3], self.features // self.groups)
        kernel = self.param("kernel", self.kernel_init, shape)
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


def _channels_in_group(channels: int, features: int, groups: int) -> int:
    """Return how many channels each filter sees, before a parameter takes a wrong shape."""
    whole(features, name="features", at_least=1)
    check_groups(groups, channels=channels, filters=features)
    return channels // groups


class Dense(nn.Module):
    """A linear map of the last axis with learnt weights: `kernel` [C, F] and `bias` [F].

    Goodfellow, Bengio and Courville 2016, "Deep Learning", section 6.1.

    Attributes:
        features: numbers coming out.
        use_bias: whether there is a bias.
        dtype: type of the computation and the output.
        kernel_init: draws the kernel.
        bias_init: draws the bias.

    Raises:
        InputError: for integers, or features below 1.

    >>> model = Dense(8)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    >>> model.apply(variables, jnp.ones((5, 4, 3))).shape
    (5, 4, 8)
    """

    features: int
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: Initializer = nn.initializers.he_normal()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., C] to [..., features]."""
        x = floats(x, _CHANNELS_LAST, name="x").astype(self.dtype)
        features = whole(self.features, name="features", at_least=1)
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], features))
        output = x @ kernel.astype(self.dtype)
        if not self.use_bias:
            return output
        return output + self.param("bias", self.bias_init, (features,)).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch normalisation: `scale` and `bias` [C]; in `batch_stats` the running `mean` and `var`.

    The statistics are computed and kept in float32. The running variance takes up the unbiased
    variance of each batch, as PyTorch's does, while Flax's own module takes up the biased one:
    weights come from there, and so does the comparison.

    Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2.

    Attributes:
        momentum: share of the running statistics that a step keeps (PyTorch's 0.1 is 0.9 here).
        epsilon: added to the variance.
        dtype: type of the output.
        axis_name: mapped axis (pmap, vmap) to average the statistics over. "data" stands for "where
            there is one of that name": without it, and for None, each device normalises by its own.
        scale_init: draws the scale.
        bias_init: draws the bias.

    Raises:
        InputError: for integers, or in training for a single value a channel: it has no variance.

    >>> model = BatchNorm()
    >>> images = jnp.array([[1.0], [3.0]])
    >>> variables = model.init(jax.random.key(0), images)
    >>> _, updates = model.apply(variables, images, train=True, mutable=["batch_stats"])
    >>> jax.tree.map(lambda value: round(value.item(), 3), updates["batch_stats"])
    {'mean': 0.2, 'var': 1.1}
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    axis_name: str | None = mapped.DATA
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [..., C] to [..., C]; in training, move the running statistics."""
        x = floats(x, _CHANNELS_LAST, name="x")
        channels = x.shape[-1:]
        scale = self.param("scale", self.scale_init, channels)
        bias = self.param("bias", self.bias_init, channels)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if not train:
            output = batch_norm_eval(x, scale, bias, mean.value, var.value, epsilon=self.epsilon)
            return output.astype(self.dtype)
        axis_name = self.axis_name
        # Parameters are drawn outside of the map, where the axis has no name.
        if self.is_initializing() or (axis_name == mapped.DATA and not mapped.is_mapped(axis_name)):
            axis_name = None
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


class Dropout(nn.Module):
    """Drop values at random in training, with the key of the "dropout" stream.

    It draws as Flax's module of that name; devices that share a batch under `jax.pmap` draw as one
    would (`layers.mapped`).

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting".

    Attributes:
        rate: chance of each value to be dropped, in [0, 1).
        broadcast_dims: axes along which all is dropped or nothing: (1, 2) of images for whole
            channels (SpatialDropout), (1, 2, 3) for whole images (stochastic depth); negative
            ones count from the last.
        deterministic: drop nothing.

    Raises:
        InputError: for integers, a rate outside [0, 1), or an axis that there is not.

    >>> model = Dropout(0.5, deterministic=False)
    >>> kept = model.apply({}, jnp.ones(1000), rngs={"dropout": jax.random.key(0)})
    >>> sorted(set(kept.tolist()))
    [0.0, 2.0]
    """

    rate: float
    broadcast_dims: Sequence[int] = ()
    deterministic: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [N, ...] to [N, ...]."""
        if self.deterministic or self.rate == 0:
            return x
        x = floats(x, name="x")
        mask = list(x.shape)
        for axis in self.broadcast_dims:
            if not -x.ndim <= axis < x.ndim:
                raise InputError(
                    f"`broadcast_dims` (={tuple(self.broadcast_dims)}) must be axes of x, which "
                    f"has shape {x.shape}: choose from {-x.ndim} to {x.ndim - 1}"
                )
            mask[axis] = 1
        return drop(self.make_rng("dropout"), x, tuple(mask), self.rate)


class LayerNorm(nn.Module):
    """Layer normalisation of the last axis: `scale` and `bias` [C].

    Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4.

    Attributes:
        epsilon: added to the variance.
        dtype: type of the output; computed in float32.
        scale_init: draws the scale.
        bias_init: draws the bias.

    Raises:
        InputError: for integers.

    >>> model = LayerNorm()
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> model.apply(variables, jnp.array([[1.0, 3.0]])).round(3)
    Array([[-1.,  1.]], dtype=float32)
    """

    epsilon: float = 1e-6
    dtype: Any = jnp.float32
    scale_init: Initializer = nn.initializers.ones
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., C] to [..., C]."""
        x = floats(x, _CHANNELS_LAST, name="x")
        scale = self.param("scale", self.scale_init, x.shape[-1:])
        bias = self.param("bias", self.bias_init, x.shape[-1:])
        return layer_norm(x, scale, bias, epsilon=self.epsilon).astype(self.dtype)
