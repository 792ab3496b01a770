"""Checkpoints: which are kept, what comes back, what is told when it cannot."""

import jax
import numpy as np
import optax
import pytest

from cnn_jax import models
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.errors import InputError
from cnn_jax.state import init_state

MODEL = models.create_model("simple_cnn", num_classes=3, widths=(4,), hidden=4)


def state_at(step: int):
    state = init_state(MODEL, optax.adam(1e-3), jax.random.key(step), image_shape=(8, 8, 1))
    return state.replace(step=jax.numpy.int32(step))


def steps_kept(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_the_state_comes_back_to_the_bit(tmp_path):
    state, record = state_at(3), {"epoch": {"loss": 0.1 + 0.2}, "best_step": None}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, record, best_step=None)
    with Checkpoints(tmp_path) as checkpoints:
        restored, restored_record = checkpoints.restore(3, state_at(0))
        variables = checkpoints.restore_variables(3)
        assert checkpoints.restore_record(3) == record
    assert restored_record == record
    assert jax.random.key_data(restored.key).tolist() == jax.random.key_data(state.key).tolist()
    for ours, theirs in (
        (state.replace(key=0), restored.replace(key=0)),
        (state.params, variables["params"]),
        (state.batch_stats, variables["batch_stats"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
        assert jax.tree.structure(ours) == jax.tree.structure(theirs)


def test_the_last_two_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(1, 7):
            checkpoints.save(state_at(step), {}, best_step=min(step, 2))
            checkpoints.wait()
    assert steps_kept(tmp_path) == [2, 5, 6]
    assert {path.name for path in tmp_path.iterdir()} == {"2", "5", "6"}


def test_a_step_that_is_not_there(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), {}, best_step=None)
        checkpoints.wait()
        with pytest.raises(InputError, match=r"the checkpoint of step 9 in .* cannot be restored"):
            checkpoints.restore(9, state_at(0))


