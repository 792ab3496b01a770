"""ShuffleNetV2: half of the channels passes each block untouched, then all are shuffled."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark
from cnn_jax.models.initializers import uniform_fan_in


def shuffle_channels(images: jax.Array, groups: int) -> jax.Array:
    """Interleave groups of channels: the first of each group, the second of each, and so on.

    Zhang et al. 2018, "ShuffleNet", figure 1.

    Args:
        images: [..., C].
        groups: number of groups; divides C.

    Returns:
        The shape of `images`.

    >>> shuffle_channels(jnp.arange(6), 2).tolist()
    [0, 3, 1, 4, 2, 5]
    """
    *sizes, channels = images.shape
    grouped = images.reshape(*sizes, groups, channels // groups)
    return grouped.swapaxes(-1, -2).reshape(images.shape)


class ShuffleUnit(nn.Module):
    """One block (Ma et al. 2018, "ShuffleNet V2", figure 3c; with stride 2, figure 3d).

    Attributes:
        features: channels of the output.
        stride: 1 keeps half of the channels as they are, 2 convolves all of them in both branches.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    features: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, H / stride, W / stride, features]."""
        half = self.features // 2
        conv = partial(layers.Conv, use_bias=False, kernel_init=uniform_fan_in(), dtype=self.dtype)

        def pointwise(x, branch, index):
            x = conv(half, kernel_size=1, name=f"{branch}_{index}")(x)
            return nn.relu(norm(x, branch, index + 1))

        def depthwise(x, branch, index):
            channels = x.shape[-1]
            name = f"{branch}_{index}"
            x = conv(
                channels, kernel_size=3, stride=self.stride, padding=1, groups=channels, name=name
            )(x)
            return norm(x, branch, index + 1)

        def norm(x, branch, index):
            name = f"{branch}_{index}"
            return layers.BatchNorm(dtype=self.dtype, name=name)(x, train=train)

        if self.stride == 1:
            kept, x = jnp.split(images, 2, axis=-1)
        else:
            kept, x = pointwise(depthwise(images, "branch1", 0), "branch1", 2), images
        x = pointwise(depthwise(pointwise(x, "branch2", 0), "branch2", 3), "branch2", 5)
        return shuffle_channels(jnp.concatenate([kept, x], axis=-1), 2)


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 (Ma et al. 2018, table 5).

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        features: channels of stages 2, 3, 4 and of the last convolution.
        repeats: blocks of stages 2, 3 and 4.
        drop_rate: dropout before the last layer.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    features: tuple[int, int, int, int] = (116, 232, 464, 1024)
    repeats: tuple[int, int, int] = (4, 8, 4)
    drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""

        def conv_norm_relu(x, features, name, **options):
            x = layers.Conv(
                features,
                use_bias=False,
                kernel_init=uniform_fan_in(),
                dtype=self.dtype,
                name=f"{name}_0",
                **options,
            )(x)
            return nn.relu(layers.BatchNorm(dtype=self.dtype, name=f"{name}_1")(x, train=train))

        x = conv_norm_relu(images, 24, "conv1", kernel_size=3, stride=2, padding=1)
        x = layers.max_pool(mark(self, "conv1", x), window=3, stride=2, padding=1)
        *widths, last = self.features
        for stage, (features, repeats) in enumerate(
            zip(widths, self.repeats, strict=True), start=2
        ):
            for index in range(repeats):
                stride = 2 if index == 0 else 1
                unit = ShuffleUnit(features, stride, dtype=self.dtype, name=f"stage{stage}_{index}")
                x = unit(x, train=train)
            x = mark(self, f"stage{stage}", x)
        x = layers.global_average_pool(conv_norm_relu(x, last, "conv5", kernel_size=1))
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes, kernel_init=uniform_fan_in(), dtype=self.dtype, name="fc"
        )(x)


VARIANTS = {
    "shufflenet_v2_x0_5": partial(ShuffleNetV2, features=(48, 96, 192, 1024)),
    "shufflenet_v2_x1_0": ShuffleNetV2,
    "shufflenet_v2_x1_5": partial(ShuffleNetV2, features=(176, 352, 704, 1024)),
    "shufflenet_v2_x2_0": partial(ShuffleNetV2, features=(244, 488, 976, 2048)),
}
