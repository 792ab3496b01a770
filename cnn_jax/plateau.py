"""What to do when a metric no longer improves: lower the learning rate, or stop.

Both are pure functions of a record of numbers, called after each evaluation. A record can be
saved with a checkpoint as JSON, `dataclasses.asdict(state)`, and comes back the same.

    lower=partial(lower_on_plateau, factor=0.5, patience=5)
    stop=partial(stop_early, patience=10)
"""

from dataclasses import dataclass, replace
from typing import Literal

from cnn_jax import ranges
from cnn_jax.errors import InputError

Mode = Literal["min", "max"]


@dataclass(frozen=True)
class Plateau:
    """What `lower_on_plateau` knows.

    Attributes:
        scale: what the learning rate is to be multiplied by.
        best: the best value so far; None before one.
        waited: evaluations since.
        cooldown: evaluations that will yet be passed over.
    """

    scale: float = 1.0
    best: float | None = None
    waited: int = 0
    cooldown: int = 0


@dataclass(frozen=True)
class Stopping:
    """What `stop_early` knows.

    Attributes:
        best: the best value so far; None before one.
        best_step: the step of it, whose parameters are to be restored; None before one.
        waited: evaluations since.
        stop: whether the run is to stop.
    """

    best: float | None = None
    best_step: int | None = None
    waited: int = 0
    stop: bool = False


def lower_on_plateau(
    state: Plateau,
    value: float,
    *,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    relative: bool = True,
    cooldown: int = 0,
    floor: float = 0.0,
    mode: Mode = "min",
) -> Plateau:
    """Take in a value; lower the scale after more than `patience` without a better one.

    Args:
        state: before; `Plateau()` at first.
        value: of the metric; NaN is no improvement.
        factor: what the scale is multiplied by.
        patience: evaluations without improvement that are borne.
        threshold: how much better a value must be to count.
        relative: whether the threshold is a fraction of the best value.
        cooldown: evaluations to pass over after the scale has fallen.
        floor: the lowest scale.
        mode: "min" for a loss, "max" for an accuracy.

    Returns:
        The state after.

    Raises:
        InputError: an option is out of range.

    >>> state = Plateau()
    >>> for loss in (1.0, 2.0, 2.0):
    ...     state = lower_on_plateau(state, loss, factor=0.5, patience=1)
    >>> state.scale
    0.5
    """
    ranges.positive("factor", factor, remedy="choose 0.1 or 0.5")
    ranges.fraction("factor", factor, remedy="choose 0.1 or 0.5")
    ranges.whole("patience", patience, least=0, remedy="10 is usual")
    ranges.whole("cooldown", cooldown, least=0, remedy="0 is none")
    ranges.fraction("floor", floor, with_one=True, remedy="0 is none")
    margin = threshold * (abs(state.best or 0.0) if relative else 1.0)
    better = _better(value, state.best, margin=margin, mode=mode, name="threshold")
    best = float(value) if better else state.best
    waited = 0 if better or state.cooldown else state.waited + 1
    if waited > patience:
        scale = max(state.scale * factor, floor)
        return Plateau(scale=scale, best=best, waited=0, cooldown=cooldown)
    return replace(state, best=best, waited=waited, cooldown=max(state.cooldown - 1, 0))


def stop_early(
    state: Stopping,
    value: float,
    *,
    step: int,
    patience: int = 10,
    min_delta: float = 0.0,
    mode: Mode = "min",
) -> Stopping:
    """Take in a value; ask to stop after `patience` evaluations without a better one.

    Prechelt 1998, "Early stopping - but when?", section 2.2.

    Args:
        state: before; `Stopping()` at first.
        value: of the metric; NaN is no improvement.
        step: of the run, at which the metric was evaluated.
        patience: evaluations without improvement after which to stop.
        min_delta: how much better than the best a value must be to count.
        mode: "min" for a loss, "max" for an accuracy.

    Returns:
        The state after; once it says stop it goes on to.

    Raises:
        InputError: an option is out of range.

    >>> state = Stopping()
    >>> for step, loss in enumerate((1.0, 0.5, 0.6, 0.7)):
    ...     state = stop_early(state, loss, step=step, patience=2)
    >>> state.stop, state.best_step
    (True, 1)
    """
    ranges.whole("patience", patience, remedy="10 is usual")
    if _better(value, state.best, margin=min_delta, mode=mode, name="min_delta"):
        return replace(state, best=float(value), best_step=int(step), waited=0)
    waited = state.waited + 1
    return replace(state, waited=waited, stop=state.stop or waited >= patience)


def keeps_best(value: float, best: float | None, *, mode: Mode) -> bool:
    """Tell whether what has a value is the one to keep: of equals the latest.

    The latest has seen more images, at a lower learning rate.

    Args:
        value: of the metric; what has NaN is never kept.
        best: the value of what is kept; None where nothing is.
        mode: "min" for a loss, "max" for an accuracy.

    Returns:
        Whether it is.

    >>> nan = float("nan")
    >>> keeps_best(0.5, 0.5, mode="min"), keeps_best(nan, None, mode="min")
    (True, False)
    """
    if value != value:
        return False
    return best is None or not (value > best if mode == "min" else value < best)


def _better(value: float, best: float | None, *, margin: float, mode: Mode, name: str) -> bool:
    ranges.not_negative(name, margin, remedy="0 counts every improvement")
    if mode not in ("min", "max"):
        raise InputError(f"`mode` (={mode}) must be min or max: choose max for an accuracy")
    if best is None:
        return value == value  # everything but NaN
    return value < best - margin if mode == "min" else value > best + margin
