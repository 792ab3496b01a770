"""The two dense layers of transformer blocks, which ConvNeXt has too."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models.initializers import truncated_normal


class FeedForward(nn.Module):
    """Dense, exact GELU, Dense back to the channels of the input, at each position.

    Attributes:
        hidden: units between.
        dtype: type of the computation; parameters stay float32.
    """

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map [..., C] to [..., C]."""
        options = {"kernel_init": truncated_normal(0.02), "dtype": self.dtype}
        hidden = layers.Dense(self.hidden, name="fc1", **options)(x)
        hidden = nn.gelu(hidden, approximate=False)
        return layers.Dense(x.shape[-1], name="fc2", **options)(hidden)
