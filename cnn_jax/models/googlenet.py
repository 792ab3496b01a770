"""GoogLeNet, the first Inception network, with batch normalisation as in torchvision."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.conv_norm_relu import ConvNormRelu
from cnn_jax.models.features import mark

_STDDEV = 0.01

# Table 1 of the paper: #1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj.
_MODULES = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}
_STAGE_ENDS = {"inception3b": 3, "inception4e": 2, "inception5b": None}
_AUXILIARY = {"inception4a": "aux1", "inception4d": "aux2"}


class Inception(nn.Module):
    """Four branches side by side (Szegedy et al. 2015, figure 2b).

    The third has a 3x3 kernel where the paper has 5x5: torchvision's weights, the only published
    ones in this form, were trained so.

    Attributes:
        widths: channels of 1x1; 3x3 reduced, 3x3; "5x5" reduced, "5x5"; projection after pooling.
        dtype: type of the computation.
    """

    widths: tuple[int, int, int, int, int, int]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, F]."""

        def conv(x, index, name, **options):
            block = ConvNormRelu(
                self.widths[index], stddev=_STDDEV, dtype=self.dtype, name=name, **options
            )
            return block(x, train=train)

        wide = {"kernel_size": 3, "padding": 1}
        branches = [
            conv(x, 0, "branch1"),
            conv(conv(x, 1, "branch2_0"), 2, "branch2_1", **wide),
            conv(conv(x, 3, "branch3_0"), 4, "branch3_1", **wide),
            conv(layers.max_pool(x, window=3, stride=1, padding=1), 5, "branch4_1"),
        ]
        return jnp.concatenate(branches, axis=-1)


class AuxiliaryHead(nn.Module):
    """A small classifier half way, which brings gradients to the first layers (section 5).

    Its pooling adapts to 4x4, the size that the paper's has for images of 224.

    Attributes:
        num_classes: outputs.
        drop_rate: dropout before the last layer.
        dtype: type of the computation.
    """

    num_classes: int
    drop_rate: float = 0.7
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, h, w, C] to logits [N, num_classes]."""
        dense = partial(
            layers.Dense,
            dtype=self.dtype,
            kernel_init=initializers.truncated_normal(_STDDEV),
        )
        x = layers.adaptive_average_pool(x, output_size=4)
        x = ConvNormRelu(128, stddev=_STDDEV, dtype=self.dtype, name="conv")(x, train=train)
        x = nn.relu(dense(1024, name="fc1")(x.reshape(x.shape[0], -1)))
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return dense(self.num_classes, name="fc2")(x)


class GoogLeNet(nn.Module):
    """GoogLeNet (Szegedy et al. 2015, "Going deeper with convolutions", table 1).

    In training, the logits of the auxiliary heads go to the collection "auxiliary". torchvision's
    weights expect images between -1 and 1: mean and standard deviation 0.5.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, 1024], without
            auxiliary heads.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 15.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier; 0.4 in the paper.
        auxiliary: whether there are auxiliary heads.
        auxiliary_drop_rate: dropout in them.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.4
    auxiliary: bool = True
    auxiliary_drop_rate: float = 0.7

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 15."""
        conv = partial(ConvNormRelu, stddev=_STDDEV, dtype=self.dtype)
        pool = partial(layers.max_pool, stride=2, ceil_mode=True)
        x = conv(64, kernel_size=7, stride=2, padding=3, name="conv1")(images, train=train)
        x = pool(mark(self, "conv1", x), window=3)
        x = conv(64, name="conv2")(x, train=train)
        x = conv(192, kernel_size=3, padding=1, name="conv3")(x, train=train)
        x = pool(mark(self, "conv3", x), window=3)

        for name, widths in _MODULES.items():
            x = Inception(widths, self.dtype, name=name)(x, train=train)
            if name in _AUXILIARY:
                self._auxiliary_logits(_AUXILIARY[name], x, train)
            if name in _STAGE_ENDS:
                x = mark(self, name, x)
                x = pool(x, window=_STAGE_ENDS[name]) if _STAGE_ENDS[name] else x

        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.truncated_normal(_STDDEV),
            name="fc",
        )(x)

    def _auxiliary_logits(self, name: str, x: jax.Array, train: bool) -> None:
        if not (self.auxiliary and self.num_classes):
            return
        # Initialisation makes the parameters, whatever the mode.
        if train or self.is_initializing():
            head = AuxiliaryHead(self.num_classes, self.auxiliary_drop_rate, self.dtype, name=name)
            mark(self, name, head(x, train=train), collection="auxiliary")


VARIANTS = {"googlenet": GoogLeNet}
