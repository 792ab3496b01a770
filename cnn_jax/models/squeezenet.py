"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark

_POOL = None
_64, _128, _192, _256 = (16, 64), (32, 128), (48, 192), (64, 256)
_CHEAPER = (_POOL, _64, _64, _POOL, _128, _128, _POOL, _192, _192, _256, _256)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 side by side (section 3.2).

    Attributes:
        squeeze: channels of the first.
        expand: channels of each of the two.
        dtype: type of the computation.
    """

    squeeze: int
    expand: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, 2 * expand]."""
        conv = partial(
            layers.Conv, kernel_size=1, dtype=self.dtype, kernel_init=initializers.he_uniform()
        )
        x = nn.relu(conv(self.squeeze, name="squeeze")(x))
        small = nn.relu(conv(self.expand, name="expand1x1")(x))
        large = nn.relu(conv(self.expand, kernel_size=3, padding=1, name="expand3x3")(x))
        return jnp.concatenate([small, large], axis=-1)


class SqueezeNet(nn.Module):
    """SqueezeNet (Iandola et al. 2016, table 1), by default its authors' cheaper version 1.1.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, 512].
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 17,
            version 1.0 from 21.
        dtype: type of the computation; parameters stay float32.
        drop_rate: dropout before the classifier, which is a 1x1 convolution.
        stem: filters and kernel size of the first convolution.
        blocks: (squeeze, expand) of each fire module, in order; None for a pooling.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.5
    stem: tuple[int, int] = (64, 3)
    blocks: tuple[tuple[int, int] | None, ...] = _CHEAPER

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 17, or 21."""
        width, size = self.stem
        x = layers.Conv(
            width,
            kernel_size=size,
            stride=2,
            dtype=self.dtype,
            kernel_init=initializers.he_uniform(),
            name="features_0",
        )(images)
        x = nn.relu(x)
        # torchvision numbers fire modules and poolings alike, after a convolution and its ReLU.
        for position, block in enumerate(self.blocks, start=2):
            if block is _POOL:
                x = mark(self, f"features.{position - 1}", x)
                x = layers.max_pool(x, window=3, stride=2, ceil_mode=True)
            else:
                x = Fire(*block, self.dtype, name=f"features_{position}")(x)
        x = mark(self, f"features.{position}", x)
        if not self.num_classes:
            return layers.global_average_pool(x)
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        x = layers.Conv(
            self.num_classes,
            kernel_size=1,
            dtype=self.dtype,
            kernel_init=initializers.normal(0.01),
            name="classifier_1",
        )(x)
        return layers.global_average_pool(nn.relu(x))


VARIANTS = {
    "squeezenet1_0": partial(
        SqueezeNet,
        stem=(96, 7),
        blocks=(_POOL, _64, _64, _128, _POOL, _128, _192, _192, _256, _POOL, _256),
    ),
    "squeezenet1_1": SqueezeNet,
}
