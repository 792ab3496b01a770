"""The feature maps of a model's stages, for backbones and for looking inside."""

from collections import OrderedDict

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from cnn_jax.errors import InputError

_COLLECTION = "features"
# What is added to the maps of stages: gradients with respect to it are those of the maps.
SHIFTS = "shifts"


def mark(module: nn.Module, name: str, x: jax.Array, *, collection: str = _COLLECTION) -> jax.Array:
    """Keep the output of a stage for `extract_features`, or logits of an auxiliary head.

    Costs nothing unless the collection is asked for, with `apply(..., mutable=[collection])`.
    Where the variables have something under `SHIFTS` for the stage, it is added to the output.

    Args:
        module: the model, in its `__call__`.
        name: the stage, as timm names it.
        x: its output.
        collection: "features", or "auxiliary" for the logits of auxiliary heads.

    Returns:
        `x`, or the shifted one.
    """
    if module.has_variable(SHIFTS, name):
        x = x + module.get_variable(SHIFTS, name)
    # Not `sow`: a stage may carry the name of a child, and `init` would return the maps.
    if module.is_mutable_collection(collection) and not module.is_initializing():
        module.put_variable(collection, name, x)
    return x


def extract_features(
    model: nn.Module, variables: dict, images: jax.Array
) -> OrderedDict[str, jax.Array]:
    """Compute the feature maps at the end of each stage.

    Under `jax.jit` the classifier, which nothing then reads, is not computed.

    Args:
        model: one of the zoo, or a module of your own that calls `mark` or contains such models.
        variables: its parameters and statistics.
        images: [N, H, W, C].

    Returns:
        Stage name -> [N, h, w, c], from the first stage to the last; a model inside another has
        its name before the stage's ("backbone.layer1").

    Raises:
        InputError: the model marks no stage.

    >>> import cnn_jax, jax, jax.numpy as jnp
    >>> model, images = cnn_jax.create_model("resnet20_cifar"), jnp.ones((1, 32, 32, 3))
    >>> shapes = jax.eval_shape(
    ...     lambda key: extract_features(model, model.init(key, images), images), jax.random.key(0)
    ... )
    >>> {name: maps.shape for name, maps in shapes.items()}
    {'layer1': (1, 32, 32, 16), 'layer2': (1, 16, 16, 32), 'layer3': (1, 8, 8, 64)}
    """
    _, updates = model.apply(variables, images, mutable=[_COLLECTION])
    features = OrderedDict(flatten_dict(updates.get(_COLLECTION, {}), sep="."))
    if not features:
        raise InputError(
            f"`model` (={type(model).__name__}) marks no stage: call "
            "`cnn_jax.models.features.mark(self, name, x)` where a stage ends"
        )
    return features
