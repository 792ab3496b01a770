"""Every architecture by name."""

import dataclasses
import fnmatch
import inspect
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from cnn_jax.errors import InputError, nearest
from cnn_jax.models import (
    alexnet,
    cnn1d,
    convnext,
    densenet,
    efficientnet,
    efficientnet_v2,
    googlenet,
    inception_v3,
    lenet,
    mlp,
    mnasnet,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    preact_resnet,
    regnet,
    resnet,
    resnet_cifar,
    shufflenet_v2,
    simple_cnn,
    squeezenet,
    three_block_cnn,
    vgg,
    vit,
)
from cnn_jax.models.hidden_head import WithHiddenHead

VARIANTS = {
    **alexnet.VARIANTS,
    **cnn1d.VARIANTS,
    **convnext.VARIANTS,
    **densenet.VARIANTS,
    **efficientnet.VARIANTS,
    **efficientnet_v2.VARIANTS,
    **googlenet.VARIANTS,
    **inception_v3.VARIANTS,
    **lenet.VARIANTS,
    **mlp.VARIANTS,
    **mnasnet.VARIANTS,
    **mobilenet_v1.VARIANTS,
    **mobilenet_v2.VARIANTS,
    **mobilenet_v3.VARIANTS,
    **preact_resnet.VARIANTS,
    **regnet.VARIANTS,
    **resnet.VARIANTS,
    **resnet_cifar.VARIANTS,
    **shufflenet_v2.VARIANTS,
    **simple_cnn.VARIANTS,
    **squeezenet.VARIANTS,
    **three_block_cnn.VARIANTS,
    **vgg.VARIANTS,
    **vit.VARIANTS,
}


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the models, sorted.

    Args:
        pattern: shell wildcards, matched against the whole name.

    Returns:
        The names; empty where nothing matches.

    >>> list_models("lenet5*")
    ['lenet5', 'lenet5_1998', 'lenet5_unpadded']
    """
    return sorted(fnmatch.filter(VARIANTS, pattern))


def create_model(name: str, **options) -> nn.Module:
    """Build a model by name.

    Args:
        name: one of `list_models()`.
        **options: fields of the module, such as `num_classes` or `dtype` (a type or its name);
            and `head_hidden`, units of a hidden layer before the classifier, which then replaces
            the family's own, and `head_drop_rate`, dropout between the two (`WithHiddenHead`).

    Returns:
        A `flax.linen.Module`: `init(key, images)`, `apply(variables, images, train=False)`.

    Raises:
        InputError: the name or an option is unknown.

    >>> create_model("mlp", num_classes=3).num_classes
    3
    """
    if name not in VARIANTS:
        raise InputError(f"`model` (={name!r}) is not a known model: {nearest(name, VARIANTS)}")
    variant = VARIANTS[name]
    head = {field: options.pop(field) for field in _HEAD_FIELDS if field in options}
    known = [
        field for field in inspect.signature(variant).parameters if field not in _MODULE_FIELDS
    ]
    for option in options:
        if option not in known:
            raise InputError(
                f"`{option}` (={options[option]!r}) is not an option of {name}: "
                f"{nearest(option, [*known, *_HEAD_FIELDS])}"
            )
    if "dtype" in options:
        options["dtype"] = _float_type(options["dtype"])
    model = variant(**options)
    return _with_hidden_head(model, **head) if head else model


def describe_model(model: nn.Module) -> dict:
    """Say how a model can be built again.

    Args:
        model: a module.

    Returns:
        `name` and the options of `create_model` that differ from the variant's own; for a module
        from elsewhere, `class` and its fields.

    >>> describe_model(create_model("lenet5_unpadded", num_classes=3))
    {'name': 'lenet5_unpadded', 'num_classes': 3}
    """
    if isinstance(model, WithHiddenHead):
        backbone = model.backbone.clone(num_classes=model.num_classes)
        head = {name: getattr(model, name) for name in _HEAD_FIELDS}
        return {**describe_model(backbone), **head}
    fields = {
        field.name: getattr(model, field.name)
        for field in dataclasses.fields(model)
        if field.name not in _MODULE_FIELDS
    }
    described = [
        {"name": name, **_overrides(variant, fields)}
        for name, variant in VARIANTS.items()
        if _module_class(variant) is type(model)
    ]
    if not described:
        return {"class": f"{type(model).__module__}.{type(model).__qualname__}", **fields}
    return min(described, key=len)


def _with_hidden_head(
    model: nn.Module, *, head_hidden: int | None = None, head_drop_rate: float = 0.5
) -> WithHiddenHead:
    if head_hidden is None or head_hidden < 1:
        raise InputError(
            f"`head_hidden` (={head_hidden}) must be at least 1, the units that `head_drop_rate` "
            f"(={head_drop_rate}) drops; for the family's own head leave both out"
        )
    if not 0 <= head_drop_rate < 1:
        raise InputError(f"`head_drop_rate` (={head_drop_rate}) must be at least 0 and below 1")
    backbone = model.clone(num_classes=0)
    return WithHiddenHead(backbone, model.num_classes, head_hidden, head_drop_rate)


def _float_type(dtype) -> np.dtype:
    try:
        named = None if dtype is None else jnp.dtype(dtype)  # NumPy's None is float64
    except TypeError:
        named = None
    if named is None or not jnp.issubdtype(named, jnp.floating):
        raise InputError(
            f"`dtype` (={dtype}) must be a floating-point type: float32, bfloat16 or float16"
        )
    return named


def _module_class(variant) -> type[nn.Module]:
    return variant.func if isinstance(variant, partial) else variant


def _overrides(variant, fields: dict) -> dict:
    own = variant()
    changed = {name: value for name, value in fields.items() if value != getattr(own, name)}
    if "dtype" in changed:
        changed["dtype"] = np.dtype(changed["dtype"]).name
    return changed


_MODULE_FIELDS = ("parent", "name")
_HEAD_FIELDS = ("head_hidden", "head_drop_rate")
