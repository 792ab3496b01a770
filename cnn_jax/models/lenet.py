"""LeNet-5 in its three published forms."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark


class LeNet5(nn.Module):
    """LeNet-5 (LeCun et al. 1998, section II.B), with full connections from S2 to C3.

    The first two forms are the ones that courses train on 28x28 images, with ReLU and maximum
    pooling; the third is the paper's, with tanh, average pooling and C5 as a convolution. The
    paper's partial connection table, trainable subsampling and RBF output are not kept: no
    course or library does.

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 12,
            without padding from 16, with a convolutional C5 from 32.
        padding: zeros around the image before the first convolution; 2 brings 28x28 to the
            paper's 32x32.
        convolutional_c5: whether C5 is a 5x5 convolution (any image size then still gives 120
            maps, which are flattened) or a dense layer on the flattened maps.
        activation: the nonlinearity between layers.
        pool: the 2x2 pooling.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int = 10
    in_channels: int = 1
    image_size: int = 28
    padding: int = 2
    convolutional_c5: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    pool: Callable[..., jax.Array] = layers.max_pool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        dense = partial(layers.Dense, dtype=self.dtype)
        conv = partial(layers.Conv, kernel_size=5, dtype=self.dtype)

        x = self.activation(conv(6, padding=self.padding, name="conv1")(images))
        x = self.pool(mark(self, "conv1", x), window=2, stride=2)
        x = self.activation(conv(16, name="conv2")(x))
        x = self.pool(mark(self, "conv2", x), window=2, stride=2)
        if self.convolutional_c5:
            x = self.activation(conv(120, name="conv3")(x))
            x = x.reshape(x.shape[0], -1)
        else:
            x = x.reshape(x.shape[0], -1)
            x = self.activation(dense(120, name="fc1")(x))
        x = self.activation(dense(84, name="fc2")(x))
        if not self.num_classes:
            return x
        return dense(self.num_classes, name="fc3")(x)


VARIANTS = {
    "lenet5": partial(LeNet5, padding=2),
    "lenet5_unpadded": partial(LeNet5, padding=0),
    "lenet5_1998": partial(
        LeNet5,
        image_size=32,
        padding=0,
        convolutional_c5=True,
        activation=nn.tanh,
        pool=layers.average_pool,
    ),
}
