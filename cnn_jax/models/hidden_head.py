"""A network whose classifier has a hidden layer, as courses on transfer learning put it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_jax import layers
from cnn_jax.models import initializers

NAME = "hidden_head"


class HiddenHead(nn.Module):
    """Dense-ReLU-Dropout-Dense: a classifier on features.

    Attributes:
        num_classes: outputs.
        hidden: units of the hidden layer.
        drop_rate: dropout between the two.
        dtype: type of the computation; parameters stay float32.
    """

    num_classes: int
    hidden: int = 512
    drop_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, D] to logits [N, num_classes]."""
        x = nn.relu(layers.Dense(self.hidden, dtype=self.dtype, name="fc1")(features))
        x = layers.Dropout(self.drop_rate, deterministic=not train)(x)
        init = initializers.uniform_fan_in()
        return layers.Dense(self.num_classes, kernel_init=init, dtype=self.dtype, name="fc2")(x)


class WithHiddenHead(nn.Module):
    """A network of the zoo with a `HiddenHead` in place of its own classifier.

    The variables of the network keep their names; those of the head are in `hidden_head`. Fields
    that this module lacks are the network's: it shows them, and `clone` passes them on.

    Attributes:
        backbone: the network, with `num_classes=0`.
        num_classes: outputs; 0 to leave the head out and return its input.
        head_hidden: units of the hidden layer.
        head_drop_rate: dropout after it.

    >>> from cnn_jax import create_model
    >>> model = create_model("resnet18", num_classes=3, head_hidden=16)
    >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> {name: layer["kernel"].shape for name, layer in variables["params"]["hidden_head"].items()}
    {'fc1': (512, 16), 'fc2': (16, 3)}
    """

    backbone: nn.Module
    num_classes: int
    head_hidden: int = 512
    head_drop_rate: float = 0.5

    def setup(self):
        """Give the backbone's variables the names that they have without the head."""
        nn.share_scope(self, self.backbone)

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to logits [N, num_classes]."""
        features = self.backbone(images, train=train)
        if not self.num_classes:
            return features
        head = HiddenHead(
            self.num_classes, self.head_hidden, self.head_drop_rate, self.dtype, name=NAME
        )
        return head(features, train=train)

    @nn.nowrap
    def clone(self, *, parent=None, _deep_clone=False, _reset_names=False, **updates) -> nn.Module:
        """Copy the network with other fields, its own or the backbone's."""
        own = {name: value for name, value in updates.items() if name in self.__dataclass_fields__}
        passed_on = {name: value for name, value in updates.items() if name not in own}
        if passed_on:
            own["backbone"] = own.get("backbone", self.backbone).clone(**passed_on)
        return super().clone(
            parent=parent, _deep_clone=_deep_clone, _reset_names=_reset_names, **own
        )

    @nn.nowrap
    def __getattr__(self, name: str):
        """Look up a field of the backbone, such as `dtype`, `image_size` or `in_channels`."""
        backbone = self.__dict__.get("backbone")
        if backbone is not None and name in backbone.__dataclass_fields__:
            return getattr(backbone, name)
        return super().__getattr__(name)
