"""The whole run: from a recipe to a trained, checkpointed and evaluated classifier."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread

import flax.linen as nn
import jax
import numpy as np
import optax

from cnn_jax import losses, parallel, processes, rundir
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.checks import check_first_steps
from cnn_jax.conclusion import Outcome, final_figures, write_pictures, write_predictions
from cnn_jax.data import Source
from cnn_jax.data.batches import Batch, epochs_done, train_batches
from cnn_jax.data.prefetch import prefetched
from cnn_jax.data.resident import kept_on_device
from cnn_jax.data.statistics import Normalization, channel_statistics
from cnn_jax.environment import command_line, environment
from cnn_jax.evaluate import Evaluation, evaluate
from cnn_jax.evaluate.assessment import as_json
from cnn_jax.full_disk import full_disk_told
from cnn_jax.interrupts import Interrupted, Request, Signals, stop_requests
from cnn_jax.journal import Journal, Progress, progress_from, with_best_of
from cnn_jax.many_steps import dispatches
from cnn_jax.parameter_rules import table_of
from cnn_jax.phases import Phase, highest_rate, joined_schedule, make_phases, phase_of
from cnn_jax.plan import plan, staged_parameters
from cnn_jax.precision import dynamic_loss_scale, with_precision
from cnn_jax.progress import Reporter
from cnn_jax.recipe import Recipe, check, describe
from cnn_jax.state import TrainState, init_state
from cnn_jax.steps import Mix, make_eval_step, make_train_step, normalize, skipping_nonfinite
from cnn_jax.xla_flags import compile_options


@dataclass(frozen=True, eq=False)
class Result:
    """What a run has come to.

    Attributes:
        workdir: the run directory.
        state: the best state by the recipe's metric, or the last one without a validation split.
        outcome: its network, and what that makes of the test and the validation images.
        figures: what `result.json` holds.
        history: the records of the epochs.
    """

    workdir: Path
    state: TrainState
    outcome: Outcome
    figures: dict
    history: list[dict]

    @property
    def test(self) -> Evaluation:
        """The evaluation on the test images."""
        return self.outcome.test

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test images, 0 to 1."""
        return self.test.tally.accuracy


@dataclass(frozen=True, eq=False)
class Engine:
    """A recipe made ready: compiled functions and where arrays lie."""

    model: nn.Module
    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict]]
    evaluate: Callable[..., Evaluation]
    place: Callable[..., Batch]
    agree: Callable[..., tuple[int, ...]]
    fresh_state: Callable[[], TrainState]
    schedule: optax.Schedule
    total_steps: int
    phases: tuple[Phase, ...]

    def state_like(self, step: int) -> TrainState:
        """Make a state of the structure that the run's has after a step."""
        state, phase = self.fresh_state(), phase_of(self.phases, step)
        return state if phase is self.phases[0] else phase.begin(state)


def run(
    recipe: Recipe,
    workdir: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    mode: str = "jit",
    patience: float = 1800.0,
) -> Result:
    """Train, checkpoint and evaluate.

    Several processes that have met (`processes.join`) call this with equal arguments.

    Args:
        recipe: what to train, on what, and how.
        workdir: the run directory, made if need be.
        resume: go on with the run that is there, from its latest sound checkpoint, with damaged
            ones told and set aside; begin one if none is there.
        overwrite: remove the run that is there.
        quiet: print nothing.
        mode: how it lies on the devices, of `parallel.MODES`; a run may be continued in another.
        patience: of several processes, seconds without a step, or an evaluated batch, after which
            each of them ends; the compilation of the first step has as many to itself.

    Returns:
        The result. A process that has lost another of the run does not return, but ends; see
        `processes.ended_together`.

    Raises:
        InputError: the recipe cannot be run, or the directory belongs to something else or is in
            use, or all its checkpoints are damaged; nothing is touched then.
        Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        Diverged: the loss is not finite; the checkpoints before are kept.
        DiskFull: there is no room for what is to be written; the checkpoints before are kept.
    """
    began, workdir = time.monotonic(), Path(workdir)
    check(recipe)
    if recipe.normalization is None:
        found = processes.told_by_first(lambda: asdict(channel_statistics(recipe.data.train)))
        statistics = Normalization(**{name: tuple(values) for name, values in found.items()})
        recipe = replace(recipe, normalization=statistics)
    description = {"recipe": describe(recipe), "data": recipe.data.arguments}
    processes.check_same("recipe", description)
    directory = {"description": description, "resume": resume, "overwrite": overwrite}
    processes.told_by_first(lambda: rundir.check_run(workdir, **directory))
    engine = make_engine(recipe, mode)
    first = engine.phases[0]
    of_run = {"place": partial(engine.place, axis=1)}
    of_run["together"] = len(next(_dispatches(recipe, range(first.last))))
    told = processes.done_by_all(
        lambda: check_first_steps(recipe, first.train_steps, engine.fresh_state(), **of_run)
    )
    opened = rundir.opened_run(workdir, **directory)
    with full_disk_told(workdir), ExitStack() as held:
        processes.told_by_first(lambda: held.enter_context(opened))
        quiet = quiet or not processes.is_first()
        return _run_in(
            workdir, recipe, engine, told,
            began=began, quiet=quiet, mode=mode, patience=patience,
        )  # fmt: skip


def _run_in(
    workdir: Path,
    recipe: Recipe,
    engine: Engine,
    first_batch: str,
    *,
    began: float,
    quiet: bool,
    mode: str,
    patience: float,
) -> Result:
    """Train from the latest sound checkpoint, or from the beginning, and evaluate."""
    with (
        stop_requests() as request,
        Checkpoints(workdir / rundir.CHECKPOINTS) as checkpoints,
        Reporter(total_steps=engine.total_steps, quiet=quiet) as reporter,
        # The last to be entered: to leave the others, the processes would have to meet.
        processes.ended_together(patience=patience) as progressed,
    ):
        state, progress = engine.fresh_state(), Progress()
        latest = checkpoints.recover(reporter.say)
        if latest is not None:
            state, record = checkpoints.restore(latest, engine.state_like(latest))
            progress = progress_from(record)
            steps = checkpoints.steps
            if progress.best_step not in (None, *steps):
                records = processes.told_by_first(lambda: rundir.read_metrics(workdir))
                left = [record for record in records if record["step"] in steps]
                progress = with_best_of(progress, left, monitor=recipe.monitor)
                now = "none yet" if progress.best_step is None else f"step {progress.best_step:,}"
                reporter.say(f"the best checkpoint is lost; of those left the best is {now}")
            reporter.say(f"resuming at step {int(state.step):,} of {engine.total_steps:,}")
        else:
            processes.told_by_first(lambda: _introduce(recipe, engine, state, reporter, workdir))
            reporter.say(f"first batch: {first_batch}")
        processes.told_by_first(lambda: _note_sitting(workdir, int(state.step), mode))
        journal = Journal(
            recipe, engine.schedule, workdir, reporter, progress, step=int(state.step), began=began
        )
        if processes.is_first():
            Thread(target=_import_report, daemon=True).start()
        with closing(journal):
            source = _brought_near(recipe.data.train)
            for phase in engine.phases:
                if int(state.step) >= phase.last:
                    continue
                if phase is not engine.phases[0] and int(state.step) <= phase.first:
                    journal.begin_stage(phase.name)
                    state = phase.begin(state)
                remaining = range(int(state.step), phase.last)
                with closing(_batches(recipe, engine, source, remaining)) as batches:
                    state = _train(
                        recipe, engine, phase, state, batches,
                        journal, checkpoints, request, progressed,
                    )  # fmt: skip
        best, last = journal.progress.best_step, int(state.step)
        checkpoints.wait()
        if best is not None and best != last:
            state, _ = checkpoints.restore(best, engine.state_like(best))
        # One that came when no more steps did; from here on signals have their usual effect.
        if cause := processes.highest(request.cause or 0):
            raise Interrupted(Signals(cause), last, workdir)
    return _conclude(recipe, engine, state, journal, reporter, workdir)


def _note_sitting(workdir: Path, step: int, mode: str) -> None:
    """Write down when, on what and by which command a run is begun or continued."""
    began = datetime.now(UTC).isoformat(timespec="seconds")
    sitting = {"began": began, "step": step, "mode": mode, "command": command_line()}
    rundir.note_sitting(workdir, {**sitting, **environment()})


def make_engine(recipe: Recipe, mode: str = "jit") -> Engine:
    """Make a recipe ready to run.

    Args:
        recipe: a checked recipe with its normalization filled in.
        mode: how it lies on the devices, of `parallel.MODES`.

    Returns:
        The compiled steps and their surroundings; compilation itself happens at the first call.
    """
    model = with_precision(recipe.model, recipe.precision)
    preprocess = partial(normalize, **asdict(recipe.normalization))
    layout = parallel.make_layout(recipe.batch_size, mode)
    mesh, whole = layout.mesh, parallel.replicated(layout.mesh)

    def make_step(**stage) -> Callable:
        step = make_train_step(
            model,
            loss=recipe.loss,
            teacher=recipe.teacher,
            preprocess=preprocess,
            augment=recipe.augment,
            mix=with_soft_labels(recipe.mix, recipe.data.num_classes),
            **stage,
        )
        return skipping_nonfinite(step) if recipe.skip_nonfinite else step

    phases = make_phases(
        recipe,
        layout,
        make_step=make_step,
        init=partial(
            init_state,
            model,
            image_shape=recipe.data.image_shape,
            loss_scale=dynamic_loss_scale() if recipe.precision == "float16" else None,
        ),
    )
    loss = losses.cross_entropy if recipe.teacher else recipe.loss
    eval_step = jax.jit(
        make_eval_step(model, loss=loss, preprocess=preprocess),
        out_shardings=whole,
        compiler_options=compile_options(devices=mesh.size),
    )
    return Engine(
        model=model,
        train_step=phases[0].train_step,
        evaluate=partial(
            evaluate,
            eval_step,
            # Rounded up to what the devices can share evenly; the last batch is masked anyway.
            batch_size=math.ceil(recipe.eval_batch_size / mesh.size) * mesh.size,
            place=partial(parallel.place, mesh=mesh),
            part=processes.own_part(),
        ),
        place=layout.place_batch,
        agree=parallel.make_agreement(mesh),
        fresh_state=phases[0].fresh_state,
        schedule=joined_schedule(phases),
        total_steps=phases[-1].last,
        phases=phases,
    )


def _introduce(
    recipe: Recipe, engine: Engine, state: TrainState, reporter: Reporter, workdir: Path
) -> None:
    """Say what the optimizer does to each parameter."""
    rows = table_of(recipe.optimizer, state.params)
    if recipe.stages:
        options = {"model": recipe.model, "image_shape": recipe.data.image_shape}
        planned = plan(recipe.stages, highest=[*map(highest_rate, engine.phases)], **options)
        rundir.write_table(workdir / rundir.STAGES, planned)
        reporter.plan(planned)
        rows = rows and staged_parameters(recipe.stages, rows, **options)
    elif rows is not None:
        reporter.parameters(rows)
    if rows is not None:
        rundir.write_table(workdir / rundir.PARAMETERS, rows)


def with_soft_labels(mix: Mix | None, classes: int) -> Mix | None:
    """Give a mixer of soft labels the numbers of classes as such; None for None."""
    if mix is None:
        return None
    return lambda key, images, labels: mix(key, images, jax.nn.one_hot(labels, classes))


def _brought_near(source: Source) -> Source:
    """Have the images on the device where they fit."""
    # What several processes put together comes from their hosts.
    return kept_on_device(source) if processes.own_part() == (0, 1) else source


def _batches(
    recipe: Recipe, engine: Engine, source: Source, steps: range
) -> Iterator[tuple[int, Batch]]:
    """Make this process's part of the batches of steps, ahead of them: those of a dispatch at once.

    Yields:
        The last of its steps, counted from 1, and its batches [K, B, ...].
    """
    part, batch_size = processes.own_part(), recipe.batch_size
    read = partial(train_batches, source, recipe.seed, batch_size=batch_size, part=part)

    def make(steps: range) -> tuple[int, Batch]:
        return steps.stop, engine.place(read(steps), axis=1)

    yield from prefetched(make, _dispatches(recipe, steps))


def _dispatches(recipe: Recipe, steps: range) -> Iterator[range]:
    """Cut steps into those that are taken together."""
    return dispatches(
        steps,
        recipe.steps_per_dispatch,
        batch_size=recipe.batch_size,
        size=len(recipe.data.train),
        checkpoint_every=recipe.checkpoint_every,
    )


def _train(
    recipe: Recipe,
    engine: Engine,
    phase: Phase,
    state: TrainState,
    dispatched: Iterator[tuple[int, Batch]],
    journal: Journal,
    checkpoints: Checkpoints,
    request: Request,
    progressed: Callable[[], None],
) -> TrainState:
    """Take the remaining steps of a phase, dispatch by dispatch."""
    data, batch_size = recipe.data, recipe.batch_size
    epochs_after = partial(epochs_done, batch_size=batch_size, size=len(data.train))
    patience, saved = 60 * (recipe.checkpoint_minutes or math.inf), time.monotonic()

    for step, batches in dispatched:
        progressed()
        if journal.progress.stopping.stop:
            break
        state, step_metrics = phase.train_steps(state, batches)
        progressed()
        journal.note(step, step_metrics)

        ends_epoch = epochs_after(step) > epochs_after(step - 1)
        cause, overdue = engine.agree(request.cause or 0, time.monotonic() - saved >= patience)
        if ends_epoch:
            validation = (
                engine.evaluate(state.averaged_variables, data.validation, progressed=progressed)
                if data.validation
                else None
            )
            journal.end_epoch(step, epochs_after(step), validation)
            rate = np.float32(journal.progress.plateau.scale)
            state = state.replace(rate=jax.device_put(rate, state.rate.sharding))
        due = step % (recipe.checkpoint_every or step + 1) == 0
        if ends_epoch or cause or due or overdue:
            saved = time.monotonic()
            journal.settle()
            checkpoints.save(state, journal.record(), best_step=journal.progress.best_step)
        if cause:
            checkpoints.wait()
            raise Interrupted(Signals(cause), step, journal.workdir)
    journal.settle()
    return state


def _import_report() -> None:
    """Import what needs Matplotlib, half a second, while the first steps are compiled."""
    with suppress(Exception):  # where it is needed, it says so
        import_module("cnn_jax.report")


def _conclude(
    recipe: Recipe,
    engine: Engine,
    state: TrainState,
    journal: Journal,
    reporter: Reporter,
    workdir: Path,
) -> Result:
    """Evaluate on the test images, and write and print what there is to see."""
    variables, data = parallel.on_hosts(state.averaged_variables), recipe.data
    outcome = Outcome(
        model=engine.model,
        variables=variables,
        normalization=recipe.normalization,
        data=data,
        test=engine.evaluate(variables, data.test),
        validation=engine.evaluate(variables, data.validation) if data.validation else None,
    )

    def written() -> tuple[dict, list[dict]]:
        from cnn_jax.report import write_report

        figures = {
            "step": int(state.step),
            "total_steps": engine.total_steps,
            "stopped_early": journal.progress.stopping.stop,
            "monitor": recipe.monitor,
            "best": journal.progress.best_value,
            **final_figures(outcome),
            "seconds": journal.seconds(),
        }
        # What was measured is there before anything is drawn of it.
        write_predictions(outcome, workdir / rundir.PREDICTIONS)
        rundir.write_json(workdir / rundir.RESULT, as_json(figures))
        write_pictures(outcome, workdir)
        write_report(workdir, outcome=outcome)
        reporter.result(figures, workdir=workdir)
        return figures, rundir.read_epochs(workdir)

    figures, history = processes.told_by_first(written)
    return Result(workdir, state, outcome, figures, history)
