"""The head of a network, the layer that makes its logits: its name, its input, another one."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax import layers
from cnn_jax.errors import InputError
from cnn_jax.models.hidden_head import NAME, HiddenHead, WithHiddenHead
from cnn_jax.weights.shapes import (
    default_image_shape,
    head_paths,
    new_variables,
    once_a_model,
    variable_shapes,
)

Path = tuple[str, ...]


def head_name(model: nn.Module, *, image_shape: Sequence[int] | None = None) -> str:
    """Find the last layer with parameters on the way to the logits.

    The network is traced in evaluation, where auxiliary heads are not computed.

    Args:
        model: one of the zoo, or a module of your own.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The path of the layer among the parameters, such as "fc", "classifier" or "head/fc"; of a
        hidden head, that of the whole.

    Raises:
        InputError: the model has no classifier, or does not say what images it takes.

    >>> from cnn_jax import create_model
    >>> [head_name(create_model(name)) for name in ("resnet18", "convnext_tiny", "squeezenet1_1")]
    ['fc', 'head/fc', 'classifier_1']
    """
    return "/".join(_head(model, _image_shape(model, image_shape)).path)


def embed(model: nn.Module, variables: dict, images: jax.Array) -> jax.Array:
    """Compute the features that the head classifies, in evaluation; the head is not computed.

    Args:
        model: one of the zoo, or a module of your own.
        variables: its parameters and statistics.
        images: [N, H, W, C].

    Returns:
        [N, D]: the input of the layer `head_name(model)`, averaged over the positions where that
        layer is a convolution.

    Raises:
        InputError: the model has no classifier.

    >>> from cnn_jax import create_model
    >>> model, images = create_model("resnet20_cifar"), jnp.ones((2, 32, 32, 3))
    >>> features = jax.eval_shape(
    ...     lambda key: embed(model, model.init(key, images), images), jax.random.key(0)
    ... )
    >>> features.shape
    (2, 64)
    """
    path = _head(model, images.shape[1:]).path

    def intercept(call, args, kwargs, context):
        if context.method_name == "__call__" and context.module.path == path:
            raise _HeadReached(args[0])
        return call(*args, **kwargs)

    try:
        with nn.intercept_methods(intercept):
            model.apply(variables, images)
    except _HeadReached as reached:
        features = reached.features
    return features.mean(axis=range(1, features.ndim - 1)) if features.ndim > 2 else features


def replace_head(
    model: nn.Module,
    variables: dict,
    key: jax.Array,
    *,
    num_classes: int,
    hidden: int | None = None,
    drop_rate: float = 0.5,
    zero: bool = False,
    image_shape: Sequence[int] | None = None,
) -> tuple[nn.Module, dict]:
    """Give a network a new head, for other classes.

    Without `hidden`, it is the family's own with other outputs; so are auxiliary heads. With it,
    it is Dense-ReLU-Dropout-Dense, and auxiliary heads are left out.

    With `zero`, all classes are equally probable at first, as in Kolesnikov et al. 2020, "Big
    Transfer": families draw for their 1,000 classes, and with few some begin far from that (of
    EfficientNet-Lite0 with ten, logits up to 18).

    Args:
        model: one of the zoo, or a module of your own with a field `num_classes`, for which 0
            leaves the classifier out.
        variables: its parameters and statistics.
        key: random key of the new head.
        num_classes: outputs of the new head, at least 1.
        hidden: units of the hidden layer; None for none.
        drop_rate: dropout after the hidden layer.
        zero: whether the layer that makes the logits begins at 0; not where a ReLU follows it, as
            in SqueezeNet, through which it would get no gradient.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The new network, which `describe_model` describes, and its variables: the new ones drawn
        as the family draws them, all others those given.

    Raises:
        InputError: the model has no `num_classes`, a number is out of range, or the variables are
            not those of the model, or not for images of the shape that is said.

    >>> from cnn_jax import create_model, models
    >>> model = create_model("resnet20_cifar")
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> model, variables = replace_head(model, variables, jax.random.key(1), num_classes=2)
    >>> variables["params"]["linear"]["kernel"].shape
    (64, 2)
    >>> models.describe_model(model)
    {'name': 'resnet20_cifar', 'num_classes': 2}
    """
    _check(model, num_classes, hidden, drop_rate)
    image = _image_shape(model, image_shape)
    backbone = model.backbone if isinstance(model, WithHiddenHead) else model
    if hidden is None:
        new = backbone.clone(num_classes=num_classes)
    else:
        new = WithHiddenHead(backbone.clone(num_classes=0), num_classes, hidden, drop_rate)
    fresh = _fresh(new, image, key)
    if zero and _head(new, image).direct:
        fresh = _with_zeros(fresh)
    flat = flatten_dict(dict(variables))
    shapes = variable_shapes(new, image)
    kept = shapes.keys() - fresh.keys()
    absent = sorted(kept - flat.keys())
    if absent:
        raise InputError(
            f"`variables` lack {'/'.join(absent[0])} and {len(absent) - 1} more of the model's: "
            "pass those of this model"
        )
    for path in sorted(kept):
        # The size that a model's fields say may be another than that of its images.
        if image_shape is not None and flat[path].shape != shapes[path]:
            raise InputError(
                f"`variables` have {'/'.join(path)} of shape {flat[path].shape}, and the model "
                f"needs {shapes[path]} for images of shape {image}: take images of the size that "
                "it was trained at"
            )
    arrays = {path: flat[path] for path in kept} | fresh
    return new, unflatten_dict(dict(sorted(arrays.items())))


class FeatureHead(nn.Module):
    """The head of a network as a network of its own, which classifies what `embed` gives.

    Attributes:
        layer: the layer of the network.
        drop_rate: the dropout that precedes it there.
    """

    layer: nn.Module
    drop_rate: float = 0.0

    def setup(self):
        """Give the parameters the names that they have in the layer."""
        nn.share_scope(self, self.layer)

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, D] to logits [N, num_classes]."""
        # Named, since the layer may have a dropout of its own.
        drop = layers.Dropout(self.drop_rate, deterministic=not train, name="before")
        options = {"train": train} if isinstance(self.layer, HiddenHead) else {}
        return self.layer(drop(features), **options)


def feature_head(model: nn.Module, *, image_shape: Sequence[int] | None = None) -> FeatureHead:
    """Take the head out of a network, to train it on features that were computed once.

    Its parameters are `get_head` of the network's variables, and `put_head` brings them back. On
    `embed(model, variables, images)` its logits are those of the network.

    Args:
        model: one of the zoo, or a module of your own.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The head, with the dropout before it.

    Raises:
        InputError: something follows the last layer with parameters, so that it alone does not
            make the logits, as in SqueezeNet, where averages of a convolution do.

    >>> from cnn_jax import create_model
    >>> head = feature_head(create_model("efficientnet_lite0", num_classes=3, drop_rate=0.2))
    >>> head.drop_rate, head.apply(head.init(jax.random.key(0), jnp.ones((1, 8))), jnp.ones((5, 8))
    ... ).shape
    (0.2, (5, 3))
    """
    head = _head(model, _image_shape(model, image_shape))
    if not head.direct:
        raise InputError(
            f"`model` (={type(model).__name__}) computes its logits from the outputs of "
            f"{'/'.join(head.path)}, which is not the last step, so features alone do not train "
            "it: train the whole network, or give it a hidden layer (`replace_head(hidden=512)`)"
        )
    return FeatureHead(head.layer, head.drop_rate)


def get_head(
    model: nn.Module, variables: dict, *, image_shape: Sequence[int] | None = None
) -> dict:
    """Look up the parameters of the head.

    Args:
        model: the network.
        variables: its parameters and statistics.
        image_shape: as for `head_name`.

    Returns:
        The parameters, such as `kernel` [D, num_classes] and `bias` [num_classes].

    Raises:
        InputError: the variables are not those of the model.
    """
    params = variables["params"]
    for name in _head(model, _image_shape(model, image_shape)).path:
        if name not in params:
            raise InputError(f"`variables` lack {name} of the head: pass those of this model")
        params = params[name]
    return params


def put_head(
    model: nn.Module,
    variables: dict,
    head: dict,
    *,
    image_shape: Sequence[int] | None = None,
) -> dict:
    """Put parameters in the place of the head's.

    Args:
        model: the network.
        variables: its parameters and statistics.
        head: parameters of the same shapes as the head's.
        image_shape: as for `head_name`.

    Returns:
        The variables, with the parameters of the head replaced and all others those given.

    Raises:
        InputError: names or shapes are other than the head's.
    """
    there = get_head(model, variables, image_shape=image_shape)
    shapes = [
        {"/".join(path): leaf.shape for path, leaf in sorted(flatten_dict(dict(tree)).items())}
        for tree in (there, head)
    ]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"`head` (={shapes[1]}) must have the names and shapes of the network's ({shapes[0]})"
        )
    path = ("params", *_head(model, _image_shape(model, image_shape)).path)
    flat = flatten_dict(dict(variables))
    flat.update({(*path, *name): leaf for name, leaf in flatten_dict(dict(head)).items()})
    return unflatten_dict(flat)


class _HeadReached(Exception):
    """Ends an evaluation where the head would begin.

    Attributes:
        features: the head's input.
    """

    def __init__(self, features: jax.Array):
        super().__init__()
        self.features = features


def _image_shape(model: nn.Module, given: Sequence[int] | None) -> tuple[int, ...]:
    return default_image_shape(model) if given is None else tuple(given)


class _Head(NamedTuple):
    """What a trace tells of a head.

    Attributes:
        path: of the layer.
        layer: a copy, bound to no variables.
        features: shape of its input for one image.
        drop_rate: of the dropout whose output is its input.
        direct: whether its output is the logits.
    """

    path: Path
    layer: nn.Module
    features: tuple[int, ...]
    drop_rate: float
    direct: bool


def _head(model: nn.Module, image: tuple[int, ...]) -> _Head:
    if getattr(model, "num_classes", None) == 0:
        raise InputError(
            f"`model` (={type(model).__name__}) has `num_classes` (=0) and so no head: create it "
            "with as many classes as there are"
        )
    return _traced(model, image)


@once_a_model
def _traced(model: nn.Module, image: tuple[int, ...]) -> _Head:
    head, output, dropped, rate = None, None, None, 0.0

    def intercept(call, args, kwargs, context):
        nonlocal head, output, dropped, rate
        if context.method_name != "__call__" or not context.module.path:
            return call(*args, **kwargs)
        module, path = context.module, context.module.path
        if isinstance(module, layers.Dropout | nn.Dropout):
            dropped, rate = call(*args, **kwargs), module.rate
            return dropped
        within = head is not None and path[: len(head.path)] == head.path
        if within or not _is_layer(module):
            return call(*args, **kwargs)
        before = rate if args[0] is dropped else 0.0
        layer = module.clone(parent=None, name=None)
        head = _Head(path, layer, args[0].shape[1:], before, False)
        result = call(*args, **kwargs)
        if head.path == path:
            output = result
        return result

    def is_direct(variables, images):
        nonlocal head
        logits = model.apply(variables, images)
        head = head and head._replace(direct=logits is output)

    shapes = variable_shapes(model, image)
    variables = unflatten_dict(
        {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    )
    with nn.intercept_methods(intercept):
        jax.eval_shape(is_direct, variables, jax.ShapeDtypeStruct((1, *image), jnp.float32))
    if head is None:
        raise InputError(f"`model` (={type(model).__name__}) has no layer with parameters")
    return head


def _is_layer(module: nn.Module) -> bool:
    """Whether a module has parameters of its own, and not only those of modules inside."""
    own = module.variables.get("params", {}).values()
    return isinstance(module, HiddenHead) or any(map(_is_array, own))


def _is_array(value) -> bool:
    return hasattr(value, "shape")


def _fresh(model: nn.Module, image: tuple[int, ...], key: jax.Array) -> dict[Path, jax.Array]:
    """Initialise the head, and those auxiliary ones that depend on `num_classes`."""
    head = _head(model, image)
    drawn = jax.jit(head.layer.init)(key, jnp.zeros((1, *head.features)))["params"]
    fresh = {("params", *head.path, *path): leaf for path, leaf in flatten_dict(drawn).items()}
    if isinstance(model, WithHiddenHead):
        return fresh
    others = head_paths(model, image) - fresh.keys()
    return fresh | (new_variables(model, image, others, key) if others else {})


def _with_zeros(fresh: dict[Path, jax.Array]) -> dict[Path, jax.Array]:
    """Set to zero what makes logits: all that is new but a hidden layer."""
    hidden = ("params", NAME, "fc1")
    return {
        path: leaf if path[: len(hidden)] == hidden else jnp.zeros_like(leaf)
        for path, leaf in fresh.items()
    }


def _check(model: nn.Module, num_classes: int, hidden: int | None, drop_rate: float) -> None:
    if not hasattr(model, "num_classes"):
        raise InputError(
            f"`model` (={type(model).__name__}) has no `num_classes`, so its head cannot be told "
            "from the rest: give it that field, 0 of which leaves the classifier out"
        )
    for name, value in (("num_classes", num_classes), ("hidden", hidden)):
        if value is not None and value < 1:
            raise InputError(f"`{name}` (={value}) must be at least 1")
    if not 0 <= drop_rate < 1:
        raise InputError(f"`drop_rate` (={drop_rate}) must be at least 0 and below 1")
