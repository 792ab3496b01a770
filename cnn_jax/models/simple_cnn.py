"""The small CNN with which courses begin: three convolutions and two dense layers."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark


class SimpleCNN(nn.Module):
    """[conv3-BN-ReLU-maxpool] for each width, then Dense-ReLU-Dropout and the classifier.

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 8.
        widths: filters of each convolution.
        hidden: units of the dense layer.
        flatten_drop_rate: dropout on the flattened maps, before the first dense layer.
        drop_rate: dropout before the classifier.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 256
    flatten_drop_rate: float = 0.0
    drop_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 8."""
        x = images
        for index, width in enumerate(self.widths, start=1):
            x = layers.Conv(width, padding=1, dtype=self.dtype, name=f"conv{index}")(x)
            x = layers.BatchNorm(dtype=self.dtype, name=f"bn{index}")(x, train=train)
            x = mark(self, f"conv{index}", nn.relu(x))
            x = layers.max_pool(x, window=2, stride=2)
        x = x.reshape(x.shape[0], -1)
        x = layers.Dropout(self.flatten_drop_rate, deterministic=not train)(x)
        x = nn.relu(layers.Dense(self.hidden, dtype=self.dtype, name="fc1")(x))
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        if not self.num_classes:
            return x
        return layers.Dense(self.num_classes, dtype=self.dtype, name="fc2")(x)


VARIANTS = {
    "simple_cnn": SimpleCNN,
    "simple_cnn_28": partial(SimpleCNN, in_channels=1, image_size=28, flatten_drop_rate=0.25),
}
