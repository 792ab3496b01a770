"""Class activation maps: where the maps of a stage speak for a class."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.typing import ArrayLike

from cnn_jax.errors import InputError, nearest
from cnn_jax.explain.scores import chosen_classes, scores
from cnn_jax.models.features import SHIFTS, extract_features


def default_target(model: nn.Module, variables: dict, images: jax.Array) -> str:
    """Choose the stage whose maps are explained: the last one that has places.

    Of a vision transformer it is the last but one: of the last block's tokens only that of the
    class goes on, so that no score depends on the places.

    Args:
        model: a model that marks its stages.
        variables: its parameters and statistics.
        images: [N, H, W, C].

    Returns:
        The name of the stage, of `extract_features`.

    Raises:
        InputError: the model marks no stage, or none that has more than one place and is not the
            last block of a vision transformer.

    >>> import cnn_jax
    >>> model, images = cnn_jax.create_model("vit_tiny_patch16", depth=3), jnp.ones((1, 32, 32, 3))
    >>> shapes = jax.eval_shape(model.clone(image_size=32).init, jax.random.key(0), images)
    >>> default_target(model.clone(image_size=32), shapes, images)
    'blocks.1'
    """
    maps = jax.eval_shape(partial(extract_features, model), variables, images)
    with_places = [
        name
        for name, stage in maps.items()
        if len(stage.shape) == 4 and stage.shape[1] * stage.shape[2] > 1
    ]
    if not with_places:
        raise InputError(
            f"`images` {images.shape} leave the stages of {type(model).__name__} a single place "
            "each, so there is nothing to map: use larger images"
        )
    if "cls_token" not in variables["params"]:
        return with_places[-1]
    if len(with_places) == 1:
        raise InputError(
            f"`model` (={type(model).__name__}) has one block, and of its tokens only that of the "
            "class goes on, so there is nothing to map: use a deeper one, or `saliency`"
        )
    return with_places[-2]


def grad_cam(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    *,
    classes: ArrayLike | None = None,
    target: str | None = None,
) -> jax.Array:
    """Map where a stage speaks for a class: its maps, weighted by their mean gradients.

    Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.

    Args:
        model: a model that marks its stages.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        classes: int [N] or one for all; None for the most probable of each.
        target: name of the stage, of `extract_features`; None for `default_target`.

    Returns:
        float32 [N, H, W], 0 or above, as large as the images: resized from the stage's by linear
        interpolation.

    Raises:
        InputError: there is no such stage or class.

    >>> import cnn_jax
    >>> model, images = cnn_jax.create_model("resnet20_cifar"), jnp.ones((2, 16, 16, 3))
    >>> variables = model.init(jax.random.key(0), images)
    >>> grad_cam(model, variables, images).shape
    (2, 16, 16)
    """
    maps, gradients = _maps_and_gradients(model, variables, images, classes, target)
    weights = gradients.mean((1, 2), keepdims=True)
    return _resized(jax.nn.relu((weights * maps).sum(-1)), images)


def grad_cam_plus_plus(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    *,
    classes: ArrayLike | None = None,
    target: str | None = None,
) -> jax.Array:
    """Map where a stage speaks for a class, several objects of it weighing alike.

    Chattopadhay et al. 2018, "Grad-CAM++", equations 5 and 19: of the exponential of the score.

    Args:
        model: as of `grad_cam`.
        variables: as there.
        images: as there.
        classes: as there.
        target: as there.

    Returns:
        float32 [N, H, W], as of `grad_cam`.

    Raises:
        InputError: as there.
    """
    maps, gradients = _maps_and_gradients(model, variables, images, classes, target)
    squares = gradients**2
    divisor = 2 * squares + maps.sum((1, 2), keepdims=True) * gradients**3
    parts = jnp.where(divisor != 0, squares / jnp.where(divisor == 0, 1, divisor), 0)
    weights = (parts * jax.nn.relu(gradients)).sum((1, 2), keepdims=True)
    return _resized(jax.nn.relu((weights * maps).sum(-1)), images)


def _maps_and_gradients(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    classes: ArrayLike | None,
    target: str | None,
) -> tuple[jax.Array, jax.Array]:
    """Compute the maps of a stage [N, h, w, c] and the gradients of the scores by them."""
    images = jnp.asarray(images)
    target = default_target(model, variables, images) if target is None else target

    def run(shifts):
        logits, updates = model.apply({**variables, SHIFTS: shifts}, images, mutable=["features"])
        return logits, flatten_dict(updates.get("features", {}))

    _, stages = jax.eval_shape(run, {})
    names = {".".join(path): path for path in stages}
    if target not in names:
        raise InputError(f"`target` (={target!r}) is no stage: {nearest(target, list(names))}")
    path = names[target]
    if len(stages[path].shape) != 4:
        raise InputError(
            f"`target` (={target!r}) has values of shape {stages[path].shape} and no places in an "
            "image: choose another stage"
        )

    def explained(shift):
        logits, maps = run(unflatten_dict({path: shift}))
        chosen = chosen_classes(jax.lax.stop_gradient(logits), classes)
        return scores(logits, chosen).astype(jnp.float32).sum(), maps[path]

    zeros = jnp.zeros(stages[path].shape, stages[path].dtype)
    gradients, maps = jax.grad(explained, has_aux=True)(zeros)
    return maps.astype(jnp.float32), gradients.astype(jnp.float32)


def _resized(maps: jax.Array, images: jax.Array) -> jax.Array:
    return jax.image.resize(maps, images.shape[:3], "linear", antialias=False)
