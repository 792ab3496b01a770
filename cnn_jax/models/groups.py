"""The parameters of a network in groups, from its first layer to its head."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax.models.heads import head_name
from cnn_jax.weights.shapes import default_image_shape, once_a_model, variable_shapes

STEM, NECK, HEAD = "stem", "neck", "head"


class Call(NamedTuple):
    """A module's call in an evaluation.

    Attributes:
        path: of the module, names joined by slashes; "" for the network.
        kind: its class.
        stages: stages that had ended when it began.
    """

    path: str
    kind: type[nn.Module]
    stages: int


def parameter_groups(
    model: nn.Module, *, image_shape: Sequence[int] | None = None
) -> OrderedDict[str, tuple[str, ...]]:
    """Group the parameters of a network by where in it they are.

    The stages are those that `extract_features` returns: a parameter belongs to the first one that
    ends after it is used. What the network does itself tells, in one evaluation without numbers.

    Args:
        model: one of the zoo, or a module of your own.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        Group -> paths of its parameters, in the order of the network: "stem", what comes before
        the blocks of the first stage; the stages by their names; "neck", what comes between the
        last one and the head; and "head", the layers that make the logits, with the auxiliary
        heads that only training uses. Each parameter is in one group, and no group is empty.

    Raises:
        InputError: the model does not say what images it takes.

    >>> from cnn_jax import create_model
    >>> groups = parameter_groups(create_model("efficientnet_lite0"))
    >>> list(groups)[:3], list(groups)[-3:]
    (['stem', 'blocks.0', 'blocks.1'], ['blocks.6', 'neck', 'head'])
    >>> groups["head"]
    ('classifier/bias', 'classifier/kernel')
    """
    image = _image(model, image_shape)
    calls, stages = trace_calls(model, image_shape=image)
    began: dict[str, int] = {}
    for call in calls:
        began.setdefault(call.path, call.stages)
    before = _before_first(calls, stages)
    head = head_name(model, image_shape=image) if getattr(model, "num_classes", 1) else None

    def group(path: str) -> str:
        owner = _owner(path)
        if owner not in began or (head is not None and f"{owner}/".startswith(f"{head}/")):
            return HEAD
        if owner in before:
            return STEM
        return stages[began[owner]] if began[owner] < len(stages) else NECK

    members: dict[str, list[str]] = {name: [] for name in (STEM, *stages, NECK, HEAD)}
    for collection, *names in variable_shapes(model, image):
        if collection == "params":
            path = "/".join(names)
            members[group(path)].append(path)
    return OrderedDict((name, tuple(paths)) for name, paths in members.items() if paths)


def trace_calls(
    model: nn.Module, *, image_shape: Sequence[int] | None = None
) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    """List what a network calls in an evaluation.

    Args:
        model: the network.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The calls of all modules in it, in the order in which they begin, and the stages.
    """
    image = _image(model, image_shape)
    return _traced(model, image)


@once_a_model
def _traced(model: nn.Module, image: tuple[int, ...]) -> tuple[tuple[Call, ...], tuple[str, ...]]:
    calls: list[Call] = []
    root: list[nn.Module] = []
    stages: tuple[str, ...] = ()

    def intercept(call, args, kwargs, context):
        nonlocal stages
        if context.method_name == "setup":
            return call(*args, **kwargs)
        root.append(context.module)
        stages = tuple(flatten_dict(root[0].variables.get("features", {}), sep="."))
        calls.append(Call("/".join(context.module.path), type(context.module), len(stages)))
        result = call(*args, **kwargs)
        stages = tuple(flatten_dict(root[0].variables.get("features", {}), sep="."))
        return result

    def evaluate(variables, images):
        with nn.intercept_methods(intercept):
            return model.apply(variables, images, mutable=["features"])

    variables = unflatten_dict(
        {
            path: jax.ShapeDtypeStruct(shape, jnp.float32)
            for path, shape in variable_shapes(model, image).items()
        }
    )
    jax.eval_shape(evaluate, variables, jax.ShapeDtypeStruct((1, *image), jnp.float32))
    return tuple(calls), stages


def _before_first(calls: Sequence[Call], stages: Sequence[str]) -> set[str]:
    """Find the modules that are called before the blocks of the first stage.

    Blocks are known by the stage's name, "layer1" of "layer1_0/conv1"; the first stage of a network
    that names none so begins with the network.
    """
    first = [call.path.replace("/", ".") for call in calls if call.stages == 0]
    begin = len(first)
    if stages:
        name = re.sub(r"\.(?=\d)", "_", stages[0])
        inside = re.compile(re.escape(name) + r"(_\d|\.).*")
        begin = next((k for k, path in enumerate(first) if inside.fullmatch(path)), 0)
        if name in first[:begin]:  # the stage as a module of its own, with parameters perhaps
            begin = first.index(name)
    return {call.path for call in calls[:begin]}


def _owner(path: str) -> str:
    return path.rpartition("/")[0]


def _image(model: nn.Module, given: Sequence[int] | None) -> tuple[int, ...]:
    return default_image_shape(model) if given is None else tuple(given)
