"""DenseNets, for ImageNet and for CIFAR: each layer reads all the layers before it."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark
from cnn_jax.models.least_side import check_least_side

_BOTTLENECK = 4


class DenseLayer(nn.Module):
    """BN-ReLU-conv1-BN-ReLU-conv3: makes new channels of all that there are.

    Attributes:
        growth: new channels; the first convolution makes four times as many.
        layer_drop_rate: dropout of the new channels' values.
        dtype: type of the computation.
    """

    growth: int
    layer_drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, growth]."""
        norm = partial(layers.BatchNorm, dtype=self.dtype)
        conv = partial(
            layers.Conv,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal("fan_in"),
        )
        x = nn.relu(norm(name="norm1")(x, train=train))
        x = conv(_BOTTLENECK * self.growth, kernel_size=1, name="conv1")(x)
        x = nn.relu(norm(name="norm2")(x, train=train))
        x = conv(self.growth, kernel_size=3, padding=1, name="conv2")(x)
        return layers.Dropout(self.layer_drop_rate, deterministic=not train)(x)


class DenseBlock(nn.Module):
    """Dense layers whose outputs join their inputs (Huang et al. 2017, equation 2).

    Attributes:
        depth: layers.
        growth: channels that each adds.
        layer_drop_rate: dropout at the end of each layer.
        dtype: type of the computation.
    """

    depth: int
    growth: int
    layer_drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, C + depth * growth]."""
        for index in range(1, self.depth + 1):
            new = DenseLayer(
                self.growth,
                layer_drop_rate=self.layer_drop_rate,
                dtype=self.dtype,
                name=f"denselayer{index}",
            )(x, train=train)
            x = jnp.concatenate([x, new], axis=-1)
        return x


class Transition(nn.Module):
    """Between two blocks, half the channels and half the resolution.

    Attributes:
        dtype: type of the computation.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H / 2, W / 2, C / 2]."""
        x = nn.relu(layers.BatchNorm(dtype=self.dtype, name="norm")(x, train=train))
        x = layers.Conv(
            x.shape[-1] // 2,
            kernel_size=1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal("fan_in"),
            name="conv",
        )(x)
        return layers.average_pool(x, window=2, stride=2)


class DenseNetFeatures(nn.Module):
    """All of a DenseNet but its classifier.

    Attributes:
        depths: layers of each block.
        growth: channels that each layer adds.
        stem_width: channels of the first convolution.
        small_stem: for 32x32 images, a 3x3 convolution and nothing after it.
        layer_drop_rate: dropout at the end of each dense layer.
        dtype: type of the computation.
    """

    depths: tuple[int, ...]
    growth: int
    stem_width: int
    small_stem: bool = False
    layer_drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Map images [N, H, W, C] to the last maps [N, h, w, F]."""
        norm = partial(layers.BatchNorm, dtype=self.dtype)
        size, stride, padding = (3, 1, 1) if self.small_stem else (7, 2, 3)
        x = layers.Conv(
            self.stem_width,
            kernel_size=size,
            stride=stride,
            padding=padding,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=initializers.he_normal("fan_in"),
            name="conv0",
        )(images)
        if not self.small_stem:
            x = nn.relu(norm(name="norm0")(x, train=train))
            x = mark(self, "norm0", x)
            x = layers.max_pool(x, window=3, stride=2, padding=1)
        for number, depth in enumerate(self.depths, start=1):
            x = DenseBlock(
                depth,
                self.growth,
                layer_drop_rate=self.layer_drop_rate,
                dtype=self.dtype,
                name=f"denseblock{number}",
            )(x, train=train)
            if number < len(self.depths):
                x = mark(self, f"denseblock{number}", x)
                x = Transition(self.dtype, name=f"transition{number}")(x, train=train)
        return mark(self, "norm5", nn.relu(norm(name="norm5")(x, train=train)))


class DenseNet(nn.Module):
    """A DenseNet-BC (Huang et al. 2017, table 1; for CIFAR, section 4.2 and table 2).

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, C].
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 29,
            with the small stem from 4.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier.
        layer_drop_rate: dropout at the end of each dense layer; 0.2 in the paper where images are
            not augmented.
        depths: layers of each block.
        growth: channels that each layer adds.
        stem_width: channels of the first convolution.
        small_stem: for 32x32 images, a 3x3 convolution and nothing after it.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.0
    layer_drop_rate: float = 0.0
    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    stem_width: int = 64
    small_stem: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 29, or 4."""
        # Each transition halves and rounds down, the large stem halves twice and rounds up.
        last = 2 ** (len(self.depths) - 1)
        check_least_side(images, last if self.small_stem else 4 * last - 3)
        x = DenseNetFeatures(
            self.depths,
            self.growth,
            self.stem_width,
            small_stem=self.small_stem,
            layer_drop_rate=self.layer_drop_rate,
            dtype=self.dtype,
            name="features",
        )(images, train=train)
        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.uniform_fan_in(),
            name="classifier",
        )(x)


def _cifar(layer_count: int, growth: int) -> partial:
    return partial(
        DenseNet,
        num_classes=10,
        image_size=32,
        depths=((layer_count - 4) // 6,) * 3,
        growth=growth,
        stem_width=2 * growth,
        small_stem=True,
    )


VARIANTS = {
    "densenet121": partial(DenseNet, depths=(6, 12, 24, 16)),
    "densenet161": partial(DenseNet, depths=(6, 12, 36, 24), growth=48, stem_width=96),
    "densenet169": partial(DenseNet, depths=(6, 12, 32, 32)),
    "densenet201": partial(DenseNet, depths=(6, 12, 48, 32)),
    "densenet_bc_100_12_cifar": _cifar(100, 12),
}
