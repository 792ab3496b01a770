"""ResNet, ResNeXt, Wide ResNet (the two of torchvision) and squeeze-and-excitation ResNet."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark
from cnn_jax.models.squeeze_excitation import SqueezeExcitation

_STAGE_WIDTHS = (64, 128, 256, 512)


class ResidualBlock(nn.Module):
    """relu(x + f(x)), f being two 3x3 convolutions or a 1x1-3x3-1x1 bottleneck.

    The stride sits in the (first) 3x3 convolution, as in torchvision; the paper has it in the
    first 1x1 of a bottleneck.

    Attributes:
        features: channels of the output.
        inner: channels between the convolutions.
        stride: of the block.
        bottleneck: which of the two forms.
        groups: of the 3x3 convolution of a bottleneck.
        squeeze_excitation: whether gates follow the last normalisation.
        drop_path_rate: how often f(x) is left out, image by image.
        zero_init_last: whether the last scale starts at 0, the block thus as the identity.
        dtype: type of the computation.
    """

    features: int
    inner: int
    stride: int = 1
    bottleneck: bool = False
    groups: int = 1
    squeeze_excitation: bool = False
    drop_path_rate: float = 0.0
    zero_init_last: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        conv = partial(
            layers.Conv, use_bias=False, dtype=self.dtype, kernel_init=initializers.he_normal()
        )
        norm = partial(layers.BatchNorm, dtype=self.dtype)
        spatial = partial(conv, self.inner, 3, stride=self.stride, padding=1, groups=self.groups)
        if self.bottleneck:
            convolutions = (partial(conv, self.inner, 1), spatial, partial(conv, self.features, 1))
        else:
            convolutions = (spatial, partial(conv, self.features, 3, padding=1))

        y = x
        for index, convolution in enumerate(convolutions, start=1):
            last = index == len(convolutions)
            start = nn.initializers.zeros if last and self.zero_init_last else nn.initializers.ones
            y = convolution(name=f"conv{index}")(y)
            y = norm(scale_init=start, name=f"bn{index}")(y, train=train)
            y = y if last else nn.relu(y)
        if self.squeeze_excitation:
            squeezed = max(8, (self.features // 16 + 4) // 8 * 8)
            y = SqueezeExcitation(squeezed, dtype=self.dtype, name="se")(y)
        y = layers.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(
            y
        )
        if self.stride > 1 or x.shape[-1] != self.features:
            x = conv(self.features, 1, stride=self.stride, name="downsample_0")(x)
            x = norm(name="downsample_1")(x, train=train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem, then four stages of residual blocks (He et al. 2016, table 1).

    ResNeXt (Xie et al. 2017, table 1) splits the 3x3 convolution into groups; Wide ResNet-50-2
    (Zagoruyko and Komodakis 2016, table 8) doubles the width of the bottleneck.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, C].
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier.
        drop_path_rate: of the last block; it rises linearly from 0 at the first.
        depths: blocks of each stage.
        bottleneck: whether blocks are bottlenecks, with four times the channels at the end.
        groups: of the 3x3 convolutions of bottlenecks.
        group_width: channels of each group in the first stage.
        squeeze_excitation: whether each block gates its channels.
        small_stem: for 32x32 images, a 3x3 convolution without pooling.
        zero_init_last: whether the last scale of each block starts at 0 (Goyal et al. 2017,
            section 5.1).
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    depths: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    groups: int = 1
    group_width: int = 64
    squeeze_excitation: bool = False
    small_stem: bool = False
    zero_init_last: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        x = self._stem(images, train)
        rates = np.linspace(0, self.drop_path_rate, sum(self.depths)).tolist()
        for stage, (depth, width) in enumerate(zip(self.depths, _STAGE_WIDTHS, strict=True)):
            for index in range(depth):
                x = ResidualBlock(
                    features=4 * width if self.bottleneck else width,
                    inner=width * self.groups * self.group_width // 64,
                    stride=2 if stage and not index else 1,
                    bottleneck=self.bottleneck,
                    groups=self.groups,
                    squeeze_excitation=self.squeeze_excitation,
                    drop_path_rate=rates.pop(0),
                    zero_init_last=self.zero_init_last,
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x, train=train)
            x = mark(self, f"layer{stage + 1}", x)
        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.uniform_fan_in(),
            name="fc",
        )(x)

    def _stem(self, images: jax.Array, train: bool) -> jax.Array:
        size, stride, padding = (3, 1, 1) if self.small_stem else (7, 2, 3)
        x = layers.Conv(
            64,
            size,
            stride=stride,
            padding=padding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal(),
            name="conv1",
        )(images)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn1")(x, train=train))
        x = mark(self, "act1", x)
        return x if self.small_stem else layers.max_pool(x, window=3, stride=2, padding=1)


_18, _34, _50, _101, _152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
_basic = partial(ResNet, bottleneck=False)
_deep = partial(ResNet, bottleneck=True)
_gated = partial(ResNet, squeeze_excitation=True)

VARIANTS = {
    "resnet18": partial(_basic, depths=_18),
    "resnet34": partial(_basic, depths=_34),
    "resnet50": partial(_deep, depths=_50),
    "resnet101": partial(_deep, depths=_101),
    "resnet152": partial(_deep, depths=_152),
    "resnext50_32x4d": partial(_deep, depths=_50, groups=32, group_width=4),
    "resnext101_32x8d": partial(_deep, depths=_101, groups=32, group_width=8),
    "resnext101_64x4d": partial(_deep, depths=_101, groups=64, group_width=4),
    "wide_resnet50_2": partial(_deep, depths=_50, group_width=128),
    "wide_resnet101_2": partial(_deep, depths=_101, group_width=128),
    "seresnet18": partial(_gated, depths=_18),
    "seresnet34": partial(_gated, depths=_34),
    "seresnet50": partial(_gated, depths=_50, bottleneck=True),
    "seresnet101": partial(_gated, depths=_101, bottleneck=True),
    "seresnet152": partial(_gated, depths=_152, bottleneck=True),
    "resnet18_cifar": partial(_basic, depths=_18, small_stem=True, num_classes=10, image_size=32),
}
