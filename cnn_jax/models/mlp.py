"""Multilayer perceptrons, to compare convolutions with."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers


class MLP(nn.Module):
    """A multilayer perceptron on flattened images: Dense-ReLU for each width, then Dense.

    The first layer takes the pixels in the order [H, W, C], in files of weights as well: of a
    colour image, PyTorch computes the same from `images.permute(0, 2, 3, 1).flatten(1)`.

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any.
        widths: units of each hidden layer.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int = 10
    in_channels: int = 3
    image_size: int = 224
    widths: tuple[int, ...] = (1024,)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]."""
        x = images.reshape(images.shape[0], -1)
        for index, width in enumerate(self.widths, start=1):
            x = nn.relu(layers.Dense(width, dtype=self.dtype, name=f"fc{index}")(x))
        if not self.num_classes:
            return x
        name = f"fc{len(self.widths) + 1}"
        return layers.Dense(self.num_classes, dtype=self.dtype, name=name)(x)


VARIANTS = {
    "mlp": MLP,
    "mlp_512_256": partial(MLP, widths=(512, 256)),
}
