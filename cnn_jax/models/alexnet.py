"""AlexNet: the form of 2012 on two GPUs, and the single column of 2014 that torchvision has."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.features import mark

_KERNEL_SIZES = (11, 5, 3, 3, 3)
_HIDDEN = 4096
_zeros, _ones = nn.initializers.zeros, nn.initializers.ones


class AlexNet(nn.Module):
    """Five convolutions and three dense layers.

    The form of 2012 is Krizhevsky, Sutskever and Hinton 2012, figure 2, with response
    normalisation (section 3.3), groups where the paper's GPUs do not talk, and the paper's
    initialisation (section 5). The other is Krizhevsky 2014, "One weird trick", footnote 1.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the 4096 features before it.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 63.
        dtype: type of the computation; parameters stay float32.
        drop_rate: dropout before each hidden dense layer.
        widths: filters of each convolution.
        positions: number of each convolution among all layers, which names it.
        groups: of the second, fourth and fifth convolution.
        response_norm: whether local response normalisation follows the first two.
        kernel_init: of all kernels.
        bias_inits: of each convolution's bias, then that of the hidden dense layers.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.5
    widths: tuple[int, ...] = (64, 192, 384, 256, 256)
    positions: tuple[int, ...] = (0, 3, 6, 8, 10)
    groups: int = 1
    response_norm: bool = False
    kernel_init: initializers.Initializer = initializers.uniform_fan_in()
    bias_inits: tuple[initializers.Initializer, ...] = (_zeros,) * 6

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 63."""
        x = layers.adaptive_average_pool(self._features(images), output_size=6)
        x = x.reshape(x.shape[0], -1)
        dense = partial(layers.Dense, dtype=self.dtype, kernel_init=self.kernel_init)
        hidden = partial(dense, _HIDDEN, bias_init=self.bias_inits[-1])
        for name in ("classifier_1", "classifier_4"):
            x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
            x = nn.relu(hidden(name=name)(x))
        if not self.num_classes:
            return x
        return dense(self.num_classes, name="classifier_6")(x)

    def _features(self, x: jax.Array) -> jax.Array:
        for index, (width, size, position) in enumerate(
            zip(self.widths, _KERNEL_SIZES, self.positions, strict=True)
        ):
            x = layers.Conv(
                width,
                kernel_size=size,
                stride=1 if index else 4,
                padding=size // 2 if index else 2,
                groups=self.groups if index in (1, 3, 4) else 1,
                dtype=self.dtype,
                kernel_init=self.kernel_init,
                bias_init=self.bias_inits[index],
                name=f"features_{position}",
            )(x)
            x, end = nn.relu(x), position + 1
            if self.response_norm and index < 2:
                x, end = layers.local_response_norm(x), position + 2
            if index in (0, 1, 4):
                x = mark(self, f"features.{end}", x)
                x = layers.max_pool(x, window=3, stride=2)
        return mark(self, f"features.{end + 1}", x)


VARIANTS = {
    "alexnet": AlexNet,
    "alexnet_2012": partial(
        AlexNet,
        widths=(96, 256, 384, 384, 256),
        positions=(0, 4, 8, 10, 12),
        groups=2,
        response_norm=True,
        kernel_init=initializers.normal(0.01),
        bias_inits=(_zeros, _ones, _zeros, _ones, _ones, _ones),
    ),
}
