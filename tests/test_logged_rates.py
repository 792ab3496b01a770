"""The learning rate that is written down is the one that was used, whatever was left out before.

SGD without momentum says itself which one that was: the ratio of a step's length to its gradient's.
"""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import optim, rate_range, rundir, schedules
from cnn_jax.interrupts import Interrupted
from cnn_jax.overfit import overfit_batch
from cnn_jax.recipe import staged
from cnn_jax.train import run
from cnn_jax.transfer import Stage
from tests.test_nonfinite import poisoned  # noqa: F401, a fixture
from tests.test_staged_runs import stop_at


class Overflowing(nn.Module):
    """Its gradient overflows in float16 until the loss scale has been halved a few times."""

    dtype: jnp.dtype = jnp.float16

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(len(images), -1).astype(self.dtype)
        return nn.Dense(3, dtype=self.dtype, kernel_init=nn.initializers.zeros)(x) * 8


@pytest.fixture
def overflowing(recipe):
    return replace(
        recipe,
        model=Overflowing(),
        precision="float16",
        optimizer=partial(optim.sgd, momentum=0.0),
        schedule=partial(schedules.linear, learning_rate=0.001),
        log_every=1,
    )


def overflows(workdir):
    """Compare the rates of a run of 12 steps; return which steps were none."""
    records = rundir.read_metrics(workdir)
    lines = {record["step"]: record for record in records if "epoch" not in record}
    assert list(lines) == list(range(1, 13))
    taken = {step: line for step, line in lines.items() if "update_norm" in line}
    used = {step: line["update_norm"] / line["gradient_norm"] for step, line in taken.items()}
    for record in records:
        if record["step"] in used:
            rate = used[record["step"]]
            np.testing.assert_allclose(record["learning_rate"], rate, rtol=1e-3)
    return sorted(set(lines) - set(taken))


def test_after_overflows_in_a_stage_and_a_stop(overflowing, tmp_path, monkeypatch):
    stages = (Stage("one", 1, (("*", 1.0),)), Stage("two", 1, (("*", 1.0),)))
    recipe, workdir = staged(overflowing, stages), tmp_path / "run"
    with monkeypatch.context() as context:
        stop_at(context, 3)
        with pytest.raises(Interrupted):
            run(recipe, workdir, quiet=True)
    run(recipe, workdir, resume=True, quiet=True)
    assert overflows(workdir) == [1, 2, 3]


def test_after_steps_that_were_skipped(poisoned, tmp_path):  # noqa: F811, the fixture
    decaying = partial(schedules.linear, learning_rate=0.1)
    optimizer = partial(optim.sgd, momentum=0.0)
    recipe = replace(poisoned, skip_nonfinite=2, schedule=decaying, optimizer=optimizer)
    run(recipe, tmp_path / "run", quiet=True)
    skipped = overflows(tmp_path / "run")
    assert len(skipped) == 2
    assert min(skipped) < 12


def test_of_a_range_of_rates(overflowing):
    found = rate_range.range_test(overflowing, low=1e-6, high=1e-3, steps=10)
    np.testing.assert_allclose(found.rates, 1e-6 * 1000 ** (np.arange(7) / 9), rtol=1e-5)
    assert np.isfinite(found.losses).all()


def test_an_overflow_has_no_loss_and_nothing_is_mixed_in_learning_by_heart(overflowing):
    def mix(key, images, labels):
        raise AssertionError("mixed")

    outcome = overfit_batch(replace(overflowing, mix=mix), steps=6)
    assert len(outcome.losses) == 3
    assert np.isfinite(outcome.losses).all()
