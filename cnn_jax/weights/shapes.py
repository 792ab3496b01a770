"""What a model expects: the shapes of its variables, and which of them depend on what."""

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from cnn_jax.errors import InputError
from cnn_jax.models.hidden_head import NAME as HIDDEN_HEAD
from cnn_jax.models.hidden_head import WithHiddenHead
from cnn_jax.weights.naming import Path
from cnn_jax.weights.tracing import Shapes, trace_shapes

Found = TypeVar("Found")


def once_a_model(
    trace: Callable[[nn.Module, tuple[int, ...]], Found],
) -> Callable[[nn.Module, tuple[int, ...]], Found]:
    """Have a trace remember what it found, of models whose fields can be hashed.

    Args:
        trace: (model, shape of one image) -> what it finds.

    Returns:
        The same; `cache_clear` forgets.
    """
    remembered = lru_cache(maxsize=64)(trace)

    @wraps(trace)
    def traced(model: nn.Module, image: tuple[int, ...]) -> Found:
        try:
            return remembered(model, image)
        except TypeError as error:
            if "unhashable" not in str(error):
                raise
            return trace(model, image)  # a field of the model is a list or a dict

    traced.cache_clear = remembered.cache_clear
    return traced


def default_image_shape(model: nn.Module) -> tuple[int, ...]:
    """Return the shape of one image [H, W, C], or signal [L, C], that a model is meant for.

    Raises:
        InputError: the model does not say.
    """
    try:
        if hasattr(model, "signal_length"):
            return model.signal_length, model.in_channels
        return model.image_size, model.image_size, model.in_channels
    except AttributeError as error:
        raise InputError(
            f"`model` (={type(model).__name__}) has no `image_size` or no `in_channels`: say "
            "`image_shape=(height, width, channels)`"
        ) from error


def variable_shapes(model: nn.Module, image: tuple[int, ...]) -> Shapes:
    """Return what `model.init` would give, without computing it.

    Args:
        model: the model.
        image: shape of one image [H, W, C], or of whatever the model takes.

    Returns:
        Path -> shape of every parameter and statistic.
    """
    return _traced(model, image)


def head_paths(model: nn.Module, image: tuple[int, ...]) -> set[Path]:
    """Find the variables of the classifier: those that depend on `num_classes`.

    Args:
        model: the model; of one without a classifier (`num_classes=0`), the paths are those that
            a classifier would have.
        image: shape of one image.

    Returns:
        The paths; empty for a model without the field.
    """
    if isinstance(model, WithHiddenHead):
        # A file of the family has the classifier that this head replaces.
        hidden = {path for path in variable_shapes(model, image) if path[1] == HIDDEN_HEAD}
        return hidden | head_paths(model.backbone, image)
    if not hasattr(model, "num_classes"):
        return set()
    other = model.clone(num_classes=model.num_classes + 1)
    return _differing(variable_shapes(model, image), variable_shapes(other, image))


def stem_paths(model: nn.Module, image: tuple[int, ...]) -> set[Path]:
    """Find the variables of the first layer: those that depend on the channels of the images."""
    other = model
    if hasattr(model, "in_channels"):
        other = model.clone(in_channels=model.in_channels + 1)
    more = (*image[:-1], image[-1] + 1)
    return _differing(variable_shapes(model, image), variable_shapes(other, more))


def new_variables(
    model: nn.Module, image: tuple[int, ...], paths: set[Path], key: jax.Array
) -> dict[Path, jax.Array]:
    """Initialise some of a model's variables as the model would; the others are not computed.

    Args:
        model: the model.
        image: shape of one image.
        paths: of the variables.
        key: of the initialisation.

    Returns:
        Path -> array, of `paths` alone.
    """

    @jax.jit
    def initialise(key):
        flat = flatten_dict(model.init(key, jnp.zeros((1, *image))))
        return [flat[path] for path in sorted(paths)]

    return dict(zip(sorted(paths), initialise(key), strict=True))


@once_a_model
def _traced(model: nn.Module, image: tuple[int, ...]) -> Shapes:
    return trace_shapes(model, image)


def _differing(one: Shapes, other: Shapes) -> set[Path]:
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}
