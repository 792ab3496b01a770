"""Checkpoints of the training state: asynchronous, the last ones and the best."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cnn_jax.averaging import averaged
from cnn_jax.errors import InputError
from cnn_jax.state import TrainState

_TRASH = "trash"


class Checkpoints:
    """The checkpoints of one run, each a training state and a small record in JSON.

    The two latest and the best are kept. A checkpoint appears whole or not at all: it is written
    under a temporary name while training goes on, and renamed when complete.
    """

    def __init__(self, directory: Path):
        """Open, and create if need be, the checkpoints in a directory."""
        self._directory = Path(directory).absolute()
        self._best = _KeepStep()
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(
                [preservation_policy.LatestN(2), self._best]
            ),
            # A kill while an old step is being removed leaves half of it under its own name;
            # moved to the trash first, it no longer passes for a step.
            todelete_subdir=_TRASH,
            cleanup_tmp_directories=True,
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, state: TrainState, record: dict, *, best_step: int | None) -> None:
        """Begin to save a state; returns when the arrays are copied and may be donated.

        Args:
            state: the state; its step names the checkpoint.
            record: of JSON's types, saved with it.
            best_step: the step of the checkpoint to keep as the best; None for none yet.
        """
        self._best.step = best_step
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
            ),
        )

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint; None where there is none."""
        return self._manager.latest_step()

    def restore(self, step: int, abstract: TrainState) -> tuple[TrainState, dict]:
        """Restore the checkpoint of a step.

        Args:
            step: its step.
            abstract: a state, or `jax.ShapeDtypeStruct`s in its place, that tells structure,
                shapes, types and devices.

        Returns:
            The state and the record.

        Raises:
            InputError: the checkpoint is not there, or not of such a state.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, abstract)
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), record=ocp.args.JsonRestore()
        )
        restored = self._restore(step, args)
        return restored.state, restored.record

    def restore_variables(self, step: int) -> dict:
        """Restore what `model.apply` takes, knowing nothing of the model or the optimizer.

        Args:
            step: the step of the checkpoint.

        Returns:
            `params`, averaged where the optimizer kept an average, and `batch_stats`.
        """
        args = ocp.args.Composite(state=ocp.args.StandardRestore())
        state = self._restore(step, args).state
        return {
            "params": averaged(state["params"], state["opt_state"]),
            "batch_stats": state["batch_stats"] or {},
        }

    def restore_record(self, step: int) -> dict:
        """Restore the record saved with the checkpoint of a step."""
        return self._restore(step, ocp.args.Composite(record=ocp.args.JsonRestore())).record

    def wait(self) -> None:
        """Wait until what has been saved is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait until all is on disk, and empty the trash."""
        self._manager.close()
        shutil.rmtree(self._directory / _TRASH, ignore_errors=True)

    def _restore(self, step: int, args: ocp.args.Composite) -> ocp.args.Composite:
        try:
            return self._manager.restore(step, args=args)
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


class _KeepStep(preservation_policy.PreservationPolicy):
    """Keeps one step, whichever is named at the time."""

    step: int | None = None

    def should_preserve(self, checkpoints: Sequence, *, context) -> Sequence[bool]:
        return [checkpoint.step == self.step for checkpoint in checkpoints]
