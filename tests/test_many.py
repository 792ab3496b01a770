"""Many runs in one program: each is the single run of its seed."""

import io
import math
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
from cnn_jax.metrics import Tally
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


def single(engine, recipe, state, steps):
    """The state after some steps of a run alone, by its own loop."""
    for step in range(steps):
        batch = train_batch(recipe.data.train, recipe.seed, step, batch_size=recipe.batch_size)
        state, _ = engine.train_step(state, engine.place(batch))
    return state


def test_each_run_is_that_of_its_seed(small):
    """After 51 steps: parameters and statistics, and what the test images count."""
    small = replace(small, normalization=channel_statistics(small.data.train))
    result = many.run_many(small, seeds=SEEDS)
    engine = make_engine(small)
    # Compiled once for all seeds; a traced seed is the same, by the test below.
    fresh = jax.jit(lambda seed: make_engine(replace(small, seed=seed)).fresh_state())
    for index, seed in enumerate(SEEDS):
        alone = single(engine, replace(small, seed=seed), fresh(np.uint32(seed)), 51)
        variables = jax.tree.map(lambda leaf, index=index: leaf[index], result.states.variables)
        assert result.states.step[index] == alone.step == 51
        chex.assert_trees_all_close(variables, alone.variables, atol=1e-5)
        evaluation = engine.evaluate(alone.variables, small.data.test)
        assert result.runs[index].test.correct == evaluation.tally.correct
        assert result.runs[index].test.count == 37
    kernels = result.states.params["conv1"]["kernel"]
    assert not np.allclose(kernels[0], kernels[1], atol=1e-2)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1])
def test_a_traced_seed_gives_the_same_key(seed):
    traced = jax.jit(lambda seed: jax.random.key_data(jax.random.key(seed)))(np.uint32(seed))
    np.testing.assert_array_equal(traced, jax.random.key_data(jax.random.key(seed)))


def test_several_learning_rates_of_one_seed(small):
    """The rate of each run multiplies the schedule; one that diverges leaves the others alone."""
    small = replace(small, normalization=channel_statistics(small.data.train), epochs=2, augment=())
    result = many.run_many(small, seeds=[1], learning_rates=[0.2, 1e30])
    sound, diverged = result.runs
    assert [sound.learning_rate, diverged.learning_rate] == pytest.approx([0.2, 1e30])
    assert sound.diverged is None
    assert 1 < diverged.diverged <= 12
    schedule = partial(schedules.cosine, learning_rate=0.2)
    recipe = replace(small, seed=1, schedule=schedule)
    engine = make_engine(recipe)
    alone = single(engine, recipe, engine.fresh_state(), 12)
    variables = jax.tree.map(lambda leaf: leaf[0], result.states.variables)
    chex.assert_trees_all_close(variables, alone.variables, atol=1e-5)


def test_plateau_stopping_and_the_best_epoch_are_judged_run_by_run(recipe, tmp_path):
    recipe = replace(
        recipe,
        monitor="validation_loss",
        plateau=partial(lower_on_plateau, factor=0.5, patience=0),
        stopping=partial(stop_early, patience=1),
        schedule=partial(schedules.constant, learning_rate=1.0),
        epochs=6,
    )
    seeds = SEEDS[:2]
    result = many.run_many(recipe, seeds=seeds)
    for index, seed in enumerate(seeds):
        alone = run(replace(recipe, seed=seed), tmp_path / str(seed), quiet=True)
        assert result.runs[index].step == alone.figures["step"]
        assert result.runs[index].test.correct == alone.figures["test_correct"]
        assert result.runs[index].validation.mean_loss == pytest.approx(
            alone.figures["best"], rel=1e-4
        )


def test_the_table_has_mean_and_deviation_of_each_learning_rate():
    def one(seed, rate, correct, diverged=None):
        tally = Tally(loss=4.0 * correct, correct=correct, count=40)
        return many.OneRun(seed, rate, 50, None if diverged else tally, tally, diverged)

    runs = (one(0, 0.1, 30), one(7, 0.1, 34), one(0, 0.5, 20), one(7, 0.5, 4, diverged=3))
    result = many.ManyResult(runs, states=None, seconds=12.0, compiling=3.25)
    out = io.StringIO()
    Console(file=out, width=120).print(many.table(result))
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]]
        for line in out.getvalue().splitlines()
        if line.startswith("│")
    ]
    assert "4 runs in one program: 12.0 s, 3.2 s of them to compile" in out.getvalue()
    mean, deviation = 80.0, math.sqrt(2 * 5**2)  # of 75 % and 85 %
    assert rows == [
        ["0.1", "0", "50", "75.00 %", "75.00 %", "3.0000"],
        ["0.1", "7", "50", "85.00 %", "85.00 %", "3.4000"],
        ["", "mean", "", f"{mean:.2f} %", f"{mean:.2f} %", "3.2000"],
        ["", "deviation", "", f"{deviation:.2f} %", f"{deviation:.2f} %", "0.2828"],
        ["0.5", "0", "50", "50.00 %", "50.00 %", "2.0000"],
        ["0.5", "7", "diverged at 3", "nan %", "10.00 %", "0.4000"],
    ]


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
