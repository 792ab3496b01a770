"""What weights want of a network and of its images, beyond the name of their architecture."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import flax.linen as nn

from cnn_jax import models
from cnn_jax.errors import InputError
from cnn_jax.models.mobile_network import MobileNetwork
from cnn_jax.models.vit import VisionTransformer
from cnn_jax.weights import hub
from cnn_jax.weights.pretrained import Preprocessing, default_preprocessing
from cnn_jax.weights.source import read_source, repository

# What timm's mobile networks compute with, by the beginning of their name; the weights are of the
# same names and shapes. The first that matches holds. Of 99 in timm 1.0.31 four are otherwise, of
# other shapes than ours: the pruned ones and mobilenetv3_rw.
_TIMM_FIELDS = (
    ("tf_", {"bn_epsilon": 1e-3, "same_padding": True}),
    ("", {"bn_epsilon": 1e-5, "same_padding": False}),
)
_USUAL = dict(_TIMM_FIELDS)[""]

# timm's names of a preprocessing's fields.
_TIMM_PREPROCESSING = {
    "mean": "mean",
    "std": "std",
    "crop_pct": "crop_fraction",
    "interpolation": "interpolation",
}


def fitting_model(name: str, source: str | Path, **fields) -> nn.Module:
    """Create the model that weights are of, with the fields that the weights decide.

    Of a vision transformer that is `image_size`, for which their position embedding is built; of a
    mobile network `bn_epsilon` and `same_padding`, which differ between timm and torchvision, and
    which repositories of timm tell.

    Args:
        name: of the model.
        source: as for `load_weights`.
        **fields: of the model, as for `create_model`; they go first.

    Returns:
        The model.

    Raises:
        InputError: the model is unknown, the source cannot be read, or a mobile network's fields
            must be given, since the file could be timm's or our own.

    >>> fitting_model("mobilenet_v3_small", "a.safetensors", bn_epsilon=1e-5).bn_epsilon
    1e-05
    """
    model = models.create_model(name, **fields)
    if isinstance(model, VisionTransformer):
        wanted = _built_for(source, model.patch_size)
    elif isinstance(model, MobileNetwork):
        wanted = _mobile_fields(name, model, source, given=fields)
    else:
        return model
    return model.clone(**{field: value for field, value in wanted.items() if field not in fields})


def check_fields(model: nn.Module, source: str | Path) -> None:
    """Require of a mobile network that it computes as the repository of its weights says.

    Args:
        model: the model.
        source: as for `load_weights`.

    Raises:
        InputError: it does not.
    """
    if not isinstance(model, MobileNetwork):
        return
    wanted = _timm_fields(source)
    if any(getattr(model, field) != value for field, value in wanted.items()):
        there = {field: getattr(model, field) for field in wanted}
        raise InputError(
            f"{source} was trained with {_listed(wanted)}, and the model has {_listed(there)}: "
            "create the model with the former"
        )


def fitting_preprocessing(
    name: str, source: str | Path, model: nn.Module, **known
) -> Preprocessing:
    """Say how photographs are prepared for weights.

    Args:
        name: of the model.
        source: as for `load_weights`.
        model: the model, of which the size of the images is taken where nothing else tells it.
        **known: fields of `Preprocessing`, which go first; of one channel for grey.

    Returns:
        What timm's configuration says of a repository (its test-time size and its other ways to
        crop are not followed), and for the rest `default_preprocessing`; with a warning where
        the cache has the weights alone and the hub cannot be reached.

    Raises:
        InputError: a field is out of range, or nothing is known about the model's images.

    >>> model = fitting_model("resnet18", "a.safetensors")
    >>> str(fitting_preprocessing("resnet18", "a.safetensors", model, size=(160, 160)))
    '160x160, crop 0.875, bicubic, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225'
    """
    try:
        fields = {**_told(source), **known}
        if len(fields.get("mean", ())) == 1 and hasattr(model, "image_size"):
            size = (model.image_size, model.image_size)
            return Preprocessing(**{"size": size, "crop_fraction": 1.0, **fields})
        return replace(default_preprocessing(name, model), **fields)
    except TypeError as error:
        raise InputError(
            f"{source} says in no known form how images are prepared ({error}): download the "
            "weights, and say it yourself (--mean, --std)"
        ) from error


def _built_for(source: str | Path, patch_size: int) -> dict[str, int]:
    state = read_source(source)
    embedding = state.get("pos_embed", state.get("encoder.pos_embedding"))
    if embedding is None or embedding.ndim != 3:
        return {}
    side = math.isqrt(max(embedding.shape[1] - 1, 0))
    return {"image_size": side * patch_size} if 1 + side**2 == embedding.shape[1] else {}


def _mobile_fields(
    name: str, model: MobileNetwork, source: str | Path, *, given: dict
) -> dict[str, Any]:
    wanted = _timm_fields(source)
    own = {field: getattr(models.create_model(name), field) for field in _USUAL}
    if wanted or own == _USUAL or _USUAL.keys() & given.keys() or Path(source).is_dir():
        return wanted
    if "conv_stem.weight" in read_source(source):
        raise InputError(
            f"`weights` (={source}) have timm's names, which do not tell how {name} normalises and "
            "pads: say --bn-epsilon 1e-5 --even-padding for weights of timm, --bn-epsilon 1e-3 "
            "--same-padding for those that it calls tf_..., and for cnn_jax's own "
            f"--bn-epsilon {own['bn_epsilon']:g} "
            f"{'--same-padding' if own['same_padding'] else '--even-padding'}"
        )
    return {}


def _timm_fields(source: str | Path) -> dict[str, Any]:
    name = repository(source)
    architecture = hub.configuration(name).get("architecture") if name is not None else None
    if not isinstance(architecture, str):
        return {}
    return next(fields for start, fields in _TIMM_FIELDS if architecture.startswith(start))


def _told(source: str | Path) -> dict[str, Any]:
    name = repository(source)
    said = hub.configuration(name) if name is not None else {}
    fields = {
        ours: tuple(said[theirs]) if isinstance(said[theirs], list) else said[theirs]
        for theirs, ours in _TIMM_PREPROCESSING.items()
        if said.get(theirs) is not None
    }
    size = said.get("input_size")  # channels, height, width
    return {**fields, "size": tuple(size[1:])} if size else fields


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(f"`{field}={value}`" for field, value in fields.items())
