"""The VGG-like CNN of the courses: three blocks of two convolutions."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark


class ThreeBlockCNN(nn.Module):
    """[conv3-BN-ReLU twice, maxpool, dropout] for each width, then Dense-BN-ReLU-Dropout.

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 8.
        widths: filters of both convolutions of each block.
        hidden: units of the dense layer.
        norm_first: BN before ReLU (PyTorch courses), or after it (Keras courses).
        channel_dropout: whether a block drops whole channels or single values.
        block_drop_rate: dropout at the end of each block.
        drop_rate: dropout before the classifier.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 32
    widths: tuple[int, ...] = (32, 64, 128)
    hidden: int = 512
    norm_first: bool = True
    channel_dropout: bool = True
    block_drop_rate: float = 0.25
    drop_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 8."""

        def norm_relu(x, name):
            norm = layers.BatchNorm(dtype=self.dtype, name=name)
            return (
                nn.relu(norm(x, train=train)) if self.norm_first else norm(nn.relu(x), train=train)
            )

        dropped_together = (1, 2) if self.channel_dropout else ()
        x = images
        for block, width in enumerate(self.widths, start=1):
            for index in (1, 2):
                name = f"conv{block}_{index}"
                x = layers.Conv(width, padding=1, dtype=self.dtype, name=name)(x)
                x = norm_relu(x, f"bn{block}_{index}")
            x = layers.max_pool(mark(self, name, x), window=2, stride=2)
            x = layers.Dropout(
                self.block_drop_rate, broadcast_dims=dropped_together, deterministic=not train
            )(x)
        x = x.reshape(x.shape[0], -1)
        x = norm_relu(layers.Dense(self.hidden, dtype=self.dtype, name="fc1")(x), "bn_fc1")
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        if not self.num_classes:
            return x
        return layers.Dense(self.num_classes, dtype=self.dtype, name="fc2")(x)


VARIANTS = {
    "three_block_cnn": ThreeBlockCNN,
    "three_block_cnn_keras": partial(ThreeBlockCNN, norm_first=False, channel_dropout=False),
}
