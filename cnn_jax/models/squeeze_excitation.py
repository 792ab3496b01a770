"""Squeeze-and-excitation: channels weighted by what the whole image shows."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.initializers import he_normal


class SqueezeExcitation(nn.Module):
    """Average over the positions, two 1x1 convolutions, and a factor for each channel.

    Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2-4. The convolutions carry
    biases, as in the reference code.

    Attributes:
        features: channels after the squeeze.
        activation: between the convolutions.
        gate: makes the factors.
        names: of the two convolutions; the families differ.
        kernel_init: of both kernels.
        dtype: type of the computation; parameters stay float32.
    """

    features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    gate: Callable[[jax.Array], jax.Array] = nn.sigmoid
    names: tuple[str, str] = ("fc1", "fc2")
    kernel_init: nn.initializers.Initializer = he_normal()
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map [N, H, W, C] to [N, H, W, C]."""
        squeeze, excite = (
            layers.Conv(
                features,
                kernel_size=1,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            for features, name in zip((self.features, images.shape[-1]), self.names, strict=True)
        )
        mean = images.mean((1, 2), keepdims=True)
        return images * self.gate(excite(self.activation(squeeze(mean))))
