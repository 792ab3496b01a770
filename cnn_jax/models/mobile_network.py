"""A stem, stages of mobile blocks, and a head: the frame that the mobile families share."""

from collections.abc import Iterable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark
from cnn_jax.models.initializers import he_normal, uniform_fan_out
from cnn_jax.models.mobile_blocks import Activation, Block, Settings, conv_norm

Stages = tuple[tuple[Block, ...], ...]


class StageRow(NamedTuple):
    """A line of a paper's table: blocks that differ in the stride of the first only.

    Attributes:
        kind: a module of `mobile_blocks`.
        repeats: number of blocks.
        kernel_size: of the spatial convolutions.
        stride: of the first block's spatial convolution.
        expansion: expanded channels / channels that enter the block.
        features: channels that leave the stage.
        squeeze: squeezed channels / channels that enter the block; 0 for no
            squeeze-and-excitation.
    """

    kind: type[nn.Module]
    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    features: int
    squeeze: float = 0.0


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, but never down by more than a tenth.

    The rule of the MobileNetV2 reference code, which all later mobile networks follow.

    Args:
        channels: a width times a multiplier.
        divisor: the result is a multiple of it.

    Returns:
        The width.

    >>> [round_channels(channels) for channels in (3, 16.8, 36, 38.4, 11)]
    [8, 16, 40, 40, 16]
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def make_stages(
    rows: Iterable[StageRow],
    *,
    stem_features: int,
    width: float = 1.0,
    depth: float = 1.0,
    fixed_ends: bool = False,
    **block_options,
) -> Stages:
    """Write out the blocks of a table, scaled.

    Args:
        rows: the stages.
        stem_features: channels that enter the first stage, already scaled.
        width: multiplies the channels (Tan and Le 2019, "EfficientNet", equation 3).
        depth: multiplies the repeats, rounded up.
        fixed_ends: whether the first and last stages keep their repeats, as in
            EfficientNet-Lite.
        **block_options: fields of every `Block`, such as `activation`.

    Returns:
        The blocks of each stage.
    """
    rows, channels, stages = tuple(rows), stem_features, []
    for index, row in enumerate(rows):
        fixed = fixed_ends and index in (0, len(rows) - 1)
        features, blocks = round_channels(row.features * width), []
        for repeat in range(row.repeats if fixed else _ceil(row.repeats * depth)):
            blocks.append(
                Block(
                    row.kind,
                    features,
                    kernel_size=row.kernel_size,
                    stride=row.stride if repeat == 0 else 1,
                    expanded=channels * row.expansion,
                    squeezed=round(channels * row.squeeze),
                    **block_options,
                )
            )
            channels = features
        stages.append(tuple(blocks))
    return tuple(stages)


def _ceil(value: float) -> int:
    return -int(-value // 1)


class MobileNetwork(nn.Module):
    """A stem of stride 2, stages of mobile blocks, and a head.

    The families are tables of stages: see `mobilenet_v1`, `mobilenet_v2`, `mobilenet_v3`,
    `mnasnet`, `efficientnet` and `efficientnet_v2`. The last maps go through a 1x1 convolution,
    are averaged and classified; with `pooled_head` they are averaged first, so that the
    convolution costs next to nothing.

    Attributes:
        num_classes: outputs of the classifier; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        stages: the blocks of each stage.
        stem_features: channels of the stem.
        head_features: channels of the head's convolution; 0 to have none.
        activation: the nonlinearity of stem and head.
        pooled_head: whether the head's convolution follows the average, with a bias and without
            normalisation (Howard et al. 2019, "Searching for MobileNetV3", figure 5).
        squeeze_activation: inside squeeze-and-excitation; None for the block's own.
        gate: of squeeze-and-excitation.
        same_padding: pad as TensorFlow does, more at the end, instead of evenly.
        bn_epsilon: added to the variance in batch normalisation.
        bn_momentum: share of the old running statistics that a step keeps.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth; block i of n, counted from 0, skips i / n of it.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    stages: Stages = ()
    stem_features: int = 32
    head_features: int = 1280
    activation: Activation = nn.relu6
    pooled_head: bool = False
    squeeze_activation: Activation | None = None
    gate: Activation = nn.sigmoid
    same_padding: bool = False
    bn_epsilon: float = 1e-5
    bn_momentum: float = 0.9
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        settings = Settings(
            bn_epsilon=self.bn_epsilon,
            bn_momentum=self.bn_momentum,
            same_padding=self.same_padding,
            squeeze_activation=self.squeeze_activation,
            gate=self.gate,
            dtype=self.dtype,
        )
        shared = {"settings": settings, "train": train, "activation": self.activation}
        x = conv_norm(
            images,
            self.stem_features,
            names=("conv_stem", "bn1"),
            kernel_size=3,
            stride=2,
            **shared,
        )
        x = self._run_stages(x, settings, train)
        if self.pooled_head:
            x = self.activation(self._pooled_convolution(layers.global_average_pool(x)))
        else:
            if self.head_features:
                x = conv_norm(x, self.head_features, names=("conv_head", "bn2"), **shared)
            x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes, kernel_init=uniform_fan_out(), dtype=self.dtype, name="classifier"
        )(x)

    def _run_stages(self, x, settings, train):
        count, done = sum(len(stage) for stage in self.stages), 0
        # The features of a resolution are the maps before the next stride.
        if self.stages and self.stages[0][0].stride > 1:
            x = mark(self, "bn1", x)
        for index, stage in enumerate(self.stages):
            for position, block in enumerate(stage):
                rate = self.drop_path_rate * done / count
                name = f"blocks_{index}_{position}"
                x = block.kind(block, settings, rate, name=name)(x, train=train)
                done += 1
            following = self.stages[index + 1 :]
            if not following or following[0][0].stride > 1:
                x = mark(self, f"blocks.{index}", x)
        return x

    def _pooled_convolution(self, x):
        conv = layers.Conv(
            self.head_features,
            kernel_size=1,
            kernel_init=he_normal(),
            dtype=self.dtype,
            name="conv_head",
        )
        return conv(x[:, None, None])[:, 0, 0]
