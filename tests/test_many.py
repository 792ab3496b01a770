"""Many runs in one program: each is the single run of its seed."""

import io
import statistics
from dataclasses import replace
from functools import partial

import chex
import jax
import numpy as np
import pytest
from rich.console import Console

from cnn_jax import augment, create_model, many, optim, schedules
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.errors import InputError
from cnn_jax.plateau import lower_on_plateau, stop_early
from cnn_jax.train import make_engine, run

SEEDS = (0, 3, 5)


@pytest.fixture
def small(recipe):
    """Convolutions, BN, dropout and augmentation; SGD, which does not magnify rounding."""
    return replace(
        recipe,
        model=create_model("simple_cnn", num_classes=3, widths=(4, 6), hidden=8),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=1)),
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.cosine, learning_rate=0.05),
        data=replace(recipe.data, validation=None),
        epochs=9,
    )


def single(recipe, steps):
    """The state after some steps of a run alone, by its own loop."""
    engine = make_engine(recipe)
    state = engine.fresh_state()
    for step in range(steps):
        batch = train_batch(recipe.data.train, recipe.seed, step, batch_size=recipe.batch_size)
        state, _ = engine.train_step(state, engine.place(batch))
    return state


def test_each_run_is_that_of_its_seed(small):
    """After 51 steps: parameters and statistics, and what the test images count."""
    small = replace(small, normalization=channel_statistics(small.data.train))
    result = many.run_many(small, seeds=SEEDS)
    for index, seed in enumerate(SEEDS):
        alone = single(replace(small, seed=seed), 51)
        variables = jax.tree.map(lambda leaf, index=index: leaf[index], result.states.variables)
        assert result.states.step[index] == alone.step == 51
        chex.assert_trees_all_close(variables, alone.variables, atol=1e-5)
        evaluation = make_engine(small).evaluate(alone.variables, small.data.test)
        assert result.runs[index].test.correct == evaluation.tally.correct
        assert result.runs[index].test.count == 37
    kernels = result.states.params["conv1"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1], atol=1e-2)


def test_several_learning_rates_of_one_seed(small):
    """The rate of each run multiplies the schedule; the rest is one run's."""
    small = replace(small, normalization=channel_statistics(small.data.train), epochs=2, augment=())
    result = many.run_many(small, seeds=[1], learning_rates=[0.05, 0.2])
    for index, rate in enumerate((0.05, 0.2)):
        schedule = partial(schedules.cosine, learning_rate=rate)
        alone = single(replace(small, seed=1, schedule=schedule), 12)
        variables = jax.tree.map(lambda leaf, index=index: leaf[index], result.states.variables)
        chex.assert_trees_all_close(variables, alone.variables, atol=1e-5)
        assert result.runs[index].learning_rate == pytest.approx(rate)


def test_plateau_stopping_and_the_best_epoch_are_judged_run_by_run(recipe, tmp_path):
    recipe = replace(
        recipe,
        monitor="validation_loss",
        plateau=partial(lower_on_plateau, factor=0.5, patience=0),
        stopping=partial(stop_early, patience=1),
        schedule=partial(schedules.constant, learning_rate=1.0),
        epochs=6,
    )
    result = many.run_many(recipe, seeds=SEEDS)
    for index, seed in enumerate(SEEDS):
        alone = run(replace(recipe, seed=seed), tmp_path / str(seed), quiet=True)
        assert result.runs[index].step == alone.figures["step"]
        assert result.runs[index].test.correct == alone.figures["test_correct"]
        assert result.runs[index].validation.mean_loss == pytest.approx(
            alone.figures["best"], rel=1e-4
        )


def test_the_table_has_mean_and_deviation(small):
    result = many.run_many(replace(small, epochs=1), seeds=SEEDS)
    out = io.StringIO()
    Console(file=out, width=120).print(many.table(result))
    accuracies = [100 * run.test.accuracy for run in result.runs]
    lines = {
        line.split("│")[2].strip(): line for line in out.getvalue().splitlines() if "│" in line
    }
    assert {"0", "3", "5", "mean", "deviation"} <= set(lines)
    assert f"{statistics.mean(accuracies):.2f} %" in lines["mean"]
    assert f"{statistics.stdev(accuracies):.2f} %" in lines["deviation"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seeds": []}, r"`seeds` \(=\[\]\) must be one or more, all different"),
        ({"seeds": [1, 1]}, r"`seeds` \(=\[1, 1\]\) must be one or more, all different"),
        ({"seeds": [-1]}, r"`seeds` \(=-1\) must be a whole number of at least 0"),
        ({"seeds": [0], "learning_rates": [0.0]}, r"`learning_rates` \(=0.0\) must be positive"),
    ],
)
def test_wrong_requests_are_told(small, options, words):
    with pytest.raises(InputError, match=words):
        many.run_many(small, **options)
