"""ConvNeXt: a ResNet brought step by step to the design of a vision transformer."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.models.classifier_head import ClassifierHead
from cnn_jax.models.features import mark
from cnn_jax.models.feed_forward import FeedForward
from cnn_jax.models.initializers import truncated_normal
from cnn_jax.models.least_side import check_least_side


class ConvNeXtBlock(nn.Module):
    """x + gamma * f(x), f being a depthwise 7x7, LayerNorm and an inverted bottleneck.

    Liu et al. 2022, "A ConvNet for the 2020s", figure 4 and appendix A.1 (layer scale).

    Attributes:
        drop_path_rate: probability that an image skips the block, in training.
        layer_scale: first value of gamma.
        dtype: type of the computation; parameters stay float32.
    """

    drop_path_rate: float = 0.0
    layer_scale: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, C]."""
        channels = images.shape[-1]
        x = layers.Conv(
            channels,
            kernel_size=7,
            padding=3,
            groups=channels,
            kernel_init=truncated_normal(0.02),
            dtype=self.dtype,
            name="conv_dw",
        )(images)
        x = layers.LayerNorm(dtype=self.dtype, name="norm")(x)
        x = FeedForward(4 * channels, dtype=self.dtype, name="mlp")(x)
        gamma = self.param("gamma", nn.initializers.constant(self.layer_scale), (channels,))
        drop_path = layers.Dropout(
            self.drop_path_rate, broadcast_dims=(1, 2, 3), deterministic=not train
        )
        return images + drop_path(x * gamma.astype(self.dtype))


class ConvNeXtStage(nn.Module):
    """A stage: LayerNorm and a 2x2 convolution of stride 2, except in the first, then blocks.

    Attributes:
        features: channels.
        drop_path_rates: of each block.
        downsample: whether the stage halves the resolution.
        layer_scale: see `ConvNeXtBlock`.
        dtype: type of the computation; parameters stay float32.
    """

    features: int
    drop_path_rates: tuple[float, ...]
    downsample: bool = True
    layer_scale: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H / 2, W / 2, features], or to [N, H, W, features]."""
        x = images
        if self.downsample:
            x = layers.LayerNorm(dtype=self.dtype, name="downsample_0")(x)
            x = layers.Conv(
                self.features,
                kernel_size=2,
                stride=2,
                kernel_init=truncated_normal(0.02),
                dtype=self.dtype,
                name="downsample_1",
            )(x)
        for index, rate in enumerate(self.drop_path_rates):
            block = ConvNeXtBlock(rate, self.layer_scale, self.dtype, name=f"blocks_{index}")
            x = block(x, train=train)
        return x


class ConvNeXt(nn.Module):
    """ConvNeXt (Liu et al. 2022, section 3 and appendix A).

    Attributes:
        num_classes: outputs of the classifier; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 32.
        depths: blocks of each stage.
        features: channels of each stage.
        layer_scale: first value of the factors of the residual branches.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    depths: tuple[int, ...] = (3, 3, 9, 3)
    features: tuple[int, ...] = (96, 192, 384, 768)
    layer_scale: float = 1e-6
    drop_rate: float = 0.0
    drop_path_rate: float = 0.1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 32."""
        check_least_side(images, 4 * 2 ** (len(self.depths) - 1))
        init = truncated_normal(0.02)
        x = layers.Conv(
            self.features[0],
            kernel_size=4,
            stride=4,
            kernel_init=init,
            dtype=self.dtype,
            name="stem_0",
        )(images)
        x = layers.LayerNorm(dtype=self.dtype, name="stem_1")(x)
        rates = np.linspace(0, self.drop_path_rate, sum(self.depths)).tolist()
        for index, (depth, features) in enumerate(zip(self.depths, self.features, strict=True)):
            x = ConvNeXtStage(
                features,
                tuple(rates[:depth]),
                downsample=index > 0,
                layer_scale=self.layer_scale,
                dtype=self.dtype,
                name=f"stages_{index}",
            )(x, train=train)
            x, rates = mark(self, f"stages.{index}", x), rates[depth:]
        return ClassifierHead(
            self.num_classes,
            normalise=True,
            drop_rate=self.drop_rate,
            kernel_init=init,
            dtype=self.dtype,
            name="head",
        )(x, train=train)


# Stochastic depth as in table 5, from scratch on ImageNet-1K.
_Deep = partial(ConvNeXt, depths=(3, 3, 27, 3))
VARIANTS = {
    "convnext_tiny": ConvNeXt,
    "convnext_small": partial(_Deep, drop_path_rate=0.4),
    "convnext_base": partial(_Deep, features=(128, 256, 512, 1024), drop_path_rate=0.5),
    "convnext_large": partial(_Deep, features=(192, 384, 768, 1536), drop_path_rate=0.5),
}
