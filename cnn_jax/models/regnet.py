"""RegNet X and Y: residual networks whose widths follow a quantised line."""

from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.models.classifier_head import ClassifierHead
from cnn_jax.models.features import mark
from cnn_jax.models.initializers import he_normal, normal
from cnn_jax.models.mobile_network import round_channels
from cnn_jax.models.squeeze_excitation import SqueezeExcitation


class Stage(NamedTuple):
    """Blocks of equal width.

    Attributes:
        depth: number of blocks.
        width: channels.
        group_width: channels of each group of the 3x3 convolutions.
    """

    depth: int
    width: int
    group_width: int


def regnet_stages(
    *, depth: int, initial_width: int, slope: float, step: float, group_width: int
) -> tuple[Stage, ...]:
    """Turn the parameters of the design space into stages.

    Radosavovic et al. 2020, "Designing Network Design Spaces", equations 2-4: block j wants
    the width initial_width + slope * j, gets the nearest initial_width * step^k, rounded to
    a multiple of 8, and then of the group width.

    Args:
        depth: number of blocks.
        initial_width: w_0 of equation 2.
        slope: w_a of equation 2.
        step: w_m of equation 3.
        group_width: channels of a group.

    Returns:
        The stages, narrow to wide.

    >>> [tuple(stage) for stage in regnet_stages(
    ...     depth=13, initial_width=24, slope=36.44, step=2.49, group_width=8)]
    [(1, 24, 8), (1, 56, 8), (4, 152, 8), (7, 368, 8)]
    """
    wanted = initial_width + slope * np.arange(depth)
    exponents = np.round(np.log(wanted / initial_width) / np.log(step))
    widths = (np.round(initial_width * step**exponents / 8) * 8).astype(int)
    groups = [
        (int(count), int(width)) for width, count in zip(*np.unique_counts(widths), strict=True)
    ]
    return tuple(
        Stage(count, round_channels(width, min(group_width, width)), min(group_width, width))
        for count, width in groups
    )


class ConvNorm(nn.Module):
    """A convolution without bias, batch normalisation and, on request, ReLU.

    Attributes:
        features: channels of the output.
        kernel_size: odd; the padding is even.
        stride: of the convolution.
        groups: of the convolution.
        activate: whether ReLU follows.
        scale_init: of the normalisation's scale.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    groups: int = 1
    activate: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        x = layers.Conv(
            self.features,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.kernel_size // 2,
            groups=self.groups,
            use_bias=False,
            kernel_init=he_normal(),
            dtype=self.dtype,
            name="conv",
        )(images)
        norm = layers.BatchNorm(scale_init=self.scale_init, dtype=self.dtype, name="bn")
        x = norm(x, train=train)
        return nn.relu(x) if self.activate else x


class RegNetBlock(nn.Module):
    """The residual bottleneck of the X space: 1x1, grouped 3x3, 1x1 (figure 4).

    The Y space has squeeze-and-excitation after the 3x3, with a quarter of the channels that
    enter the block.

    Attributes:
        features: channels of the output and between the convolutions.
        group_width: channels of each group.
        stride: of the 3x3 convolution.
        squeeze_excitation: whether the block is of the Y space.
        zero_init_last: start with the last normalisation's scale at 0.
        drop_path_rate: probability that an image skips the block, in training.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    features: int
    group_width: int
    stride: int = 1
    squeeze_excitation: bool = False
    zero_init_last: bool = False
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        conv_norm = partial(ConvNorm, self.features, dtype=self.dtype)
        groups = self.features // self.group_width
        x = conv_norm(name="conv1")(images, train=train)
        x = conv_norm(3, self.stride, groups, name="conv2")(x, train=train)
        if self.squeeze_excitation:
            x = SqueezeExcitation(round(images.shape[-1] / 4), dtype=self.dtype, name="se")(x)
        zeros, ones = nn.initializers.zeros, nn.initializers.ones
        scale_init = zeros if self.zero_init_last else ones
        x = conv_norm(activate=False, scale_init=scale_init, name="conv3")(x, train=train)
        x = layers.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(
            x
        )
        shortcut = images
        if self.stride != 1 or images.shape[-1] != self.features:
            downsample = conv_norm(stride=self.stride, activate=False, name="downsample")
            shortcut = downsample(images, train=train)
        return nn.relu(x + shortcut)


class RegNetStage(nn.Module):
    """Blocks of equal width; the first has stride 2.

    Attributes:
        stage: depth and widths.
        drop_path_rates: of each block.
        squeeze_excitation: see `RegNetBlock`.
        zero_init_last: see `RegNetBlock`.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    stage: Stage
    drop_path_rates: tuple[float, ...]
    squeeze_excitation: bool = False
    zero_init_last: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H / 2, W / 2, width]."""
        x = images
        for index, rate in enumerate(self.drop_path_rates):
            x = RegNetBlock(
                self.stage.width,
                self.stage.group_width,
                stride=2 if index == 0 else 1,
                squeeze_excitation=self.squeeze_excitation,
                zero_init_last=self.zero_init_last,
                drop_path_rate=rate,
                dtype=self.dtype,
                name=f"b{index + 1}",
            )(x, train=train)
        return x


class RegNet(nn.Module):
    """A stem of 32 channels, four stages, and a classifier.

    Attributes:
        num_classes: outputs of the classifier; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        stages: depths and widths.
        squeeze_excitation: whether the network is of the Y space.
        zero_init_last: start every residual branch at 0 (Goyal et al. 2017, section 5.1).
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    stages: tuple[Stage, ...] = ()
    squeeze_excitation: bool = False
    zero_init_last: bool = False
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        x = ConvNorm(32, kernel_size=3, stride=2, dtype=self.dtype, name="stem")(
            images, train=train
        )
        x = mark(self, "stem", x)
        blocks = sum(stage.depth for stage in self.stages)
        rates = np.linspace(0, self.drop_path_rate, blocks).tolist()
        for index, stage in enumerate(self.stages, start=1):
            x = RegNetStage(
                stage,
                tuple(rates[: stage.depth]),
                squeeze_excitation=self.squeeze_excitation,
                zero_init_last=self.zero_init_last,
                dtype=self.dtype,
                name=f"s{index}",
            )(x, train=train)
            x, rates = mark(self, f"s{index}", x), rates[stage.depth :]
        return ClassifierHead(
            self.num_classes,
            drop_rate=self.drop_rate,
            kernel_init=normal(0.01),
            dtype=self.dtype,
            name="head",
        )(x, train=train)


def _variant(depth, initial_width, slope, step, group_width, *, squeeze_excitation):
    stages = regnet_stages(
        depth=depth,
        initial_width=initial_width,
        slope=slope,
        step=step,
        group_width=group_width,
    )
    return partial(RegNet, stages=stages, squeeze_excitation=squeeze_excitation)


_x = partial(_variant, squeeze_excitation=False)
_y = partial(_variant, squeeze_excitation=True)

# The parameters of the reference code's models, with the widths that torchvision's checkpoints
# have. timm's regnetx_004, regnety_008 and regnety_080 round a width differently; its
# regnetx_004_tv, regnety_008_tv and regnety_080_tv are these.
VARIANTS = {
    "regnet_x_400mf": _x(22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": _x(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": _x(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": _x(25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": _x(23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": _x(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": _x(23, 320, 69.86, 2.0, 168),
    "regnet_y_400mf": _y(16, 48, 27.89, 2.09, 8),
    "regnet_y_800mf": _y(14, 56, 38.84, 2.4, 16),
    "regnet_y_1_6gf": _y(27, 48, 20.71, 2.65, 24),
    "regnet_y_3_2gf": _y(21, 80, 42.63, 2.66, 24),
    "regnet_y_8gf": _y(17, 192, 76.82, 2.19, 56),
    "regnet_y_16gf": _y(18, 200, 106.23, 2.48, 112),
    "regnet_y_32gf": _y(20, 232, 115.89, 2.53, 232),
    "regnet_y_128gf": _y(27, 456, 160.83, 2.52, 264),
}
