"""Inception v3: large kernels taken apart into small and one-dimensional ones."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers
from cnn_jax.models.conv_norm_relu import ConvNormRelu
from cnn_jax.models.features import mark

# A branch is a sequence of convolutions (name, features, kernel size, stride), padded to keep the
# size unless there is a stride; a tuple of such in place of one is a fork, its outputs joined.
_ROW, _COLUMN = (1, 7), (7, 1)


def _modest(pool_features):
    """Figure 5."""
    return (
        (("branch1x1", 64, 1, 1),),
        (("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 1)),
        (
            ("branch3x3dbl_1", 64, 1, 1),
            ("branch3x3dbl_2", 96, 3, 1),
            ("branch3x3dbl_3", 96, 3, 1),
        ),
        ("average", ("branch_pool", pool_features, 1, 1)),
    )


def _factorised(width):
    """Figure 6, n = 7."""
    return (
        (("branch1x1", 192, 1, 1),),
        (
            ("branch7x7_1", width, 1, 1),
            ("branch7x7_2", width, _ROW, 1),
            ("branch7x7_3", 192, _COLUMN, 1),
        ),
        (
            ("branch7x7dbl_1", width, 1, 1),
            ("branch7x7dbl_2", width, _COLUMN, 1),
            ("branch7x7dbl_3", width, _ROW, 1),
            ("branch7x7dbl_4", width, _COLUMN, 1),
            ("branch7x7dbl_5", 192, _ROW, 1),
        ),
        ("average", ("branch_pool", 192, 1, 1)),
    )


# Figure 7.
_EXPANDED = (
    (("branch1x1", 320, 1, 1),),
    (
        ("branch3x3_1", 384, 1, 1),
        (("branch3x3_2a", 384, (1, 3), 1), ("branch3x3_2b", 384, (3, 1), 1)),
    ),
    (
        ("branch3x3dbl_1", 448, 1, 1),
        ("branch3x3dbl_2", 384, 3, 1),
        (("branch3x3dbl_3a", 384, (1, 3), 1), ("branch3x3dbl_3b", 384, (3, 1), 1)),
    ),
    ("average", ("branch_pool", 192, 1, 1)),
)

_REDUCTION_A = (
    (("branch3x3", 384, 3, 2),),
    (("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 1), ("branch3x3dbl_3", 96, 3, 2)),
    ("maximum",),
)

_REDUCTION_B = (
    (("branch3x3_1", 192, 1, 1), ("branch3x3_2", 320, 3, 2)),
    (
        ("branch7x7x3_1", 192, 1, 1),
        ("branch7x7x3_2", 192, _ROW, 1),
        ("branch7x7x3_3", 192, _COLUMN, 1),
        ("branch7x7x3_4", 192, 3, 2),
    ),
    ("maximum",),
)

_MODULES = {
    "Mixed_5b": _modest(32),
    "Mixed_5c": _modest(64),
    "Mixed_5d": _modest(64),
    "Mixed_6a": _REDUCTION_A,
    "Mixed_6b": _factorised(128),
    "Mixed_6c": _factorised(160),
    "Mixed_6d": _factorised(160),
    "Mixed_6e": _factorised(192),
    "Mixed_7a": _REDUCTION_B,
    "Mixed_7b": _EXPANDED,
    "Mixed_7c": _EXPANDED,
}
_STAGE_ENDS = ("Mixed_5d", "Mixed_6e", "Mixed_7c")
_AUXILIARY_AFTER = "Mixed_6e"


class Mixed(nn.Module):
    """Branches side by side, their outputs joined.

    Attributes:
        branches: sequences of "average", "maximum", convolutions and forks, as in the tables.
        dtype: type of the computation.
    """

    branches: tuple
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, H, W, C] to [N, H', W', F]."""

        def conv(x, name, features, size, stride):
            sides = (size, size) if isinstance(size, int) else size
            padding = tuple(side // 2 for side in sides) if stride == 1 else 0
            block = ConvNormRelu(features, sides, stride, padding, dtype=self.dtype, name=name)
            return block(x, train=train)

        def apply(x, step):
            if step == "average":
                return layers.average_pool(x, window=3, stride=1, padding=1)
            if step == "maximum":
                return layers.max_pool(x, window=3, stride=2)
            if isinstance(step[0], tuple):
                return jnp.concatenate([conv(x, *arm) for arm in step], axis=-1)
            return conv(x, *step)

        outputs = []
        for branch in self.branches:
            y = x
            for step in branch:
                y = apply(y, step)
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


class AuxiliaryHead(nn.Module):
    """A small classifier half way, which regularises (Szegedy et al. 2016, section 4, figure 8).

    Maps below 17x17, those of images below 299, are averaged or stretched to the 5x5 that the
    pooling gives at 299.

    Attributes:
        num_classes: outputs.
        dtype: type of the computation.
    """

    num_classes: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map [N, h, w, C] to logits [N, num_classes]."""
        if min(x.shape[1:3]) >= 17:
            x = layers.average_pool(x, window=5, stride=3)
        else:
            x = layers.adaptive_average_pool(x, output_size=5)
        x = ConvNormRelu(128, dtype=self.dtype, name="conv0")(x, train=train)
        x = ConvNormRelu(768, 5, stddev=0.01, dtype=self.dtype, name="conv1")(x, train=train)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.truncated_normal(0.001),
            name="fc",
        )(layers.global_average_pool(x))


class InceptionV3(nn.Module):
    """Inception v3 (Szegedy et al. 2016, "Rethinking the Inception architecture", table 1).

    In training, the logits of the auxiliary head go to the collection "auxiliary". torchvision's
    weights expect images between -1 and 1: mean and standard deviation 0.5.

    Attributes:
        num_classes: outputs of the last layer; 0 to return the pooled features [N, 2048], without
            the auxiliary head.
        in_channels: channels of the images that tools assume; the module itself takes any number.
        image_size: height and width that tools assume; the module itself takes any from 75.
        dtype: type of the computation; parameters and statistics stay float32.
        drop_rate: dropout before the classifier.
        auxiliary: whether there is an auxiliary head.
    """

    num_classes: int = 1000
    in_channels: int = 3
    image_size: int = 299
    dtype: jnp.dtype = jnp.float32
    drop_rate: float = 0.5
    auxiliary: bool = True

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images [N, H, W, C] to logits [N, num_classes]; H and W at least 75."""
        conv = partial(ConvNormRelu, dtype=self.dtype)
        x = conv(32, 3, stride=2, name="Conv2d_1a_3x3")(images, train=train)
        x = conv(32, 3, name="Conv2d_2a_3x3")(x, train=train)
        x = conv(64, 3, padding=1, name="Conv2d_2b_3x3")(x, train=train)
        x = layers.max_pool(mark(self, "Conv2d_2b_3x3", x), window=3, stride=2)
        x = conv(80, 1, name="Conv2d_3b_1x1")(x, train=train)
        x = conv(192, 3, name="Conv2d_4a_3x3")(x, train=train)
        x = layers.max_pool(mark(self, "Conv2d_4a_3x3", x), window=3, stride=2)

        for name, branches in _MODULES.items():
            x = Mixed(branches, self.dtype, name=name)(x, train=train)
            if name in _STAGE_ENDS:
                x = mark(self, name, x)
            if name == _AUXILIARY_AFTER:
                self._auxiliary_logits(x, train)

        x = layers.global_average_pool(x)
        if not self.num_classes:
            return x
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        return layers.Dense(
            self.num_classes,
            dtype=self.dtype,
            kernel_init=initializers.truncated_normal(0.1),
            name="fc",
        )(x)

    def _auxiliary_logits(self, x: jax.Array, train: bool) -> None:
        if not (self.auxiliary and self.num_classes):
            return
        # Initialisation makes the parameters, whatever the mode.
        if train or self.is_initializing():
            head = AuxiliaryHead(self.num_classes, self.dtype, name="AuxLogits")
            mark(self, "AuxLogits", head(x, train=train), collection="auxiliary")


VARIANTS = {"inception_v3": InceptionV3}
