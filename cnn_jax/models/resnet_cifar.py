"""The ResNets that the paper trains on CIFAR-10: three stages and shortcuts without parameters."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark

_STAGE_WIDTHS = (16, 32, 64)


class PaddedShortcutBlock(nn.Module):
    """relu(shortcut(x) + f(x)), f being two 3x3 convolutions.

    The shortcut takes every second pixel where there is a stride, and surrounds the channels by
    channels of zeros where there are more: option A of He et al. 2016, section 3.3.

    Attributes:
        features: channels of the output.
        stride: of the block.
        drop_path_rate: how often f(x) is left out, image by image.
        zero_init_last: whether the last scale starts at 0, the block thus as the identity.
        dtype: type of the computation.
    """

    features: int
    stride: int = 1
    drop_path_rate: float = 0.0
    zero_init_last: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        conv = partial(
            layers.Conv,
            self.features,
            kernel_size=3,
            padding=1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal("fan_in"),
        )
        norm = partial(layers.BatchNorm, dtype=self.dtype)
        last_scale = nn.initializers.zeros if self.zero_init_last else nn.initializers.ones

        y = norm(name="bn1")(conv(stride=self.stride, name="conv1")(x), train=train)
        y = conv(name="conv2")(nn.relu(y))
        y = norm(scale_init=last_scale, name="bn2")(y, train=train)
        y = layers.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(
            y
        )

        x = x[:, :: self.stride, :: self.stride]
        added = self.features - x.shape[-1]
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (added // 2, added - added // 2)))
        return nn.relu(x + y)


class CifarResNet(nn.Module):
    """A ResNet of 6n + 2 layers for 32x32 images (He et al. 2016, section 4.2, table 6).

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, C].
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier.
        drop_path_rate: of the last block; it rises linearly from 0 at the first.
        depth: blocks of each stage, the paper's n.
        zero_init_last: whether the last scale of each block starts at 0.
    """

    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    depth: int = 3
    zero_init_last: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        he_normal = initializers.he_normal("fan_in")
        x = layers.Conv(
            _STAGE_WIDTHS[0],
            kernel_size=3,
            padding=1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=he_normal,
            name="conv1",
        )(images)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn1")(x, train=train))
        rates = np.linspace(0, self.drop_path_rate, 3 * self.depth).tolist()
        for stage, width in enumerate(_STAGE_WIDTHS):
            for index in range(self.depth):
                x = PaddedShortcutBlock(
                    width,
                    stride=2 if stage and not index else 1,
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
            self.num_classes, dtype=self.dtype, kernel_init=he_normal, name="linear"
        )(x)


VARIANTS = {
    "resnet20_cifar": partial(CifarResNet, depth=3),
    "resnet32_cifar": partial(CifarResNet, depth=5),
    "resnet44_cifar": partial(CifarResNet, depth=7),
    "resnet56_cifar": partial(CifarResNet, depth=9),
    "resnet110_cifar": partial(CifarResNet, depth=18),
}
