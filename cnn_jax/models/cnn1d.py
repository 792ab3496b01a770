"""A convolutional network for signals: time series, audio, sensors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.features import mark


class CNN1D(nn.Module):
    """Convolution, batch normalisation and ReLU for each width, average over time, classifier.

    The fully convolutional network of Wang et al. 2017, "Time Series Classification from
    Scratch with Deep Neural Networks", figure 1b: signals of any length, and no pooling, so that
    the maps keep the time of the signal.

    Attributes:
        num_classes: outputs of the last layer; 0 to leave it out and return its input.
        in_channels: channels of the signals that tools assume; the module itself takes any number.
        signal_length: steps that tools assume; the module itself takes any.
        widths: filters of each convolution.
        kernel_sizes: of each convolution; an even one looks one step further ahead than back.
        drop_rate: dropout before the last layer.
        dtype: type of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 10
    in_channels: int = 1
    signal_length: int = 128
    widths: tuple[int, ...] = (128, 256, 128)
    kernel_sizes: tuple[int, ...] = (8, 5, 3)
    drop_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, signals: jax.Array, *, train: bool = False) -> jax.Array:
        """Map signals [N, L, C] to logits [N, num_classes]."""
        init = nn.initializers.glorot_uniform()
        x = signals
        for index, (width, size) in enumerate(
            zip(self.widths, self.kernel_sizes, strict=True), start=1
        ):
            x = layers.Conv1d(
                width,
                kernel_size=size,
                padding=((size - 1) // 2, size // 2),
                kernel_init=init,
                dtype=self.dtype,
                name=f"conv{index}",
            )(x)
            norm = layers.BatchNorm(dtype=self.dtype, name=f"bn{index}")
            x = mark(self, f"conv{index}", nn.relu(norm(x, train=train)))
        x = x.mean(axis=1)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="fc")(x)


VARIANTS = {"cnn1d": CNN1D}
