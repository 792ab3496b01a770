"""What the stages of a training do, said before they do it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn

from cnn_jax.errors import InputError
from cnn_jax.frozen import Trained
from cnn_jax.models.groups import parameter_groups
from cnn_jax.parameter_rules import ParameterRow
from cnn_jax.transfer import Stage, trained_in
from cnn_jax.weights.shapes import default_image_shape, variable_shapes


@dataclass(frozen=True)
class PlanRow:
    """What a stage does to a group of parameters, or to a part of one.

    Attributes:
        stage: its name.
        epochs: how long it takes.
        group: of `parameter_groups`.
        parameters: how many numbers they are.
        trained: whether they are trained, or frozen.
        learning_rate: the highest of the stage; 0 where frozen.
        statistics: whether the running statistics of its BatchNorm layers "move", "stay", or do
            "both"; "none" where there are none.
    """

    stage: str
    epochs: int
    group: str
    parameters: int
    trained: bool
    learning_rate: float
    statistics: str


@dataclass(frozen=True)
class StagedParameterRow:
    """A line of the table of parameters, as `ParameterRow`, for a stage.

    Attributes:
        stage: its name.
        path: names joined by slashes.
        shape: of the array.
        learning_rate: factor of the learning rate; 0 where frozen.
        decay: coefficient of the weight decay; 0 where there is none.
        frozen: whether it stays as it is.
    """

    stage: str
    path: str
    shape: tuple[int, ...]
    learning_rate: float
    decay: float
    frozen: bool


def plan(
    stages: Sequence[Stage],
    model: nn.Module,
    *,
    highest: Sequence[float] | None = None,
    image_shape: Sequence[int] | None = None,
) -> tuple[PlanRow, ...]:
    """Say what stages train.

    Args:
        stages: the stages.
        model: the network.
        highest: the highest learning rate of each stage's schedule; None for 1, so that the table
            has the factors.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        Rows stage by stage, and in it group by group from the stem to the head; a group has a row
        for each learning rate in it.

    Raises:
        InputError: as `trained_in`.

    >>> from cnn_jax import create_model, transfer
    >>> model = create_model("lenet5", num_classes=3)
    >>> for row in plan(transfer.feature_extraction(2), model):
    ...     print(row.stage, row.group, row.parameters, row.trained, row.learning_rate)
    feature extraction conv1 156 False 0.0
    feature extraction conv2 2416 False 0.0
    feature extraction neck 58284 False 0.0
    feature extraction head 255 True 1.0
    """
    image = default_image_shape(model) if image_shape is None else tuple(image_shape)
    shapes = variable_shapes(model, image)
    sizes = {"/".join(path[1:]): math.prod(s) for path, s in shapes.items() if path[0] == "params"}
    norms = {"/".join(path[1:-1]) for path in shapes if path[0] == "batch_stats"}
    rows = []
    for stage, rate in zip(stages, highest or [1.0] * len(stages), strict=True):
        trained = trained_in(stage, model, image_shape=image)
        for group, paths in parameter_groups(model, image_shape=image).items():
            factors = [trained.factors.get(path, 0.0) for path in paths]
            for factor in dict.fromkeys(factors):
                chosen = [path for path, f in zip(paths, factors, strict=True) if f == factor]
                rows.append(
                    PlanRow(
                        stage=stage.name,
                        epochs=stage.epochs,
                        group=group,
                        parameters=sum(sizes[path] for path in chosen),
                        trained=factor > 0,
                        learning_rate=factor * rate,
                        statistics=_statistics(norms, chosen, trained),
                    )
                )
    return tuple(rows)


def staged_parameters(
    stages: Sequence[Stage],
    rows: Sequence[ParameterRow],
    model: nn.Module,
    *,
    image_shape: Sequence[int] | None = None,
) -> tuple[StagedParameterRow, ...]:
    """Say what the optimizer does to each parameter in each stage.

    Args:
        stages: the stages.
        rows: what it would do without them, `parameter_rules.table_of`.
        model: the network.
        image_shape: of one image, [H, W, C]; as the model's fields say by default.

    Returns:
        The rows, stage by stage.

    Raises:
        InputError: as `trained_in`, or a stage trains what a rule of the optimizer freezes.
    """
    staged = []
    for stage in stages:
        factors = trained_in(stage, model, image_shape=image_shape).factors
        for row in rows:
            factor = factors.get(row.path, 0.0)
            if row.frozen and factor:
                raise InputError(
                    f"`rates` of stage {stage.name!r} train {row.path}, and a rule of the "
                    "optimizer freezes it: leave the rule out"
                )
            staged.append(
                StagedParameterRow(
                    stage=stage.name,
                    path=row.path,
                    shape=row.shape,
                    learning_rate=factor * row.learning_rate,
                    decay=row.decay if factor else 0.0,
                    frozen=not factor,
                )
            )
    return tuple(staged)


def _statistics(norms: set[str], paths: Sequence[str], trained: Trained) -> str:
    """Say what becomes of the running statistics of those layers that have such parameters."""
    found = norms & {path.rpartition("/")[0] for path in paths}
    if not found:
        return "none"
    staying = found & trained.evaluating
    return "move" if not staying else "stay" if staying == found else "both"
