"""Checkpoints of the training state: asynchronous, the last ones and the best.

    12/  18/     a checkpoint each, by its step, with a manifest of its files
    scrap/       what is being written or removed, of no worth when nobody is at it
    damaged/     checkpoints that no longer agree with their manifest, set aside

A checkpoint is written in `scrap` while training goes on, and moved out of it when all of it and
its manifest are on disk; it is moved back there to be removed. So whatever has a step for its name
has been whole, whenever the process was killed. Orbax restores flipped bytes without an error;
nothing is restored here that does not agree with its manifest.

Of several processes each writes its part of a checkpoint, to a folder that all of them see, and
the first does everything else. They call the same methods in the same order.
"""

import logging
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from cnn_jax import processes
from cnn_jax.averaging import averaged
from cnn_jax.errors import InputError
from cnn_jax.manifest import damage, write_manifest
from cnn_jax.state import TrainState

_SCRAP, _DAMAGED = "scrap", "damaged"

# Orbax logs what goes wrong with tracebacks, from several threads, and raises it as well.
logging.getLogger("absl").setLevel(logging.CRITICAL)


def steps_in(directory: Path) -> list[int]:
    """List the steps of the checkpoints in a directory, the latest last; none in one not there."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


class Checkpoints:
    """The checkpoints of one run, each a training state and a small record in JSON.

    The two latest are kept, and what was the best at each of them. Reading touches nothing.
    """

    def __init__(self, directory: Path):
        """Open the checkpoints in a directory, which the first one makes."""
        self._directory = Path(directory).absolute()
        self._checkpointer = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._background = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._saving: Future | None = None
        self._writes = False
        self._best_at: dict[int, int | None] = {}

    def save(self, state: TrainState, record: dict, *, best_step: int | None) -> None:
        """Begin to save a state; returns when the arrays are copied and may be donated.

        Args:
            state: the state; its step names the checkpoint.
            record: of JSON's types, saved with it.
            best_step: the step of the checkpoint to keep as the best; None for none yet.

        Raises:
            OSError: this checkpoint or the one before cannot be written. Orbax raises other
                errors, too.
        """
        self.wait()
        if not self._writes:
            self._writes = True
            self._remove_scrap()
        step = int(state.step)
        self._best_at[step] = best_step
        self._checkpointer.save(
            self._directory / _SCRAP / str(step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
            ),
        )
        self._saving = self._background.submit(self._complete, step)

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints, the latest last."""
        return processes.told_by_first(partial(steps_in, self._directory))

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint; None where there is none."""
        return max(self.steps, default=None)

    def recover(self, say: Callable[[str], None]) -> int | None:
        """Find the latest sound checkpoint, and set aside those that are damaged.

        For a run that goes on, and not for those who only read it.

        Args:
            say: is told of each that is damaged, and why.

        Returns:
            The step; None where no checkpoint has been made.

        Raises:
            InputError: there are checkpoints, and all are damaged; nothing is moved then.
        """
        return processes.told_by_first(partial(self._recover, say))

    def _recover(self, say: Callable[[str], None]) -> int | None:
        self._remove_scrap()
        steps = steps_in(self._directory)
        damaged = {step: why for step in steps if (why := self._damage(step))}
        if damaged and len(damaged) == len(steps):
            reasons = "; ".join(f"of step {step}, {why}" for step, why in damaged.items())
            raise InputError(
                f"every checkpoint in {self._directory} is damaged ({reasons}): put a copy of one "
                "in its place, or begin the run anew (--overwrite)"
            )
        for step, why in damaged.items():
            place = self._set_aside(step)
            say(f"the checkpoint of step {step:,} is damaged ({why}): it is now {place}")
        return max(steps_in(self._directory), default=None)

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict]:
        """Restore the checkpoint of a step.

        Args:
            step: its step.
            abstract: a state, or `jax.ShapeDtypeStruct`s in its place, that tells structure,
                shapes, types and devices.

        Returns:
            The state and the record.

        Raises:
            InputError: the checkpoint is not there, is damaged, or is not of such a state.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, abstract)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), record=ocp.args.JsonRestore()
        )
        restored = self._restore(step, args)
        self._best_at[step] = restored.record.get("best_step")
        return restored.state, restored.record

    def restore_variables(self, step: int) -> dict:
        """Restore what `model.apply` takes, knowing nothing of the model or the optimizer.

        Args:
            step: the step of the checkpoint.

        Returns:
            `params`, averaged where the optimizer kept an average, and `batch_stats`.

        Raises:
            InputError: the checkpoint is not there, or is damaged.
        """
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = self._restore(step, args).state
        return {
            "params": averaged(state["params"], state["opt_state"]),
            "batch_stats": state["batch_stats"] or {},
        }

    def restore_record(self, step: int) -> dict:
        """Restore the record saved with the checkpoint of a step.

        Raises:
            InputError: the checkpoint is not there, or is damaged.
        """
        return self._restore(step, ocp.args.Composite(record=ocp.args.JsonRestore())).record

    def wait(self) -> None:
        """Wait until what has been saved is on disk; raises what came of it."""
        saving, self._saving = self._saving, None
        if saving is not None:
            processes.told_by_first(saving.result)
            saving.result()

    def close(self) -> None:
        """Wait until all is on disk, or has failed to come there; for no other process."""
        try:
            if self._saving is not None:
                self._saving.result()
            self._checkpointer.close()
        finally:
            self._background.shutdown()
            if self._writes:
                self._remove_scrap()

    def _complete(self, step: int) -> None:
        """Bring a checkpoint to its place once Orbax has written it, and then remove older ones."""
        self._checkpointer.wait_until_finished()
        if not processes.is_first():
            return
        written = self._directory / _SCRAP / str(step)
        write_manifest(written)
        written.rename(self._directory / written.name)
        steps = steps_in(self._directory)
        latest = steps[-2:]
        kept = {*latest, *(self._best_at.get(each) for each in latest)}
        for old in set(steps) - kept:
            scrapped = (self._directory / str(old)).rename(self._directory / _SCRAP / str(old))
            # Nobody waits for that: the next may be written meanwhile.
            self._background.submit(shutil.rmtree, scrapped, ignore_errors=True)

    def _remove_scrap(self) -> None:
        if processes.is_first():
            shutil.rmtree(self._directory / _SCRAP, ignore_errors=True)

    def _damage(self, step: int) -> str | None:
        return damage(self._directory / str(step))

    def _set_aside(self, step: int) -> Path:
        folder = self._directory / _DAMAGED
        folder.mkdir(exist_ok=True)
        taken = sum(path.name.split("-")[0] == str(step) for path in folder.iterdir())
        place = folder / (f"{step}-{taken + 1}" if taken else str(step))
        return (self._directory / str(step)).rename(place)

    def _restore(self, step: int, args: ocp.args.Composite) -> ocp.args.Composite:
        if (why := processes.told_by_first(partial(self._damage, step))) and step in self.steps:
            raise InputError(
                f"the checkpoint of step {step} in {self._directory} is damaged ({why}): continue "
                "the run (--resume), which sets it aside and goes on from the one before"
            )
        try:
            return self._checkpointer.restore(self._directory / str(step), args=args)
        except (ValueError, KeyError, FileNotFoundError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"the checkpoint of step {step} in {self._directory} cannot be restored "
                f"({reason}): begin the run anew, or restore another step"
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self.close()
