"""The journal of a run: its tallies, its metrics file, and what they lead to."""

import json
import math
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import jax
import numpy as np
import optax

from cnn_jax import processes, rundir
from cnn_jax.data.batches import batch_positions
from cnn_jax.evaluate import Evaluation
from cnn_jax.events import figure, open_events
from cnn_jax.metrics import Tally
from cnn_jax.plateau import Plateau, Stopping, keeps_best
from cnn_jax.progress import Reporter
from cnn_jax.recipe import Recipe, chance_loss, monitor_mode

# Dispatches that may be under way on the devices before the host waits for the oldest's metrics: as
# many as are done in so many seconds, since a run that is asked to stop waits for all of them.
_MOST_AHEAD, _SECONDS_AHEAD = 8, 0.2
# What a line of the metrics file says of its last step, besides the means since the line before.
_OF_THE_STEP = ("gradient_norm", "update_norm", "loss_scale")


class Diverged(RuntimeError):
    """The loss of a step is NaN or infinite, or so is its gradient where no more can be done."""


@dataclass(frozen=True)
class Progress:
    """What the host knows of a run besides the training state; saved with it.

    Attributes:
        epoch: tally since the epoch began.
        window: tally since the last line of the metrics file.
        best_step: step of the checkpoint that is the best by the recipe's metric; None before one.
        best_value: that metric there.
        plateau: what lowers the learning rate knows.
        stopping: what ends the run early knows.
        seconds: time spent on the run, over all its sittings.
        skipped: steps left out because their loss or gradient was not finite.
        untaken: steps of this stage that the optimizer has not taken, those and the overflows of
            float16: its schedule does not count them.
    """

    epoch: Tally = Tally()
    window: Tally = Tally()
    best_step: int | None = None
    best_value: float | None = None
    plateau: Plateau = field(default_factory=Plateau)
    stopping: Stopping = field(default_factory=Stopping)
    seconds: float = 0.0
    skipped: int = 0
    untaken: int = 0


def progress_from(record: dict) -> Progress:
    """Rebuild what `Journal.record` gave, as JSON brings it back."""
    parts = {"epoch": Tally, "window": Tally, "plateau": Plateau, "stopping": Stopping}
    return Progress(**{**record, **{name: make(**record[name]) for name, make in parts.items()}})


def with_best_of(progress: Progress, records: Iterable[dict], *, monitor: str) -> Progress:
    """Take the best of some epochs for the best, where what was the best is lost.

    Args:
        progress: where the run stands.
        records: those epochs' records in the metrics file; of equals the latest is the best.
        monitor: the metric.

    Returns:
        The progress, with no best where no epoch has that metric.

    >>> records = [{"step": 6, "train_loss": 0.5}, {"step": 12, "train_loss": 0.7}]
    >>> with_best_of(Progress(best_step=9), records, monitor="train_loss").best_step
    6
    """
    sign = -1 if monitor_mode(monitor) == "min" else 1
    values = [(sign * record[monitor], record["step"]) for record in records if monitor in record]
    value, step = max(values, default=(None, None))
    return replace(progress, best_step=step, best_value=value if value is None else sign * value)


class Journal:
    """Keeps the tallies of a run, and writes them to the metrics file, TensorBoard and terminal."""

    def __init__(
        self,
        recipe: Recipe,
        schedule: optax.Schedule,
        workdir: Path,
        reporter: Reporter,
        progress: Progress,
        *,
        step: int,
        began: float,
    ):
        """Open the journal of a run that goes on from a step.

        Args:
            recipe: of the run.
            schedule: step -> learning rate.
            workdir: the run directory.
            reporter: what speaks on the terminal.
            progress: where the run stands.
            step: steps taken.
            began: when this sitting did, on the monotonic clock.
        """
        self.workdir, self.progress = workdir, progress
        self._recipe, self._schedule, self._reporter = recipe, schedule, reporter
        self._pending: deque[tuple[int, dict]] = deque()
        # Every process judges by the figures; the first one's files are the run's.
        self._discarded = None if processes.is_first() else tempfile.TemporaryDirectory()
        files = Path(self._discarded.name) if self._discarded else workdir
        self._file = rundir.reopen_metrics(files, step=step)
        self._events = open_events(files / rundir.TENSORBOARD, step=step + 1)
        self._ahead, self._taken = 1, time.monotonic()
        self._counted = step  # by the schedule, before the last step
        self._began = began - progress.seconds
        self._last = time.monotonic(), step  # when the last line was written, and at which step
        self._epoch_began = self._done = self._last

    def seconds(self) -> float:
        """Time spent on the run, over all its sittings."""
        return time.monotonic() - self._began

    def note(self, step: int, step_metrics: dict) -> None:
        """Take in the metrics of the steps of a dispatch, which may not be computed yet.

        Args:
            step: the last of them, counted from 1.
            step_metrics: of `many_steps`, [K, ...] each.

        Raises:
            Diverged: the loss of a step before is not finite.
        """
        self._pending.append((step, step_metrics))
        while len(self._pending) > self._ahead:
            self._take_oldest()
            taken = time.monotonic()
            # The same in several processes, which end at the same step if one is not finite.
            if processes.own_part() == (0, 1):
                ahead = _SECONDS_AHEAD / max(taken - self._taken, 1e-6)
                self._ahead = int(np.clip(ahead, 1, min(_MOST_AHEAD, self._ahead + 1)))
            self._taken = taken

    def settle(self) -> None:
        """Wait for the metrics of every step noted, and have the disk hold what is written."""
        while self._pending:
            self._take_oldest()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._events.flush()

    def end_epoch(self, step: int, epoch: int, validation: Evaluation | None) -> None:
        """Write the record of an epoch, and judge what follows from it.

        Args:
            step: steps taken.
            epoch: epochs done.
            validation: the evaluation on the validation images, where there are any.
        """
        self.settle()
        tally = self.progress.epoch
        record = {
            "step": step,
            "epoch": epoch,
            "train_loss": tally.mean_loss,
            "train_accuracy": tally.accuracy,
            "learning_rate": self._learning_rate(),
            "images_per_second": self._speed(self._epoch_began, (time.monotonic(), step)),
            "seconds": self.seconds(),
        }
        if validation is not None:
            record |= {
                "validation_loss": validation.tally.mean_loss,
                "validation_accuracy": validation.tally.accuracy,
            }
        self._write(record)
        self._reporter.epoch(record, epochs=self._recipe.epochs)
        self._judge(record)
        self.progress = replace(self.progress, epoch=Tally())
        self._epoch_began = self._last = self._done = time.monotonic(), step

    def begin_stage(self, name: str) -> None:
        """Begin a stage, in which a plateau and the end of patience are judged anew."""
        self.progress = replace(self.progress, plateau=Plateau(), stopping=Stopping(), untaken=0)
        self._reporter.say(f"stage: {name}")

    def record(self) -> dict:
        """What to save with a checkpoint, of JSON's types."""
        return asdict(replace(self.progress, seconds=self.seconds()))

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        self._events.close()
        if self._discarded:
            self._discarded.cleanup()

    def _judge(self, record: dict) -> None:
        """Say whether the epoch is the best, whether to lower the learning rate, and to stop."""
        recipe, progress, step = self._recipe, self.progress, record["step"]
        value, mode = record.get(recipe.monitor), monitor_mode(recipe.monitor)
        if value is None:  # no validation images: the last state is the one to keep
            return
        if keeps_best(value, progress.best_value, mode=mode):
            progress = replace(progress, best_step=step, best_value=value)
        if recipe.plateau:
            progress = replace(progress, plateau=recipe.plateau(progress.plateau, value, mode=mode))
        if recipe.stopping:
            stopping = recipe.stopping(progress.stopping, value, step=step, mode=mode)
            progress = replace(progress, stopping=stopping)
        metric, scale = recipe.monitor.replace("_", " "), progress.plateau.scale
        if scale != self.progress.plateau.scale:
            self._reporter.say(
                f"{metric} is on a plateau: the learning rate is {scale:.3g} times the schedule's"
            )
        if progress.stopping.stop:
            self._reporter.say(
                f"stopping early: no better {metric} in {progress.stopping.waited} epochs"
            )
        self.progress = progress

    def _take_oldest(self) -> None:
        last, together = self._pending.popleft()
        together = jax.device_get(together)
        began, count = self._done[0], len(together["loss"])
        each = (time.monotonic() - began) / count
        for k in range(count):
            # When those before the last were done is not known: at equal intervals, say.
            self._done = began + (k + 1) * each, last - count + k + 1
            self._take(self._done[1], {name: values[k] for name, values in together.items()})

    def _take(self, step: int, values: dict) -> None:
        self._counted = step - 1 - self.progress.untaken
        tally = Tally(float(values["loss"]), int(values["correct"]), int(values["count"]))
        if not math.isfinite(tally.loss) or values.get("skipped", False):
            self._skip_or_end(step, tally, values["finite"])
            tally = Tally()
        if step == 1 and tally.count:
            self._reporter.say(
                f"first loss {tally.mean_loss:.4f}; a uniform guess has "
                f"{chance_loss(self._recipe):.4f}"
            )
        progress = self.progress
        self.progress = replace(
            progress,
            epoch=progress.epoch + tally,
            window=progress.window + tally,
            untaken=progress.untaken + (not tally.count),
        )
        if step == self._last[1] + 1 or step % 10 == 0:
            self._reporter.advance(step, self.progress.window, self._speed(self._last, self._done))
        if step % self._recipe.log_every == 0:
            self._write_window(step, {n: float(values[n]) for n in _OF_THE_STEP if n in values})

    def _skip_or_end(self, step: int, tally: Tally, finite: np.ndarray) -> None:
        found, limit = self._found(step, tally, finite), self._recipe.skip_nonfinite
        if self.progress.skipped >= limit:
            skipped = f" after {limit} steps were skipped" if limit else ""
            raise Diverged(
                f"{found}{skipped}; the checkpoints before it are kept in "
                f"{self.workdir / rundir.CHECKPOINTS}: lower the learning rate, or look at these "
                "images where they are few"
            )
        self.progress = replace(self.progress, skipped=self.progress.skipped + 1)
        self._reporter.say(f"skipped ({self.progress.skipped} of {limit}): {found}")

    def _found(self, step: int, tally: Tally, finite: np.ndarray) -> str:
        """Say what is not finite, and which images it comes from."""
        recipe = self._recipe
        # In float16 the loss of the step is NaN then as well, and those of its images are finite.
        if math.isfinite(tally.loss) or finite.all():
            return f"the gradient of step {step} is not finite"
        ids, _ = batch_positions(
            recipe.seed, step - 1, batch_size=recipe.batch_size, size=len(recipe.data.train)
        )
        culprits = ids[~finite].tolist()
        shown = ", ".join(str(position) for position in culprits[:8])
        more = f" and {len(culprits) - 8} more" if len(culprits) > 8 else ""
        which = f", from the training images at {shown}{more}" if culprits else ""
        return f"the loss of step {step} is {tally.loss / tally.count}{which}"

    def _write_window(self, step: int, of_the_step: dict) -> None:
        tally = self.progress.window
        self._write(
            {
                "step": step,
                "loss": tally.mean_loss,
                "accuracy": tally.accuracy,
                "learning_rate": self._learning_rate(),
                "images_per_second": self._speed(self._last, self._done),
                **of_the_step,
            }
        )
        self.progress = replace(self.progress, window=Tally())
        self._last = self._done

    def _learning_rate(self) -> float:
        return float(self._schedule(self._counted)) * self.progress.plateau.scale

    def _speed(self, since: tuple[float, int], until: tuple[float, int]) -> float:
        seconds, steps = until[0] - since[0], until[1] - since[1]
        return steps * self._recipe.batch_size / max(seconds, 1e-9)  # a clock may be coarse

    def _write(self, record: dict) -> None:
        # What is not finite comes of a step that overflowed in float16; JSON has no word for it.
        record = {name: value for name, value in record.items() if math.isfinite(value)}
        self._file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            if name != "step":
                self._events.write_event(figure(name, value, step=record["step"]))
