"""Many runs of one recipe in one compiled program, for the mean and deviation over seeds."""

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from cnn_jax import ranges
from cnn_jax.data import Source
from cnn_jax.data.batches import Batch, epochs_done, train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.errors import InputError
from cnn_jax.layers.many_kernels import fast_over_kernels
from cnn_jax.metrics import Tally
from cnn_jax.plateau import Plateau, Stopping, keeps_best
from cnn_jax.progress import percent
from cnn_jax.recipe import Recipe, check, monitor_mode
from cnn_jax.state import TrainState
from cnn_jax.train import Engine, make_engine
from cnn_jax.xla_flags import compile_options

# Steps that may be under way on the devices before the host waits for the oldest one's metrics.
_STEPS_AHEAD = 8


@dataclass(frozen=True)
class OneRun:
    """The figures of one run among many.

    Attributes:
        seed: of the run.
        learning_rate: its highest.
        step: of the state that is kept.
        validation: losses and correct predictions of that state on the validation images; None
            where there are none.
        test: the same on the test images.
        diverged: the first step with a loss that is not finite, or the first beyond the recipe's
            `skip_nonfinite`; None for none.
    """

    seed: int
    learning_rate: float
    step: int
    validation: Tally | None
    test: Tally
    diverged: int | None = None


@dataclass(frozen=True, eq=False)
class ManyResult:
    """What many runs have come to.

    Attributes:
        runs: the figures of each.
        states: the states that are kept, as one with a leading axis: the best by the recipe's
            metric, or the last ones without a validation split.
        seconds: time for all, compilation and evaluation included.
        compiling: the seconds of them that the training step took to compile.
    """

    runs: tuple[OneRun, ...]
    states: TrainState
    seconds: float
    compiling: float


def run_many(
    recipe: Recipe,
    *,
    seeds: Sequence[int],
    learning_rates: Sequence[float] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> ManyResult:
    """Train a small model many times over in one compiled program, and evaluate each.

    Each run is the one that `cnn_jax.run` makes of the recipe with that seed: the same
    initialisation, order of images, augmentation, dropout and choice of the best epoch; equal up
    to rounding. Nothing is written. A run that diverges, or stops early, leaves the others alone.

    Args:
        recipe: what to train, on what, and how; its own seed is not used, nor are its
            `steps_per_dispatch`: one step of all runs is a dispatch.
        seeds: of the runs.
        learning_rates: to make a run of each seed with each of these as its highest learning
            rate, the schedule in shape as it is; None for the recipe's own.
        say: takes a line after each epoch, such as `print`.

    Returns:
        The figures and the states of the runs, learning rate by learning rate.

    Raises:
        InputError: the recipe cannot be run, there is no seed or no learning rate, one comes
            twice, or one is out of range.
    """
    began = time.monotonic()
    _check(recipe, seeds, learning_rates)
    if recipe.normalization is None:
        recipe = replace(recipe, normalization=channel_statistics(recipe.data.train))
    engine = make_engine(recipe)
    highest = _highest_rate(engine)
    pairs = [(int(seed), float(rate)) for rate in learning_rates or [highest] for seed in seeds]
    factors = np.array([rate / highest for _, rate in pairs], np.float32)
    states = _fresh_states(recipe, [seed for seed, _ in pairs], factors)

    batches = partial(_batches, recipe, [seed for seed, _ in pairs])
    # What it was compiled from: inside of another program JAX takes no compile options.
    step = jax.vmap(engine.train_step.__wrapped__)
    compiling = time.monotonic()
    step = jax.jit(fast_over_kernels(step), donate_argnums=0, compiler_options=compile_options())
    step = step.lower(states, batches(0)).compile()
    compiling = time.monotonic() - compiling

    states, records = _train(recipe, engine, step, batches, states, say)
    tests = _evaluate(engine, states, recipe.data.test)
    runs = tuple(
        OneRun(*pair, record.kept_step, record.validation, test, record.diverged)
        for pair, record, test in zip(pairs, records, tests, strict=True)
    )
    return ManyResult(runs, states, time.monotonic() - began, compiling)


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float]:
    """Compute the mean and the standard deviation of a sample (with n - 1); NaN where undefined.

    >>> mean_and_deviation([0.5, 0.75, 1.0])
    (0.75, 0.25)
    """
    values = list(values)
    return (
        statistics.mean(values) if values else math.nan,
        statistics.stdev(values) if len(values) > 1 else math.nan,
    )


def table(result: ManyResult) -> Table:
    """Lay runs out for `rich.console.Console.print`.

    Args:
        result: of `run_many`.

    Returns:
        A row for each run, and the mean and deviation over the seeds of each learning rate, of the
        runs that did not diverge.
    """
    validated = any(run.validation for run in result.runs)
    figures_of = partial(_figures, validated=validated)
    rows = Table(
        title=f"{len(result.runs)} runs in one program: {result.seconds:.1f} s, "
        f"{result.compiling:.1f} s of them to compile",
        title_justify="left",
    )
    headings = ("step", *(["validation accuracy"] * validated), "test accuracy", "test loss")
    for heading in ("learning rate", "seed", *headings):
        rows.add_column(heading, justify="left" if heading == "seed" else "right")
    for rate in dict.fromkeys(run.learning_rate for run in result.runs):
        runs = [run for run in result.runs if run.learning_rate == rate]
        for run in runs:
            step = f"{run.step:,}" if run.diverged is None else f"diverged at {run.diverged:,}"
            rows.add_row(f"{rate:.3g}", str(run.seed), step, *_shown(figures_of(run)))
        sound = [run for run in runs if run.diverged is None]
        if len(sound) > 1:
            of = "" if len(sound) == len(runs) else f" of {len(sound)}"
            pairs = [
                mean_and_deviation(column) for column in zip(*map(figures_of, sound), strict=True)
            ]
            for name, figures in zip(("mean", "deviation"), zip(*pairs, strict=True), strict=True):
                rows.add_row("", name + of, "", *_shown(figures), style="bold")
        rows.add_section()
    return rows


@dataclass(frozen=True)
class _Record:
    """What the host knows of a run."""

    epoch: Tally = Tally()
    kept_step: int | None = None
    kept_value: float | None = None
    validation: Tally | None = None
    plateau: Plateau = field(default_factory=Plateau)
    stopping: Stopping = field(default_factory=Stopping)
    diverged: int | None = None
    skipped: int = 0

    @property
    def over(self) -> bool:
        return self.stopping.stop or self.diverged is not None


def _check(recipe: Recipe, seeds: Sequence[int], learning_rates: Sequence[float] | None) -> None:
    given = (
        {"seeds": seeds}
        if learning_rates is None
        else {"seeds": seeds, "learning_rates": learning_rates}
    )
    for name, values in given.items():
        if not len(values) or len(set(values)) < len(values):
            raise InputError(
                f"`{name}` (={list(values)}) must be one or more, all different: leave out what "
                "comes twice"
            )
    for seed in seeds:
        ranges.whole("seeds", seed, least=0, remedy="count from 0")
    for rate in learning_rates or ():
        ranges.positive("learning_rates", rate, remedy="0.001 is usual for Adam")
    if recipe.stages:
        raise InputError(
            f"`stages` (={len(recipe.stages)} stages) must be (): many runs in one program have "
            "one stage, so run those in stages one after the other"
        )
    check(replace(recipe, seed=int(max(seeds))))


def _highest_rate(engine: Engine) -> float:
    rates = jax.vmap(lambda step: jnp.asarray(engine.schedule(step), jnp.float32))(
        jnp.arange(engine.total_steps)
    )
    return float(rates.max())


def _fresh_states(recipe: Recipe, seeds: Sequence[int], factors: np.ndarray) -> TrainState:
    """Initialise the state of each run, as one with a leading axis."""

    def fresh(run: tuple[jax.Array, jax.Array]) -> TrainState:
        seed, factor = run
        state = make_engine(replace(recipe, seed=seed)).fresh_state()
        return state.replace(rate=factor * state.rate)

    # In a loop: vectorised, the drawing of numbers takes three times as long to compile.
    runs = np.array(seeds, np.uint32), factors
    return jax.jit(lambda runs: jax.lax.map(fresh, runs))(runs)


def _batches(recipe: Recipe, seeds: Sequence[int], step: int) -> Batch:
    """Read the batch of a step for each run, as one with a leading axis."""
    read = partial(train_batch, recipe.data.train, step=step, batch_size=recipe.batch_size)
    by_seed = {seed: read(seed=seed) for seed in dict.fromkeys(seeds)}
    return jax.tree.map(lambda *arrays: np.stack(arrays), *(by_seed[seed] for seed in seeds))


def _train(
    recipe: Recipe,
    engine: Engine,
    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict]],
    batches: Callable[[int], Batch],
    states: TrainState,
    say: Callable[[str], None],
) -> tuple[TrainState, list[_Record]]:
    """Take the steps; return the states to keep, and what is known of each run."""
    data = recipe.data
    epochs_after = partial(epochs_done, batch_size=recipe.batch_size, size=len(data.train))
    factors = np.array(states.rate)  # a copy, since the first step takes the state's memory
    records, kept, pending = [_Record()] * len(factors), None, deque()

    for step in range(1, engine.total_steps + 1):
        states, metrics = train_step(states, batches(step - 1))
        pending.append((step, metrics))
        ends_epoch = epochs_after(step) > epochs_after(step - 1)
        while len(pending) > (0 if ends_epoch else _STEPS_AHEAD):
            records = _counted(records, *pending.popleft(), limit=recipe.skip_nonfinite)
        if not ends_epoch:
            continue
        validations = _evaluate(engine, states, data.validation)
        say(_line(recipe, epochs_after(step), records, validations))
        records = [
            _judged(recipe, record, step, validation)
            for record, validation in zip(records, validations, strict=True)
        ]
        better = np.array([record.kept_step == step for record in records])
        kept = _chosen(better, states, states if kept is None else kept)
        scales = np.array([record.plateau.scale for record in records], np.float32)
        states = states.replace(rate=jax.device_put(factors * scales, states.rate.sharding))
        if all(record.over for record in records):
            break
    unjudged = np.array([record.kept_step is None for record in records])
    return _chosen(unjudged, states, kept), [
        replace(record, kept_step=step) if record.kept_step is None else record
        for record in records
    ]


def _counted(records: list[_Record], step: int, metrics: dict, *, limit: int) -> list[_Record]:
    """Take in the metrics of a step, of which so many may have been skipped in a run."""
    names = ("loss", "correct", "count", *({"skipped"} & set(metrics)))
    each = jax.device_get({name: metrics[name] for name in names})
    after = []
    for k, record in enumerate(records):
        tally = Tally(float(each["loss"][k]), int(each["correct"][k]), int(each["count"][k]))
        if not math.isfinite(tally.loss) or ("skipped" in each and each["skipped"][k]):
            if not record.over:
                more = record.skipped >= limit
                change = {"diverged": step} if more else {"skipped": record.skipped + 1}
                record = replace(record, **change)
            tally = Tally()
        after.append(replace(record, epoch=record.epoch + tally))
    return after


def _judged(recipe: Recipe, record: _Record, step: int, validation: Tally | None) -> _Record:
    """Say whether the epoch is a run's best, whether to lower its rate, and to stop it."""
    figures = {"train": record.epoch, "validation": validation}
    split, metric = recipe.monitor.split("_")
    tally, mode = figures[split], monitor_mode(recipe.monitor)
    record = replace(record, epoch=Tally())
    if tally is None or record.over:
        return record
    value = tally.accuracy if metric == "accuracy" else tally.mean_loss
    if keeps_best(value, record.kept_value, mode=mode):
        record = replace(record, kept_step=step, kept_value=value, validation=validation)
    if recipe.plateau:
        record = replace(record, plateau=recipe.plateau(record.plateau, value, mode=mode))
    if recipe.stopping:
        stopping = recipe.stopping(record.stopping, value, step=step, mode=mode)
        record = replace(record, stopping=stopping)
    return record


def _evaluate(engine: Engine, states: TrainState, source: Source | None) -> list[Tally | None]:
    """Evaluate each run; the forward pass alone is fast one by one."""
    if source is None:
        return [None] * len(states.step)
    variables = (_variables(states, index) for index in range(len(states.step)))
    return [engine.evaluate(one, source).tally for one in variables]


@jax.jit
def _variables(states: TrainState, index: int) -> dict:
    """Take what a run is evaluated with out of all of them."""
    return jax.tree.map(itemgetter(index), states).averaged_variables


@jax.jit
def _chosen(first: jax.Array, states: TrainState, others: TrainState) -> TrainState:
    """Take each run from `states` where `first` [runs] is true, else from `others`."""
    return jax.vmap(lambda here, *trees: jax.tree.map(partial(jnp.where, here), *trees))(
        first, states, others
    )


def _line(recipe: Recipe, epoch: int, records: list[_Record], tallies: list[Tally | None]) -> str:
    losses = [record.epoch.mean_loss for record in records if not record.over]
    parts = [f"epoch {epoch:>{len(str(recipe.epochs))}}/{recipe.epochs}"]
    for name, values, show in (
        ("train loss", losses, "{:.4f}".format),
        ("validation accuracy", [tally.accuracy for tally in tallies if tally], percent),
    ):
        if values:
            mean, deviation = mean_and_deviation(values)
            parts.append(f"{name} {show(mean)}" + f" +- {show(deviation)}" * (len(values) > 1))
    return "  ".join(parts)


def _figures(run: OneRun, *, validated: bool) -> list[float]:
    """The figures that a row of the table shows, from the accuracies to the loss."""
    before = [(run.validation or Tally()).accuracy] if validated else []
    return [*before, run.test.accuracy, run.test.mean_loss]


def _shown(figures: Sequence[float]) -> list[str]:
    *accuracies, loss = figures
    return [*map(percent, accuracies), f"{loss:.4f}"]
