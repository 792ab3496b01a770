"""The blocks of mobile networks: depthwise convolutions between pointwise ones."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.initializers import he_normal
from cnn_jax.models.squeeze_excitation import SqueezeExcitation

Activation = Callable[[jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Block:
    """One row of a network's table.

    Attributes:
        kind: one of the modules below.
        features: channels that leave the block.
        kernel_size: of the spatial convolution.
        stride: of the spatial convolution.
        expanded: channels between the pointwise convolutions; for `InvertedResidual` and
            `FusedInvertedResidual`.
        squeezed: channels inside squeeze-and-excitation; 0 to have none.
        residual: whether the input is added where the shapes allow it.
        activation: the nonlinearity.
        last_activation: whether it also follows the last convolution of `SeparableConvolution`.
    """

    kind: type[nn.Module]
    features: int
    kernel_size: int = 3
    stride: int = 1
    expanded: int = 0
    squeezed: int = 0
    residual: bool = True
    activation: Activation = nn.relu
    last_activation: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all layers of a network share.

    Attributes:
        bn_epsilon: added to the variance in batch normalisation.
        bn_momentum: share of the old running statistics that a step keeps.
        same_padding: pad as TensorFlow does, more at the end, instead of evenly.
        squeeze_activation: between the convolutions of squeeze-and-excitation; None for the
            block's own.
        gate: makes the factors of squeeze-and-excitation.
        dtype: type of the computation.
    """

    bn_epsilon: float = 1e-5
    bn_momentum: float = 0.9
    same_padding: bool = False
    squeeze_activation: Activation | None = None
    gate: Activation = nn.sigmoid
    dtype: jnp.dtype = jnp.float32


def conv_norm(
    x: jax.Array,
    features: int,
    *,
    names: tuple[str, str],
    settings: Settings,
    train: bool,
    kernel_size: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = None,
) -> jax.Array:
    """Convolve, normalise and activate, in the compact method of the module that calls.

    Args:
        x: [N, H, W, C].
        features: channels of the output.
        names: of the convolution and of the normalisation.
        settings: of the network.
        train: whether batch statistics normalise.
        kernel_size: of the convolution.
        stride: of the convolution.
        groups: of the convolution.
        activation: the nonlinearity; None to have none.

    Returns:
        [N, ceil(H / stride), ceil(W / stride), features].
    """
    sizes = x.shape[1:3]
    x = layers.Conv(
        features,
        kernel_size=kernel_size,
        stride=stride,
        padding=_padding(sizes, kernel_size, stride, settings.same_padding),
        groups=groups,
        use_bias=False,
        # The fan-out of one group: a depthwise kernel reaches kernel_size^2 outputs.
        kernel_init=he_normal(groups=groups),
        dtype=settings.dtype,
        name=names[0],
    )(x)
    x = layers.BatchNorm(
        momentum=settings.bn_momentum,
        epsilon=settings.bn_epsilon,
        dtype=settings.dtype,
        name=names[1],
    )(x, train=train)
    return x if activation is None else activation(x)


def _padding(sizes: tuple[int, int], kernel_size: int, stride: int, same: bool):
    if not same:
        return kernel_size // 2
    totals = [max((-(-size // stride) - 1) * stride + kernel_size - size, 0) for size in sizes]
    return tuple((total // 2, total - total // 2) for total in totals)


class ConvBlock(nn.Module):
    """A convolution, added to its input where the shapes allow it.

    EfficientNetV2's first stage (a fused block whose expansion is 1), MobileNetV3's last.

    Attributes:
        block: the row of the table.
        settings: of the network.
        drop_path_rate: probability that an image skips the block, in training.
    """

    block: Block
    settings: Settings
    drop_path_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        block = self.block
        branch = conv_norm(
            x,
            block.features,
            names=("conv", "bn1"),
            settings=self.settings,
            train=train,
            kernel_size=block.kernel_size,
            stride=block.stride,
            activation=block.activation,
        )
        return _add_shortcut(x, branch, block, self.drop_path_rate, train)


class SeparableConvolution(nn.Module):
    """A depthwise convolution and a pointwise one.

    Howard et al. 2017, "MobileNets", section 3.1, where both are activated and nothing is added;
    the later networks use it as an inverted residual whose expansion is 1.

    Attributes:
        block: the row of the table.
        settings: of the network.
        drop_path_rate: probability that an image skips the block, in training.
    """

    block: Block
    settings: Settings
    drop_path_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        block, shared = self.block, {"settings": self.settings, "train": train}
        branch = conv_norm(
            x,
            x.shape[-1],
            names=("conv_dw", "bn1"),
            kernel_size=block.kernel_size,
            stride=block.stride,
            groups=x.shape[-1],
            activation=block.activation,
            **shared,
        )
        branch = _squeeze_excite(branch, block, self.settings)
        last = block.activation if block.last_activation else None
        branch = conv_norm(
            branch, block.features, names=("conv_pw", "bn2"), activation=last, **shared
        )
        return _add_shortcut(x, branch, block, self.drop_path_rate, train)


class InvertedResidual(nn.Module):
    """Expand pointwise, convolve depthwise, project pointwise without activation (MBConv).

    Sandler et al. 2018, "MobileNetV2", section 3.3; with squeeze-and-excitation before the
    projection, Tan et al. 2019, "MnasNet", figure 7.

    Attributes:
        block: the row of the table.
        settings: of the network.
        drop_path_rate: probability that an image skips the block, in training.
    """

    block: Block
    settings: Settings
    drop_path_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        block, shared = self.block, {"settings": self.settings, "train": train}
        branch = conv_norm(
            x, block.expanded, names=("conv_pw", "bn1"), activation=block.activation, **shared
        )
        branch = conv_norm(
            branch,
            block.expanded,
            names=("conv_dw", "bn2"),
            kernel_size=block.kernel_size,
            stride=block.stride,
            groups=block.expanded,
            activation=block.activation,
            **shared,
        )
        branch = _squeeze_excite(branch, block, self.settings)
        branch = conv_norm(branch, block.features, names=("conv_pwl", "bn3"), **shared)
        return _add_shortcut(x, branch, block, self.drop_path_rate, train)


class FusedInvertedResidual(nn.Module):
    """An inverted residual whose first two convolutions are one (Fused-MBConv).

    Tan and Le 2021, "EfficientNetV2", figure 2.

    Attributes:
        block: the row of the table.
        settings: of the network.
        drop_path_rate: probability that an image skips the block, in training.
    """

    block: Block
    settings: Settings
    drop_path_rate: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', features]."""
        block, shared = self.block, {"settings": self.settings, "train": train}
        branch = conv_norm(
            x,
            block.expanded,
            names=("conv_exp", "bn1"),
            kernel_size=block.kernel_size,
            stride=block.stride,
            activation=block.activation,
            **shared,
        )
        branch = _squeeze_excite(branch, block, self.settings)
        branch = conv_norm(branch, block.features, names=("conv_pwl", "bn2"), **shared)
        return _add_shortcut(x, branch, block, self.drop_path_rate, train)


def _squeeze_excite(x, block, settings):
    if not block.squeezed:
        return x
    return SqueezeExcitation(
        block.squeezed,
        activation=settings.squeeze_activation or block.activation,
        gate=settings.gate,
        names=("conv_reduce", "conv_expand"),
        dtype=settings.dtype,
        name="se",
    )(x)


def _add_shortcut(x, branch, block, drop_path_rate, train):
    if not block.residual or x.shape != branch.shape:
        return branch
    # One draw for all positions of an image: stochastic depth.
    drop_path = layers.Dropout(drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
    return x + drop_path(branch)
