"""Residual networks with normalisation and ReLU before each convolution, thin and wide."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark


class PreactivationBlock(nn.Module):
    """x + f(x), f being BN-ReLU-conv3-BN-ReLU-dropout-conv3.

    Where the shape changes, the shortcut is a 1x1 convolution of what follows the first ReLU.

    Attributes:
        features: channels of the output.
        stride: of the block.
        block_drop_rate: dropout between the convolutions.
        drop_path_rate: how often f(x) is left out, image by image.
        dtype: type of the computation.
    """

    features: int
    stride: int = 1
    block_drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        conv = partial(
            layers.Conv,
            self.features,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal(),
        )
        norm = partial(layers.BatchNorm, dtype=self.dtype)

        y = nn.relu(norm(name="bn1")(x, train=train))
        if self.stride > 1 or x.shape[-1] != self.features:
            x = conv(kernel_size=1, stride=self.stride, name="shortcut_0")(y)
        y = conv(kernel_size=3, stride=self.stride, padding=1, name="conv1")(y)
        y = nn.relu(norm(name="bn2")(y, train=train))
        y = layers.Dropout(self.block_drop_rate, deterministic=not train)(y)
        y = conv(kernel_size=3, padding=1, name="conv2")(y)
        y = layers.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train)(
            y
        )
        return x + y


class PreactivationResNet(nn.Module):
    """A pre-activation ResNet (He et al. 2016, "Identity mappings", figure 4e), or a wide one.

    Wide ResNets (Zagoruyko and Komodakis 2016, table 1) are the same with k times the channels.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, C].
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier.
        drop_path_rate: of the last block; it rises linearly from 0 at the first.
        block_drop_rate: dropout between the convolutions of each block; 0.3 in the wide ResNets
            that the paper trains with dropout.
        stem_width: channels of the first convolution.
        widths: channels of each stage.
        depth: blocks of each stage.
    """

    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    block_drop_rate: float = 0.0
    stem_width: int = 64
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depth: int = 2

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        x = layers.Conv(
            self.stem_width,
            kernel_size=3,
            padding=1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal(),
            name="conv1",
        )(images)
        rates = np.linspace(0, self.drop_path_rate, len(self.widths) * self.depth).tolist()
        for stage, width in enumerate(self.widths):
            for index in range(self.depth):
                x = PreactivationBlock(
                    width,
                    stride=2 if stage and not index else 1,
                    block_drop_rate=self.block_drop_rate,
                    drop_path_rate=rates.pop(0),
                    dtype=self.dtype,
                    name=f"layer{stage + 1}_{index}",
                )(x, train=train)
            x = mark(self, f"layer{stage + 1}", x)
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="bn")(x, train=train))
        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.uniform_fan_in(),
            name="linear",
        )(x)


def _wide(depth: int, factor: int) -> partial:
    return partial(
        PreactivationResNet,
        stem_width=16,
        widths=(16 * factor, 32 * factor, 64 * factor),
        depth=(depth - 4) // 6,
    )


VARIANTS = {
    "preactresnet18_cifar": PreactivationResNet,
    "wrn_16_4_cifar": _wide(16, 4),
    "wrn_40_2_cifar": _wide(40, 2),
    "wrn_28_10_cifar": _wide(28, 10),
}
