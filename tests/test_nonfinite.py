"""Steps whose loss or gradient is not finite: left out so many times, and then the end."""

import json
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import optim, rundir, schedules, train
from cnn_jax.data.batches import batch_positions
from cnn_jax.errors import InputError
from cnn_jax.evaluate import evaluate
from cnn_jax.journal import Diverged
from cnn_jax.many import run_many
from cnn_jax.recipe import check
from cnn_jax.steps import make_train_step, skipping_nonfinite, to_float
from cnn_jax.train import run
from tests.test_steps import MODEL, batch_of, state_of


@pytest.fixture
def poisoned(recipe):
    """The recipe of 12 steps, with SGD; image 5, shown twice, has a NaN from its augmentation."""
    images = to_float(jnp.asarray(recipe.data.train.read(np.arange(90))))
    distances = jnp.abs(images - images[5]).sum((1, 2, 3))
    assert jnp.sum(distances == 0) == 1

    def poison(key, image):
        return jnp.where(jnp.all(image == images[5]), jnp.nan, image)

    return replace(
        recipe,
        augment=(poison,),
        optimizer=optim.sgd,
        schedule=partial(schedules.constant, learning_rate=0.1),
        log_every=1,
    )


def shown_at(recipe, seed, *, image):
    """The steps, from 1, of a run of 12 that see an image."""
    options = {"batch_size": recipe.batch_size, "size": len(recipe.data.train)}
    batches = [batch_positions(seed, step, **options)[0] for step in range(12)]
    return [step for step, ids in enumerate(batches, 1) if image in ids]


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_but_the_count(broken):
    def loss(logits, labels):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        if broken == "loss":
            return each + jnp.where(labels == 0, jnp.nan, 0)
        # The root of zero: infinite is its slope.
        return each + jnp.sqrt(jnp.where(labels == 0, (logits - logits).sum(-1), 1))

    tx = optax.adam(0.1)
    plain = make_train_step(MODEL, tx, loss=loss)
    step = jax.jit(skipping_nonfinite(plain))
    state, batch = state_of(MODEL, tx), batch_of(12)
    after, metrics = step(state, batch)
    assert metrics["skipped"]
    assert bool(jnp.isfinite(metrics["loss"])) == (broken == "gradient")
    assert int(after.step) == int(state.step) + 1
    for name in ("params", "batch_stats", "opt_state"):
        chex.assert_trees_all_equal(getattr(after, name), getattr(state, name))

    sound = {**batch, "label": np.maximum(batch["label"], 1)}
    after, metrics = step(state, sound)
    assert not metrics["skipped"]
    expected, _ = jax.jit(plain)(state, sound)
    chex.assert_trees_all_equal(after.params, expected.params)
    chex.assert_trees_all_equal(after.opt_state, expected.opt_state)


def test_a_run_leaves_out_as_many_steps_as_it_may(poisoned, tmp_path, capsys):
    result = run(replace(poisoned, skip_nonfinite=2), tmp_path / "run")
    assert result.figures["step"] == 12
    lines = [line for line in capsys.readouterr().out.splitlines() if "skipped" in line]
    assert [line.split(":")[0] for line in lines] == ["skipped (1 of 2)", "skipped (2 of 2)"]
    assert all(line.endswith("is nan, from the training images at 5") for line in lines)
    records = rundir.read_metrics(tmp_path / "run")
    assert len([record for record in records if "epoch" not in record]) == 12
    assert all(map(np.all, map(np.isfinite, jax.tree.leaves(result.state.params))))


def test_the_next_one_ends_the_run(poisoned, tmp_path):
    words = r"the loss of step \d+ is nan, from the training images at 5 after 1 steps were skipped"
    with pytest.raises(Diverged, match=words):
        run(replace(poisoned, skip_nonfinite=1), tmp_path / "run", quiet=True)


def test_of_many_runs_each_leaves_out_as_many(poisoned, tmp_path):
    poisoned = replace(poisoned, skip_nonfinite=2, data=replace(poisoned.data, validation=None))
    steps = {seed: shown_at(poisoned, seed, image=5) for seed in range(20)}
    thrice = next(seed for seed, at in steps.items() if len(at) == 3)
    sound, diverged = run_many(poisoned, seeds=[0, thrice]).runs
    assert len(steps[0]) == 2 and sound.diverged is None
    assert diverged.diverged == steps[thrice][2]
    alone = run(poisoned, tmp_path / "run", quiet=True)
    assert sound.test.correct == alone.test.tally.correct
    assert sound.test.mean_loss == pytest.approx(alone.test.tally.mean_loss, rel=1e-4)


def test_an_epoch_whose_validation_loss_is_nan_is_not_the_best(recipe, tmp_path, monkeypatch):
    """And where the loss of the test images is, too, the result is JSON all the same."""
    evaluated = []

    def nan_but_once(*arguments, **options):
        found = evaluate(*arguments, **options)
        evaluated.append(found)
        if len(evaluated) != 2:
            found = replace(found, tally=replace(found.tally, loss=np.nan))
        return found

    monkeypatch.setattr(train, "evaluate", nan_but_once)
    result = run(replace(recipe, monitor="validation_loss"), tmp_path / "run", quiet=True)
    assert result.figures["step"] == 12
    assert result.figures["best"] == pytest.approx(evaluated[1].tally.mean_loss)
    assert np.isnan(result.figures["test_loss"])
    text = (tmp_path / "run" / rundir.RESULT).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["test_loss"] is None


def test_less_than_none_is_told(recipe):
    words = r"`skip_nonfinite` \(=-1\) must be a whole number of at least 0: 0 skips none"
    with pytest.raises(InputError, match=words):
        check(replace(recipe, skip_nonfinite=-1))
