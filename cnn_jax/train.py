"""The whole run: from a recipe to a trained, checkpointed and evaluated classifier."""

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import jax
import optax
from tensorboardX import SummaryWriter

from cnn_jax import metrics, parallel, rundir
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.data import Source
from cnn_jax.data.batches import Batch, epochs_done, total_steps, train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.evaluate import Evaluation, evaluate, plots
from cnn_jax.interrupts import Interrupted, Request, stop_requests
from cnn_jax.metrics import Tally
from cnn_jax.progress import Reporter
from cnn_jax.recipe import Recipe, check, describe
from cnn_jax.state import TrainState, init_state
from cnn_jax.steps import make_eval_step, make_train_step, normalize

# Steps that may be under way on the devices before the host waits for the oldest one's metrics.
_STEPS_AHEAD = 8


class Diverged(RuntimeError):
    """The loss of a step is NaN or infinite."""


@dataclass(frozen=True)
class Progress:
    """What the host knows of a run besides the training state; saved with it.

    Attributes:
        epoch: tally since the epoch began.
        window: tally since the last line of the metrics file.
        best_step: step of the checkpoint with the best validation accuracy; None before one.
        best_accuracy: that accuracy.
        seconds: time spent on the run, over all its sittings.
    """

    epoch: Tally = Tally()
    window: Tally = Tally()
    best_step: int | None = None
    best_accuracy: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Result:
    """What a run has come to.

    Attributes:
        workdir: the run directory.
        state: the best state by validation accuracy, or the last one without a validation split.
        test: the evaluation of that state on the test images.
        test_accuracy: its accuracy, 0 to 1.
        figures: what `result.json` holds.
        history: the records of the epochs.
    """

    workdir: Path
    state: TrainState
    test: Evaluation
    figures: dict
    history: list[dict]

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test images, 0 to 1."""
        return self.test.tally.accuracy


@dataclass(frozen=True, eq=False)
class Engine:
    """A recipe made ready: compiled functions and where arrays lie."""

    train_step: Callable[[TrainState, Batch], tuple[TrainState, dict]]
    evaluate: Callable[[dict, Source], Evaluation]
    place: Callable[[Batch], Batch]
    fresh_state: Callable[[], TrainState]
    schedule: optax.Schedule
    total_steps: int


def run(
    recipe: Recipe,
    workdir: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
) -> Result:
    """Train, checkpoint and evaluate.

    Args:
        recipe: what to train, on what, and how.
        workdir: the run directory, made if need be.
        resume: go on with the run that is there, from its latest checkpoint; begin one if none is.
        overwrite: remove the run that is there.
        quiet: print nothing.

    Returns:
        The result.

    Raises:
        InputError: the recipe cannot be run, or the directory belongs to something else; nothing
            is touched then.
        Interrupted: Ctrl-C or SIGTERM came; the state is saved.
        Diverged: the loss is not finite; the checkpoints before are kept.
    """
    began, workdir = time.monotonic(), Path(workdir)
    check(recipe)
    if recipe.normalization is None:
        recipe = replace(recipe, normalization=channel_statistics(recipe.data.train))
    description = {"recipe": describe(recipe), "data": recipe.data.arguments}
    rundir.open_run(workdir, description, resume=resume, overwrite=overwrite)

    engine = make_engine(recipe)
    with (
        stop_requests() as request,
        Checkpoints(workdir / rundir.CHECKPOINTS) as checkpoints,
        Reporter(total_steps=engine.total_steps, quiet=quiet) as reporter,
    ):
        state, progress = engine.fresh_state(), Progress()
        if checkpoints.latest_step is not None:
            state, record = checkpoints.restore(checkpoints.latest_step, state)
            progress = _progress_from(record)
            reporter.say(f"resuming at step {int(state.step):,} of {engine.total_steps:,}")
        journal = _Journal(recipe, engine, workdir, reporter, progress, int(state.step), began)
        with closing(journal):
            state = _train(recipe, engine, state, journal, checkpoints, request)
        best = journal.progress.best_step
        if best is not None and best != int(state.step):
            state, _ = checkpoints.restore(best, state)
    return _conclude(recipe, engine, state, journal, reporter, workdir)


def make_engine(recipe: Recipe) -> Engine:
    """Make a recipe ready to run.

    Args:
        recipe: a checked recipe with its normalization filled in.

    Returns:
        The compiled steps and their surroundings; compilation itself happens at the first call.
    """
    steps = total_steps(recipe.epochs, batch_size=recipe.batch_size, size=len(recipe.data.train))
    schedule = recipe.schedule(steps)
    tx = recipe.optimizer(schedule)
    preprocess = partial(normalize, **asdict(recipe.normalization))
    mesh = parallel.data_mesh(recipe.batch_size)
    whole, split = parallel.replicated(mesh), parallel.split(mesh)
    place = partial(jax.device_put, device=split)
    train_step = jax.jit(
        make_train_step(
            recipe.model, tx, loss=recipe.loss, preprocess=preprocess, augment=recipe.augment
        ),
        donate_argnums=0,
        out_shardings=(whole, whole),
    )
    eval_step = jax.jit(
        make_eval_step(recipe.model, loss=recipe.loss, preprocess=preprocess), out_shardings=whole
    )
    init = partial(init_state, recipe.model, tx, image_shape=recipe.data.image_shape)
    return Engine(
        train_step=train_step,
        evaluate=partial(
            evaluate,
            eval_step,
            # Rounded up to what the devices can share evenly; the last batch is masked anyway.
            batch_size=math.ceil(recipe.eval_batch_size / mesh.size) * mesh.size,
            place=place,
        ),
        place=place,
        fresh_state=lambda: jax.jit(init, out_shardings=whole)(jax.random.key(recipe.seed)),
        schedule=schedule,
        total_steps=steps,
    )


def _train(
    recipe: Recipe,
    engine: Engine,
    state: TrainState,
    journal: "_Journal",
    checkpoints: Checkpoints,
    request: Request,
) -> TrainState:
    """Take the remaining steps."""
    data, batch_size = recipe.data, recipe.batch_size
    epochs_after = partial(epochs_done, batch_size=batch_size, size=len(data.train))

    for step in range(int(state.step) + 1, engine.total_steps + 1):
        batch = train_batch(data.train, recipe.seed, step - 1, batch_size=batch_size)
        state, step_metrics = engine.train_step(state, engine.place(batch))
        journal.note(step, step_metrics)

        ends_epoch = epochs_after(step) > epochs_after(step - 1)
        stopping = request.cause is not None
        if ends_epoch:
            validation = (
                engine.evaluate(state.variables, data.validation) if data.validation else None
            )
            journal.end_epoch(step, epochs_after(step), validation)
        if ends_epoch or stopping or step % (recipe.checkpoint_every or step + 1) == 0:
            journal.settle()
            checkpoints.save(state, journal.record(), best_step=journal.progress.best_step)
        if stopping:
            checkpoints.wait()
            raise Interrupted(request.cause, step, journal.workdir)
    journal.settle()
    return state


def _conclude(
    recipe: Recipe,
    engine: Engine,
    state: TrainState,
    journal: "_Journal",
    reporter: Reporter,
    workdir: Path,
) -> Result:
    """Evaluate on the test images, and write and print what there is to see."""
    data = recipe.data
    test = engine.evaluate(state.variables, data.test)
    history = [record for record in rundir.read_metrics(workdir) if "epoch" in record]
    matrix = metrics.confusion_matrix(data.test.labels, test.predictions, classes=data.num_classes)
    for name, draw in (
        (rundir.CURVES, partial(plots.learning_curves, history)),
        (rundir.CONFUSION, partial(plots.confusion, matrix, data.class_names)),
        (rundir.GALLERY, partial(plots.gallery, data.test, test, data.class_names)),
    ):
        with rundir.replacing(workdir / name) as path:
            draw(path)
    figures = {
        "step": int(state.step),
        "total_steps": engine.total_steps,
        "validation_accuracy": journal.progress.best_accuracy,
        "test_accuracy": test.tally.accuracy,
        "test_loss": test.tally.mean_loss,
        "test_correct": test.tally.correct,
        "test_images": test.tally.count,
        "seconds": journal.seconds(),
        "classes": metrics.per_class(
            data.test.labels, test.predictions, class_names=data.class_names
        ),
        "confusion_matrix": matrix.tolist(),
    }
    rundir.write_json(workdir / rundir.RESULT, figures)
    reporter.result(figures, workdir=workdir)
    return Result(workdir, state, test, figures, history)


class _Journal:
    """Keeps the tallies of a run, and writes them to the metrics file, TensorBoard and terminal."""

    def __init__(
        self,
        recipe: Recipe,
        engine: Engine,
        workdir: Path,
        reporter: Reporter,
        progress: Progress,
        step: int,
        began: float,
    ):
        self.workdir, self.progress = workdir, progress
        self._recipe, self._engine, self._reporter = recipe, engine, reporter
        self._pending: deque[tuple[int, dict]] = deque()
        self._file = rundir.reopen_metrics(workdir, step=step)
        self._events = SummaryWriter(str(workdir / rundir.TENSORBOARD), purge_step=step + 1)
        self._began = began - progress.seconds
        self._last = time.monotonic(), step  # when the last line was written, and at which step
        self._epoch_began = self._last

    def seconds(self) -> float:
        """Time spent on the run, over all its sittings."""
        return time.monotonic() - self._began

    def note(self, step: int, step_metrics: dict) -> None:
        """Take in the metrics of a step, which the devices may not have computed yet."""
        self._pending.append((step, step_metrics))
        if len(self._pending) > _STEPS_AHEAD:
            self._take_oldest()

    def settle(self) -> None:
        """Wait for the metrics of every step noted, and have the disk hold what is written."""
        while self._pending:
            self._take_oldest()
        self._file.flush()
        os.fsync(self._file.fileno())

    def end_epoch(self, step: int, epoch: int, validation: Evaluation | None) -> None:
        """Write the record of an epoch, and judge whether its state is the best so far."""
        self.settle()
        tally = self.progress.epoch
        record = {
            "step": step,
            "epoch": epoch,
            "train_loss": tally.mean_loss,
            "train_accuracy": tally.accuracy,
            "learning_rate": float(self._engine.schedule(step - 1)),
            "images_per_second": self._speed(self._epoch_began, step),
            "seconds": self.seconds(),
        }
        if validation is not None:
            accuracy = validation.tally.accuracy
            record |= {
                "validation_loss": validation.tally.mean_loss,
                "validation_accuracy": accuracy,
            }
            # Of equals the latest: it has seen more images, at a lower learning rate.
            if self.progress.best_accuracy is None or accuracy >= self.progress.best_accuracy:
                self.progress = replace(self.progress, best_step=step, best_accuracy=accuracy)
        self._write(record)
        self._reporter.epoch(record, epochs=self._recipe.epochs)
        self.progress = replace(self.progress, epoch=Tally())
        self._epoch_began = self._last = time.monotonic(), step

    def record(self) -> dict:
        """What to save with a checkpoint."""
        return asdict(replace(self.progress, seconds=self.seconds()))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._events.close()

    def _take_oldest(self) -> None:
        step, values = self._pending.popleft()
        values = jax.device_get(values)
        tally = Tally(float(values["loss"]), int(values["correct"]), int(values["count"]))
        if not math.isfinite(tally.loss):
            raise Diverged(
                f"the loss of step {step} is {tally.loss / tally.count}; the checkpoints before it "
                f"are kept in {self.workdir / rundir.CHECKPOINTS}: lower the learning rate"
            )
        progress = self.progress
        self.progress = replace(
            progress, epoch=progress.epoch + tally, window=progress.window + tally
        )
        if step % self._recipe.log_every == 0:
            self._write_window(step)
        if step == self._last[1] + 1 or step % 10 == 0:
            self._reporter.advance(step, self.progress.window, self._speed(self._last, step))

    def _write_window(self, step: int) -> None:
        tally = self.progress.window
        self._write(
            {
                "step": step,
                "loss": tally.mean_loss,
                "accuracy": tally.accuracy,
                "learning_rate": float(self._engine.schedule(step - 1)),
                "images_per_second": self._speed(self._last, step),
            }
        )
        self.progress = replace(self.progress, window=Tally())
        self._last = time.monotonic(), step

    def _speed(self, since: tuple[float, int], step: int) -> float:
        then, step_then = since
        return (step - step_then) * self._recipe.batch_size / (time.monotonic() - then)

    def _write(self, record: dict) -> None:
        self._file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "step":
                self._events.add_scalar(name, value, record["step"])


def _progress_from(record: dict) -> Progress:
    return Progress(
        **{**record, "epoch": Tally(**record["epoch"]), "window": Tally(**record["window"])}
    )
