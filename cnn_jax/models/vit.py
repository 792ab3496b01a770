"""Vision transformer: an image as a sequence of patches, to compare convolutions with."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import layers
from cnn_jax.errors import InputError
from cnn_jax.models.features import mark
from cnn_jax.models.feed_forward import FeedForward
from cnn_jax.models.initializers import normal, truncated_normal


class PatchEmbedding(nn.Module):
    """Cut images into patches and map each linearly: a convolution whose stride is its size.

    Attributes:
        features: channels of a token.
        patch_size: height and width of a patch.
        dtype: type of the computation; parameters stay float32.
    """

    features: int
    patch_size: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Map [N, H, W, C] to [N, H / patch_size, W / patch_size, features]."""
        return layers.Conv(
            self.features,
            kernel_size=self.patch_size,
            stride=self.patch_size,
            kernel_init=nn.initializers.lecun_normal(),
            dtype=self.dtype,
            name="proj",
        )(images)


class SelfAttention(nn.Module):
    """Every token looks at every token (Vaswani et al. 2017, section 3.2).

    Attributes:
        heads: how often, side by side, in parts of the channels.
        dtype: type of the computation; parameters stay float32.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map [N, L, C] to [N, L, C]."""
        count, length, channels = tokens.shape
        dense = partial(layers.Dense, kernel_init=truncated_normal(0.02), dtype=self.dtype)
        packed = dense(3 * channels, name="qkv")(tokens)
        packed = packed.reshape(count, length, 3, self.heads, channels // self.heads)
        queries, keys, values = jnp.moveaxis(packed, 2, 0)
        mixed = jax.nn.dot_product_attention(queries, keys, values)
        return dense(channels, name="proj")(mixed.reshape(tokens.shape))


class EncoderBlock(nn.Module):
    """Self-attention and two dense layers, each normalised before and added to its input.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", equations 2 and 3.

    Attributes:
        heads: of the attention.
        drop_path_rate: probability that an image skips each of the two, in training.
        dtype: type of the computation; parameters stay float32.
    """

    heads: int
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, L, C] to [N, L, C]."""
        norm = partial(layers.LayerNorm, dtype=self.dtype)
        attention = SelfAttention(self.heads, dtype=self.dtype, name="attn")
        feed_forward = FeedForward(4 * tokens.shape[-1], dtype=self.dtype, name="mlp")

        def drop_path(x):
            return layers.Dropout(
                self.drop_path_rate, broadcast_dims=(1, 2), deterministic=not train
            )(x)

        tokens = tokens + drop_path(attention(norm(name="norm1")(tokens)))
        return tokens + drop_path(feed_forward(norm(name="norm2")(tokens)))


class VisionTransformer(nn.Module):
    """ViT with a class token (Dosovitskiy et al. 2021, section 3.1 and table 1).

    The position embedding is built for `image_size` and resized, bicubically, to other images
    (section 3.2): weights for 224 run, and fine-tune, at 384.

    Attributes:
        num_classes: outputs of the classifier; 0 to leave it out and return its input.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that the position embedding is built for.
        patch_size: height and width of a patch.
        features: channels of a token.
        depth: number of blocks.
        heads: of the attention; divides the features.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 at the first.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 224
    patch_size: int = 16
    features: int = 768
    depth: int = 12
    heads: int = 12
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W multiples of a patch."""
        self._check_sizes(images)
        patches = PatchEmbedding(
            self.features, self.patch_size, dtype=self.dtype, name="patch_embed"
        )(images)
        count, height, width, _ = patches.shape
        class_token = self.param("cls_token", normal(1e-6), (1, 1, self.features))
        class_tokens = jnp.broadcast_to(class_token, (count, 1, self.features))
        tokens = patches.reshape(count, -1, self.features)
        tokens = jnp.concatenate([class_tokens.astype(self.dtype), tokens], axis=1)
        tokens = tokens + self._position_embedding(height, width).astype(self.dtype)

        for index, rate in enumerate(np.linspace(0, self.drop_path_rate, self.depth).tolist()):
            block = EncoderBlock(self.heads, rate, self.dtype, name=f"blocks_{index}")
            tokens = block(tokens, train=train)
            grid = tokens[:, 1:].reshape(patches.shape)
            marked = mark(self, f"blocks.{index}", grid)
            if marked is not grid:  # shifted
                tokens = jnp.concatenate([tokens[:, :1], marked.reshape(tokens[:, 1:].shape)], 1)
        x = layers.LayerNorm(dtype=self.dtype, name="norm")(tokens)[:, 0]
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes, kernel_init=truncated_normal(0.02), dtype=self.dtype, name="head"
        )(x)

    def _check_sizes(self, images):
        height, width = images.shape[1:3]
        if height % self.patch_size or width % self.patch_size or not height * width:
            raise InputError(
                f"`images` of {height}x{width} pixels must have sides that are multiples of "
                f"`patch_size` (={self.patch_size}): resize or crop them"
            )

    def _position_embedding(self, height, width):
        grid = self.image_size // self.patch_size
        shape = (1, 1 + grid**2, self.features)
        embedding = self.param("pos_embed", truncated_normal(0.02), shape)
        if (height, width) == (grid, grid):
            return embedding
        maps = embedding[:, 1:].reshape(1, grid, grid, self.features)
        maps = jax.image.resize(maps, (1, height, width, self.features), "cubic")
        return jnp.concatenate([embedding[:, :1], maps.reshape(1, -1, self.features)], axis=1)


_Tiny = partial(VisionTransformer, features=192, heads=3)
_Small = partial(VisionTransformer, features=384, heads=6)
_Large = partial(VisionTransformer, features=1024, depth=24, heads=16)
VARIANTS = {
    "vit_tiny_patch16": _Tiny,
    "vit_tiny_patch32": partial(_Tiny, patch_size=32),
    "vit_small_patch16": _Small,
    "vit_small_patch32": partial(_Small, patch_size=32),
    "vit_base_patch16": VisionTransformer,
    "vit_base_patch32": partial(VisionTransformer, patch_size=32),
    "vit_large_patch16": _Large,
    "vit_large_patch32": partial(_Large, patch_size=32),
}
