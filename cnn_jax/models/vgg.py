"""VGG: nothing but 3x3 convolutions, 2x2 pooling and a large classifier."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark

_STAGE_WIDTHS = (64, 128, 256, 512, 512)


class DenseLayers(nn.Module):
    """The two hidden layers as convolutions (section 3.2), so that images may be larger than 224.

    Attributes:
        features: channels of both.
        drop_rate: dropout between them.
        dtype: type of the computation.
    """

    features: int
    drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, h, w, C] to [N, h - 6, w - 6, features]; maps below 7x7 are stretched to that."""
        conv = partial(
            layers.Conv, self.features, dtype=self.dtype, kernel_init=initializers.he_normal()
        )
        if min(x.shape[1:3]) < 7:
            height, width = (max(7, size) for size in x.shape[1:3])
            x = layers.adaptive_average_pool(x, output_size=(height, width))
        x = nn.relu(conv(kernel_size=7, name="fc1")(x))
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return nn.relu(conv(kernel_size=1, name="fc2")(x))


class Classifier(nn.Module):
    """Dropout and the last dense layer.

    Attributes:
        num_classes: outputs.
        drop_rate: dropout before the layer.
        dtype: type of the computation.
    """

    num_classes: int
    drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, C] to [N, num_classes]."""
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes, dtype=self.dtype, kernel_init=initializers.normal(0.01), name="fc"
        )(x)


class VGG(nn.Module):
    """VGG (Simonyan and Zisserman 2015, table 1), with batch normalisation on request.

    Drawn as in timm and torchvision: the paper's N(0, 0.01) does not train the deeper nets from
    nothing.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the features before it.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 32.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout after each hidden dense layer.
        depths: convolutions of each stage.
        batch_norm: whether a normalisation follows each convolution.
        hidden: units of both hidden dense layers; small images need fewer.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.5
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)
    batch_norm: bool = False
    hidden: int = 4096

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 32."""
        conv = partial(
            layers.Conv,
            kernel_size=3,
            padding=1,
            dtype=self.dtype,
            kernel_init=initializers.he_normal(),
        )
        # timm numbers convolutions, normalisations, ReLUs and poolings alike.
        x, position = images, 0
        for depth, width in zip(self.depths, _STAGE_WIDTHS, strict=True):
            for _ in range(depth):
                x = conv(width, name=f"features_{position}")(x)
                if self.batch_norm:
                    position += 1
                    norm = layers.BatchNorm(dtype=self.dtype, name=f"features_{position}")
                    x = norm(x, train=train)
                x = nn.relu(x)
                position += 2
            x = mark(self, f"features.{position - 1}", x)
            x = layers.max_pool(x, window=2, stride=2)
            position += 1
        x = mark(self, f"features.{position - 1}", x)

        x = DenseLayers(self.hidden, self.drop_rate, self.dtype, name="pre_logits")(x, train=train)
        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        head = Classifier(self.num_classes, self.drop_rate, self.dtype, name="head")
        return head(x, train=train)


_11, _13, _16, _19 = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)

VARIANTS = {
    "vgg11": partial(VGG, depths=_11),
    "vgg13": partial(VGG, depths=_13),
    "vgg16": partial(VGG, depths=_16),
    "vgg19": partial(VGG, depths=_19),
    "vgg11_bn": partial(VGG, depths=_11, batch_norm=True),
    "vgg13_bn": partial(VGG, depths=_13, batch_norm=True),
    "vgg16_bn": partial(VGG, depths=_16, batch_norm=True),
    "vgg19_bn": partial(VGG, depths=_19, batch_norm=True),
}
