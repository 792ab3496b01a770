"""Transfer learning: stages of a training as data, and the usual sequences of them.

Stages are joined as the tuples that they are:

    stages = feature_extraction(2) + fine_tuning(model, 8)
    run(staged(recipe, stages, initial=variables), workdir)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

import flax.linen as nn
import jax
import optax

from cnn_jax import layers, ranges
from cnn_jax.errors import InputError
from cnn_jax.frozen import Trained
from cnn_jax.gradients import Optimizer
from cnn_jax.models.groups import HEAD, NECK, parameter_groups, trace_calls
from cnn_jax.parameter_rules import by_path
from cnn_jax.weights.shapes import default_image_shape, variable_shapes

STATISTICS = ("trained", "all", "none")


@dataclass(frozen=True)
class Stage:
    """A part of a training: what is trained, how fast, for how long.

    What `rates` does not name is frozen: it has no gradient and nothing in the optimizer, and stays
    as it is to the bit. A frozen part works as in evaluation, so that it computes the same features
    whenever it sees the same image: without dropout and stochastic depth, and by default with the
    running statistics of its BatchNorm.

    Attributes:
        name: what to call it.
        epochs: how long it takes.
        rates: (name, factor of the learning rate) of what is trained; a name is a group of
            `parameter_groups` or a path of parameters, and may have wildcards; the first that
            matches a parameter holds for it. A factor of 0 freezes.
        statistics: which BatchNorm layers use a batch's statistics and move the running ones:
            "trained", those that have a trained parameter; "all"; or "none".

    >>> Stage("all but the stem", 5, (("stem", 0.0), ("head", 1.0), ("*", 0.1))).statistics
    'trained'
    """

    name: str
    epochs: int
    rates: tuple[tuple[str, float], ...]
    statistics: str = "trained"


def feature_extraction(epochs: int) -> tuple[Stage, ...]:
    """Train a head on features that stay as they are.

    Donahue et al. 2014, "DeCAF", section 3.

    Args:
        epochs: how long.

    Returns:
        The one stage.

    >>> feature_extraction(3)[0].rates
    (('head', 1.0),)
    """
    return (Stage("feature extraction", epochs, ((HEAD, 1.0),)),)


def fine_tuning(
    model: nn.Module,
    epochs: int,
    *,
    head: float = 1.0,
    last: float = 0.1,
    before: float = 0.01,
    image_shape: Sequence[int] | None = None,
) -> tuple[Stage, ...]:
    """Train everything, the slower the nearer it is to the image.

    Yosinski et al. 2014, "How transferable are features in deep neural networks?", section 4.1:
    first layers are general, last ones specific.

    Args:
        model: the network.
        epochs: how long.
        head: factor of the head's learning rate.
        last: of the last stage's, and of what follows it before the head.
        before: of everything before.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The one stage.

    Raises:
        InputError: the model does not say what images it takes.

    >>> from cnn_jax import create_model
    >>> fine_tuning(create_model("resnet20_cifar"), 3)[0].rates
    (('head', 1.0), ('layer3', 0.1), ('layer2', 0.01), ('layer1', 0.01), ('stem', 0.01))
    """
    groups = _from_the_head(model, image_shape)
    stages = [name for name in groups if name not in (HEAD, NECK)]
    factors = dict.fromkeys(stages, before) | dict.fromkeys(stages[:1], last)
    factors |= {HEAD: head, NECK: last}
    return (Stage("fine-tuning", epochs, tuple((name, factors[name]) for name in groups)),)


def layer_wise_decay(
    model: nn.Module,
    epochs: int,
    *,
    decay: float = 0.75,
    image_shape: Sequence[int] | None = None,
) -> tuple[Stage, ...]:
    """Train everything, each group slower than the one after it by the same factor.

    Clark et al. 2020, "ELECTRA", section 3.1 and appendix A; the groups of a vision transformer are
    its blocks, those of a convolutional network its stages.

    Args:
        model: the network.
        epochs: how long.
        decay: factor of a group's learning rate, from the head (1) down.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The one stage.

    Raises:
        InputError: the decay is not above 0 and at most 1, or the model does not say what images
            it takes.

    >>> from cnn_jax import create_model
    >>> layer_wise_decay(create_model("lenet5"), 3, decay=0.5)[0].rates
    (('head', 1.0), ('neck', 0.5), ('conv2', 0.25), ('conv1', 0.125))
    """
    _check_decay(decay)
    groups = _from_the_head(model, image_shape)
    rates = tuple((name, decay**depth) for depth, name in enumerate(groups))
    return (Stage("layer-wise decay", epochs, rates),)


def gradual_unfreezing(
    model: nn.Module,
    epochs: int,
    *,
    decay: float = 1 / 2.6,
    groups: int | None = None,
    image_shape: Sequence[int] | None = None,
) -> tuple[Stage, ...]:
    """Train the head, and then from stage to stage one more group before it.

    Howard and Ruder 2018, "Universal Language Model Fine-tuning", sections 3.2 (the rates, 1 / 2.6
    a layer) and 3.3.

    Args:
        model: the network.
        epochs: how long each stage takes.
        decay: factor of a group's learning rate, from the head (1) down.
        groups: stages, and groups that the last one trains; None for all.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The stages.

    Raises:
        InputError: the decay is not above 0 and at most 1, there are not so many groups, or the
            model does not say what images it takes.

    >>> from cnn_jax import create_model
    >>> for stage in gradual_unfreezing(create_model("lenet5"), 1, decay=0.5, groups=2):
    ...     print(stage.name, stage.rates)
    head (('head', 1.0),)
    head to neck (('head', 1.0), ('neck', 0.5))
    """
    _check_decay(decay)
    names = _from_the_head(model, image_shape)
    count = len(names) if groups is None else groups
    if not isinstance(count, int) or not 1 <= count <= len(names):
        raise InputError(
            f"`groups` (={groups}) must be from 1 to the {len(names)} groups of the model, "
            f"{', '.join(names)}: leave it out for all"
        )
    rates = tuple((name, decay**depth) for depth, name in enumerate(names))
    return tuple(
        Stage(names[0] if k == 1 else f"{names[0]} to {names[k - 1]}", epochs, rates[:k])
        for k in range(1, count + 1)
    )


def trained_in(
    stage: Stage, model: nn.Module, *, image_shape: Sequence[int] | None = None
) -> Trained:
    """Say which part of a network a stage trains.

    Args:
        stage: the stage.
        model: the network.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        What `make_train_step` and `init_state` take.

    Raises:
        InputError: a name matches nothing, nothing is trained, a factor is negative, or
            `statistics` is none of `STATISTICS`.

    >>> from cnn_jax import create_model
    >>> model = create_model("lenet5", num_classes=3)
    >>> trained_in(feature_extraction(1)[0], model).factors
    {'fc3/bias': 1.0, 'fc3/kernel': 1.0}
    """
    image = default_image_shape(model) if image_shape is None else tuple(image_shape)
    groups = parameter_groups(model, image_shape=image)
    _check_stage(stage, groups)
    factors = {}
    for group, paths in groups.items():
        for path in paths:
            factor = next((f for name, f in stage.rates if _names(name, group, path)), 0.0)
            if factor:
                factors[path] = float(factor)
    if not factors:
        raise InputError(
            f"`rates` (={stage.rates}) of stage {stage.name!r} train nothing: name one of its "
            f"groups, {', '.join(groups)}"
        )
    owners = {path.rpartition("/")[0] for path in factors}
    return Trained(
        factors, _norms_evaluating(stage, model, image, owners) | _dropout_off(model, image, owners)
    )


def with_factors(optimizer: Optimizer, factors: Mapping[str, float]) -> Optimizer:
    """Give each parameter its own factor of the learning rate.

    Args:
        optimizer: learning rate -> the optimizer; of a partial of a function around another one,
            as `averaging.ema` is, the one inside takes the factors, so that what is around sees
            the steps as they are taken.
        factors: path of each parameter that it will be given -> factor. Rules of `by_path` for
            others are left out.

    Returns:
        The function of a learning rate.

    >>> import jax.numpy as jnp
    >>> tx = with_factors(optax.sgd, {"head/bias": 1.0, "stem/bias": 0.5})(1.0)
    >>> gradients = {"head": {"bias": jnp.ones(1)}, "stem": {"bias": jnp.ones(1)}}
    >>> updates, _ = tx.update(gradients, tx.init(gradients))
    >>> updates["stem"]["bias"], updates["head"]["bias"]
    (Array([-0.5], dtype=float32), Array([-1.], dtype=float32))
    """
    given = getattr(optimizer, "keywords", {})
    if getattr(optimizer, "func", None) is by_path:
        rules = given.get("rules", ())
        holding = {next((r for r in rules if fnmatchcase(p, r.pattern)), None) for p in factors}
        optimizer = partial(optimizer, rules=tuple(rule for rule in rules if rule in holding))
    elif "optimizer" in given:
        return partial(optimizer, optimizer=with_factors(given["optimizer"], factors))
    return partial(_multiplied, optimizer=optimizer, factors=factors)


def _multiplied(
    learning_rate: optax.ScalarOrSchedule, *, optimizer: Optimizer, factors: Mapping[str, float]
) -> optax.GradientTransformationExtraArgs:
    """Multiply the steps of an optimizer, each parameter's by its factor."""

    def multiply(updates):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * factors[_joined(path)], updates
        )

    inner = optax.with_extra_args_support(optimizer(learning_rate))
    return optax.chain(inner, optax.stateless(lambda updates, _: multiply(updates)))


def _joined(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _from_the_head(model: nn.Module, image_shape: Sequence[int] | None) -> list[str]:
    return list(reversed(parameter_groups(model, image_shape=image_shape)))


def _names(name: str, group: str, path: str) -> bool:
    return fnmatchcase(group, name) or fnmatchcase(path, name)


def _norms_evaluating(
    stage: Stage, model: nn.Module, image: tuple[int, ...], owners: set[str]
) -> frozenset[str]:
    """Find the normalisations that keep to their running statistics; `owners` are trained."""
    norms = {
        "/".join(path[1:-1]) for path in variable_shapes(model, image) if path[0] == "batch_stats"
    }
    evaluating = {"trained": norms - owners, "all": set(), "none": norms}[stage.statistics]
    for call in trace_calls(model, image_shape=image)[0]:
        if call.path in evaluating and not issubclass(call.kind, layers.BatchNorm):
            raise InputError(
                f"`statistics` (={stage.statistics!r}) of stage {stage.name!r} would freeze those "
                f"of {call.path}, which is a {call.kind.__module__}.{call.kind.__qualname__}: make "
                "it a cnn_jax.layers.BatchNorm, or choose 'all'"
            )
    return frozenset(evaluating)


def _dropout_off(model: nn.Module, image: tuple[int, ...], owners: set[str]) -> frozenset[str]:
    """Find the dropout in frozen modules, and in the others what comes before a frozen layer."""
    calls, _ = trace_calls(model, image_shape=image)
    shapes = variable_shapes(model, image)
    parametrised = {"/".join(path[1:-1]) for path in shapes if path[0] == "params"}

    def frozen(module: str) -> bool:
        return not any(f"{owner}/".startswith(f"{module}/") for owner in owners)

    off = set()
    for position, call in enumerate(calls):
        if not issubclass(call.kind, layers.Dropout):
            continue
        around = call.path.rpartition("/")[0]
        inside = f"{around}/" if around else ""
        following = (
            later.path
            for later in calls[position:]
            if later.path in parametrised and later.path.startswith(inside)
        )
        if (around and frozen(around)) or next(following, None) not in (*owners, None):
            off.add(call.path)
    return frozenset(off)


def _check_stage(stage: Stage, groups: Mapping[str, Sequence[str]]) -> None:
    ranges.whole(f"epochs of stage {stage.name}", stage.epochs, remedy="leave the stage out")
    if stage.statistics not in STATISTICS:
        raise InputError(
            f"`statistics` (={stage.statistics!r}) of stage {stage.name!r} must be one of "
            f"{', '.join(STATISTICS)}"
        )
    for name, factor in stage.rates:
        ranges.not_negative(f"rates of {name}", factor, remedy="0 freezes")
        if not any(_names(name, group, path) for group, paths in groups.items() for path in paths):
            raise InputError(
                f"`rates` of stage {stage.name!r} name {name!r}, which is no group of the model "
                f"and no path of its parameters: its groups are {', '.join(groups)}"
            )


def _check_decay(decay: float) -> None:
    ranges.positive("decay", decay, remedy="0.75 is usual")
    ranges.fraction("decay", decay, with_one=True, remedy="0.75 is usual")
