"""From a file of weights to the variables of a model."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from cnn_jax import models
from cnn_jax.errors import InputError
from cnn_jax.models.hidden_head import NAME as HIDDEN_HEAD
from cnn_jax.models.hidden_head import WithHiddenHead
from cnn_jax.weights.fitting import check_fields
from cnn_jax.weights.flattening import to_our_order
from cnn_jax.weights.layouts import translate
from cnn_jax.weights.merge import WeightsMismatch, differences, place
from cnn_jax.weights.naming import Path as VariablePath
from cnn_jax.weights.naming import to_name, torch_shape
from cnn_jax.weights.shapes import (
    Shapes,
    default_image_shape,
    head_paths,
    new_variables,
    stem_paths,
    variable_shapes,
)
from cnn_jax.weights.source import read_source
from cnn_jax.weights.stem import adapt_stem

Placed = dict[VariablePath, tuple[str, np.ndarray]]

# Output columns copied at a time: the lines that a block reads then stay in the cache.
_BLOCK = 64
_SHOWN_OF_ANOTHER = 3


def load_weights(
    model: nn.Module,
    source: str | Path,
    *,
    new_head: jax.Array | None = None,
    ignore: Sequence[str] = (),
    image_shape: Sequence[int] | None = None,
) -> dict:
    """Read the weights of a model.

    Names are those of timm or, for families that timm lacks, of torchvision; where torchvision
    or EfficientNet-PyTorch name a family otherwise, their files are recognised too. A prefix
    `module.` and the usual wrappers (`state_dict`, `model`, ...) are taken off; of a training
    checkpoint with averaged weights, those are taken, as by timm.

    Every variable of the model must be in the file, and every entry of the file in the model.
    Two differences are the caller's own choice and no error: weights for RGB images, where the
    model has other `in_channels`, are folded (for 1) or repeated as by timm; and a model with
    `num_classes=0` leaves the classifier in the file.

    Weights do not tell how a network computes: timm's MobileNetV3 and EfficientNetV2, and its
    EfficientNet from B5 and Lite forms, were trained with `bn_epsilon=1e-5, same_padding=False`,
    those that it calls tf_... with `bn_epsilon=1e-3, same_padding=True`. Create the model so; of a
    repository that says what it holds, `fitting_model` does, and any other is refused.

    Args:
        model: the model.
        source: the path of a `.safetensors`, `.pth`, `.pt`, `.th`, `.bin` or `.npz`, a run
            directory, or "hf:OWNER/REPO".
        new_head: a key, to initialise the classifier with instead of loading it, as for another
            `num_classes`.
        ignore: wildcards for names in the file that are to be left out on purpose, such as
            "aux*".
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        `params`, and `batch_stats` where the model has them, float32, as from `model.init`.

    Raises:
        InputError: the source cannot be read, or is a repository whose weights were trained with
            another `bn_epsilon` or `same_padding` than the model's.
        WeightsMismatch: an InputError that lists what is missing, unexpected or mis-shaped.
    """
    image = default_image_shape(model) if image_shape is None else tuple(image_shape)
    shapes = variable_shapes(model, image)
    state = read_source(source)
    names = {to_name(path): torch_shape(path, shapes[path]) for path in shapes}
    state = to_our_order(translate(state, names))
    placed = place(_without(state, ignore))

    head: set[VariablePath] = set()
    if new_head is not None or getattr(model, "num_classes", None) == 0:
        head = head_paths(model, image)
        placed = {path: entry for path, entry in placed.items() if path not in head}
    if new_head is not None and not head & shapes.keys():
        raise InputError("`new_head` was given, but the model has no classifier: leave it out")
    wanted = {path: shapes[path] for path in shapes if path not in head}

    found = differences(placed, wanted)
    if found["mis_shaped"]:
        placed = _with_adapted_stem(placed, wanted, model, image)
        found = differences(placed, wanted)
    if any(found.values()):
        remedy = _remedy(found, placed, wanted, model, image)
        shown = {"shown": _SHOWN_OF_ANOTHER} if _of_another(found, wanted) else {}
        raise WeightsMismatch(str(source), type(model).__name__, **found, remedy=remedy, **shown)
    check_fields(model, source)

    arrays = {path: _float32(placed[path][1]) for path in wanted}
    if new_head is not None:
        arrays.update(new_variables(model, image, head & shapes.keys(), new_head))
    return jax.device_put(unflatten_dict({path: arrays[path] for path in shapes}))


def _without(state: dict[str, np.ndarray], patterns: Sequence[str]) -> dict[str, np.ndarray]:
    if isinstance(patterns, str):
        raise InputError(f"`ignore` (={patterns!r}) must be a list of wildcards: [{patterns!r}]")
    ignored: set[str] = set()
    for pattern in patterns:
        matching = fnmatch.filter(state, pattern)
        if not matching:
            raise InputError(f"`ignore` (={pattern!r}) matches no name in the file: leave it out")
        ignored.update(matching)
    return {name: array for name, array in state.items() if name not in ignored}


def _with_adapted_stem(
    placed: Placed, shapes: Shapes, model: nn.Module, image: tuple[int, ...]
) -> Placed:
    adapted = dict(placed)
    for path in stem_paths(model, image) & placed.keys() & shapes.keys():
        name, kernel = placed[path]
        if kernel.shape == shapes[path]:
            continue
        folded = adapt_stem(kernel, image[-1])
        if folded is not None:
            adapted[path] = (name, folded)
    return adapted


def _of_another(found: Mapping, shapes: Shapes) -> bool:
    """Tell whether most of a model's variables are not in a file, so that it is of another one."""
    return len(found["missing"]) + len(found["mis_shaped"]) > len(shapes) / 2


def _remedy(
    found: Mapping, placed: Placed, shapes: Shapes, model: nn.Module, image: tuple[int, ...]
) -> str:
    if _of_another(found, shapes):
        name = models.describe_model(model).get("name", "this model")
        return f"they are weights of another architecture than {name}, so name the one they are of"
    hidden = isinstance(model, WithHiddenHead) and not found["mis_shaped"]
    if hidden and all(name.startswith(f"{HIDDEN_HEAD}.") for name in found["missing"]):
        return (
            "the file has no hidden head, and the model has: begin with a new one "
            "(`new_head=jax.random.key(0)`)"
        )
    if not found["missing"] and found["mis_shaped"].keys() == {"pos_embed"}:
        return (
            "the position embedding is for images of another size, which a transformer takes all "
            f"the same, so leave its `image_size` (={model.image_size}) as the weights have it "
            "(`cnn_jax.weights.fitting.fitting_model`)"
        )
    if found["missing"] or found["unexpected"] or not hasattr(model, "num_classes"):
        return "load them into the model that they are of"
    head = head_paths(model, image)
    classifier = {placed[path][0] for path in head if path in placed}
    if not classifier.issuperset(found["mis_shaped"]):
        return "load them into the model that they are of"
    classes = {placed[path][1].shape[-1:] for path in head & placed.keys() & shapes.keys()}
    if len(classes) != 1 or not all(classes):
        return "load them into the model that they are of"
    (there,) = classes.pop()
    return (
        f"the classifier in the file is for {there} classes and the "
        f"model's for {model.num_classes}: begin with a new one (`new_head=jax.random.key(0)`), "
        "or create the model with that `num_classes`"
    )


def _float32(view: np.ndarray) -> np.ndarray:
    """Copy a view, which may be transposed, into an array of its own."""
    array = np.empty(view.shape, np.float32)
    if view.ndim < 2:
        array[...] = view
        return array
    for index in np.ndindex(view.shape[:-2]):
        source, target = view[index], array[index]
        for start in range(0, view.shape[-1], _BLOCK):
            target[:, start : start + _BLOCK] = source[:, start : start + _BLOCK]
    return array
