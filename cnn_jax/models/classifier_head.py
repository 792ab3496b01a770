"""The head that ends several families: average, normalise, drop, classify."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers

Initializer = nn.initializers.Initializer


class ClassifierHead(nn.Module):
    """Average over the positions, then layer normalisation on request, dropout and `fc`.

    Attributes:
        num_classes: outputs of `fc`; 0 to leave it and the dropout out.
        normalise: whether the averages go through a layer normalisation, `norm`.
        drop_rate: dropout before `fc`.
        kernel_init: of `fc`.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int
    normalise: bool = False
    drop_rate: float = 0.0
    kernel_init: Initializer = nn.initializers.he_normal()
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to logits [N, num_classes], or to [N, C]."""
        x = layers.global_average_pool(images)
        if self.normalise:
            x = layers.LayerNorm(dtype=self.dtype, name="norm")(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes, kernel_init=self.kernel_init, dtype=self.dtype, name="fc"
        )(x)
