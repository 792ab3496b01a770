"""Runs in stages: the plan is what happens, and no interruption changes it."""

import csv
import signal
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import averaging, data, journal, rundir, transfer
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.errors import InputError
from cnn_jax.interrupts import Interrupted
from cnn_jax.many import run_many
from cnn_jax.models.groups import parameter_groups
from cnn_jax.models.heads import replace_head
from cnn_jax.parameter_rules import Rule, by_path
from cnn_jax.plateau import stop_early
from cnn_jax.rate_range import range_test
from cnn_jax.recipe import check, describe, staged
from cnn_jax.train import make_engine, run
from cnn_jax.trained import load_run
from cnn_jax.transfer import Stage
from tests.conftest import scans
from tests.test_transfer import HEAD, MODEL, SHAPE, changed, flat


@pytest.fixture
def in_stages(recipe):
    """A run of 6 steps of the last layer and 11 of all."""
    stages = (HEAD, Stage("all", 2, (("head", 1.0), ("*", 0.5))))
    average = partial(averaging.ema, decay=0.5, optimizer=recipe.optimizer)
    return staged(replace(recipe, optimizer=average), stages)


def engine_of(recipe, **options):
    normalization = channel_statistics(recipe.data.train)
    return make_engine(replace(recipe, normalization=normalization), **options)


def last_state(workdir, recipe):
    """The last checkpoint, as plain arrays, and its record but for the time."""
    engine = engine_of(recipe)
    with Checkpoints(workdir / rundir.CHECKPOINTS) as checkpoints:
        step = checkpoints.latest_step
        state, record = checkpoints.restore(step, engine.state_like(step))
    return state.replace(key=jax.random.key_data(state.key)), {**record, "seconds": 0}


def figures(workdir):
    times = ("seconds", "images_per_second")
    records = rundir.read_metrics(workdir)
    return [{k: v for k, v in record.items() if k not in times} for record in records]


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def stop_at(monkeypatch, step):
    """Have a signal come while a step is noted."""
    note = journal.Journal.note

    def noted(self, at, metrics):
        note(self, at, metrics)
        if at == step:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(journal.Journal, "note", noted)


def test_the_plan_is_what_happens(recipe, tmp_path, capsys):
    """Printed, written, and done: group by group, with the rates of the schedules."""
    stages = transfer.gradual_unfreezing(MODEL, 1, decay=0.5, groups=2, image_shape=SHAPE)
    recipe = staged(replace(recipe, model=MODEL), stages)
    result = run(recipe, tmp_path / "run")
    printed = capsys.readouterr().out
    assert "head, 1 epoch" in printed
    assert "195 of 74,547" in printed
    assert "stage: head to layer3\n" in printed
    rows = table(tmp_path / "run" / rundir.STAGES)
    engine, groups = engine_of(recipe), parameter_groups(MODEL, image_shape=SHAPE)
    batch = train_batch(recipe.data.train, 0, 0, batch_size=16)
    state = engine.fresh_state()
    for stage, phase in zip(stages, engine.phases, strict=True):
        before = phase.begin(state) if phase.first else state
        after, _ = phase.train_step(jax.tree.map(jnp.copy, before), batch)
        paths = changed(before.params, after.params)
        mine = [row for row in rows if row["stage"] == stage.name]
        assert [row["group"] for row in mine] == list(groups)
        for row in mine:
            sizes = {path: flat(state.params)[path].size for path in groups[row["group"]]}
            assert int(row["parameters"]) == sum(sizes.values())
            assert paths & set(sizes) == (set(sizes) if row["trained"] == "True" else set())
            factor = dict(stage.rates).get(row["group"], 0.0)
            highest = max(float(phase.schedule(k)) for k in range(phase.last - phase.first))
            np.testing.assert_allclose(float(row["learning_rate"]), factor * highest, rtol=1e-5)
        statistics = changed(before.batch_stats, after.batch_stats)
        moving = {row["group"] for row in mine if row["statistics"] == "move"}
        assert {path.split("_")[0] for path in statistics} == moving
        momenta = [leaf for leaf in jax.tree.leaves(after.opt_state) if leaf.ndim]
        assert sum(leaf.size for leaf in momenta) == sum(
            int(row["parameters"]) for row in mine if row["trained"] == "True"
        )
        state = after
    assert result.figures["total_steps"] == engine.phases[-1].last == 12
    rows = table(tmp_path / "run" / rundir.PARAMETERS)
    assert len(rows) == len(stages) * len(flat(state.params))
    last = {row["learning_rate"] for row in rows if row["path"].startswith("layer3")}
    assert last == {"0.0", "0.5"}


def test_a_run_stopped_in_any_stage_ends_as_an_undisturbed_one(in_stages, tmp_path, monkeypatch):
    """In the first, at the border, in the second; to the bit, averages and momenta too.

    Each stage has a cosine of its own, 0.1 at its first step, and the metrics tell.
    """
    in_stages = replace(in_stages, log_every=1)
    run(in_stages, tmp_path / "straight", quiet=True)
    for step, mode in ((3, "jit"), (6, "pmap"), (9, "fsdp")):
        with monkeypatch.context() as patched, pytest.raises(Interrupted) as stopped:
            stop_at(patched, step)
            run(in_stages, tmp_path / "stopped", quiet=True, mode=mode, resume=True)
        assert stopped.value.step == step
    run(in_stages, tmp_path / "stopped", quiet=True, resume=True)
    states = [last_state(tmp_path / name, in_stages) for name in ("straight", "stopped")]
    jax.tree.map(np.testing.assert_array_equal, *(state for state, _ in states))
    assert states[0][1] == states[1][1]
    assert figures(tmp_path / "straight") == figures(tmp_path / "stopped")
    told = [r["learning_rate"] for r in figures(tmp_path / "stopped") if "epoch" not in r]
    truth = [in_stages.schedule(steps)(step) for steps in (6, 11) for step in range(steps)]
    np.testing.assert_allclose(told, truth, rtol=1e-6)
    assert told[0] == told[6] == pytest.approx(0.1)


def test_the_best_may_be_of_an_earlier_stage(recipe, tmp_path):
    """The second stage destroys; result, directory and average are of the first."""
    stages = (HEAD, Stage("too fast", 1, (("head", 1.0), ("*", 1e4))))
    optimizer = partial(averaging.ema, decay=0.5, optimizer=recipe.optimizer)
    recipe = staged(replace(recipe, optimizer=optimizer, monitor="train_loss"), stages)
    result = run(recipe, tmp_path / "run", quiet=True)
    assert result.figures["step"] == 6
    assert result.figures["total_steps"] == 12
    assert set(flat(result.state.opt_state.average)) == {"fc2/bias", "fc2/kernel"}
    averaged = result.state.averaged_variables["params"]
    loaded = load_run(tmp_path / "run").variables["params"]
    jax.tree.map(np.testing.assert_array_equal, averaged, loaded)
    assert set(flat(loaded)) == {f"fc{k}/{name}" for k in (1, 2) for name in ("bias", "kernel")}
    fresh = engine_of(recipe).fresh_state().params
    assert changed(fresh, loaded) == {"fc2/bias", "fc2/kernel"}


def test_stopping_early_ends_a_stage_and_not_the_run(recipe, tmp_path, monkeypatch):
    """A first stage that learns nothing ends after 3 of 5 epochs; then comes the second."""
    stages = (Stage("idle", 5, (("head", 1e-12),)), Stage("all", 2, (("*", 1.0),)))
    stopping = partial(stop_early, patience=2, min_delta=0.2)
    recipe = staged(replace(recipe, stopping=stopping, monitor="train_loss"), stages)
    result = run(recipe, tmp_path / "run", quiet=True)
    assert [record["epoch"] for record in result.history] == [1, 2, 3, 6, 7]
    assert [record["step"] for record in result.history] == [6, 12, 17, 34, 40]
    assert not result.figures["stopped_early"]
    with monkeypatch.context() as patched, pytest.raises(Interrupted):
        stop_at(patched, 17)
        run(recipe, tmp_path / "stopped", quiet=True)
    run(recipe, tmp_path / "stopped", quiet=True, resume=True)
    assert figures(tmp_path / "run") == figures(tmp_path / "stopped")


def test_a_run_begins_with_the_variables_given(recipe, tmp_path):
    """Those of a network of other classes with a new head, which stay the caller's own."""
    other = recipe.model.clone(num_classes=5)
    variables = other.init(jax.random.key(7), jnp.ones((1, *SHAPE)))
    model, variables = replace_head(
        other, variables, jax.random.key(8), num_classes=3, image_shape=SHAPE
    )
    recipe = staged(replace(recipe, model=model), (HEAD,), initial=variables)
    described = describe(recipe)["initial"]
    assert set(described) == {"arrays", "sha256"}
    assert described["arrays"] == 4
    for name in ("one", "two"):
        loaded = run(recipe, tmp_path / name, quiet=True).state.params
        assert changed(variables["params"], loaded) == {"fc2/bias", "fc2/kernel"}
    changed_a_bit = jax.tree.map(jnp.copy, variables)
    changed_a_bit["params"]["fc1"]["bias"] += 1e-3
    with pytest.raises(InputError, match=r"another recipe \(initial.sha256: [0-9a-f]+ there, "):
        run(replace(recipe, initial=changed_a_bit), tmp_path / "one", resume=True, quiet=True)
    assert not {"initial", "stages"} & set(describe(replace(recipe, initial=None, stages=())))


def test_variables_that_do_not_fit_are_told(recipe):
    variables = recipe.model.init(jax.random.key(7), jnp.ones((1, *SHAPE)))["params"]
    without = {name: layer for name, layer in variables.items() if name != "fc1"}
    remedy = ": pass what `load_weights` or `replace_head` gives for this model"
    for params, words in (
        (without, "lacks params/fc1/bias"),
        ({**variables, "fc3": variables["fc2"]}, "has params/fc3/bias, which the model has not"),
        (
            {**variables, "fc2": {name: leaf[..., :2] for name, leaf in variables["fc2"].items()}},
            "has params/fc2/bias of shape (2,), and the model of shape (3,)",
        ),
    ):
        with pytest.raises(InputError) as told:
            check(replace(recipe, initial={"params": params}))
        assert str(told.value) == f"`initial` {words}{remedy}"


def test_stages_that_do_not_fit_are_told(recipe, in_stages):
    two = (HEAD, HEAD)
    frozen = partial(by_path, optimizer=recipe.optimizer.func, rules=(Rule("fc2/*", frozen=True),))
    for wrong, words in (
        (
            replace(in_stages, epochs=5),
            "`epochs` (=5) must be the sum of the stages' epochs, 3: use `staged(recipe, stages)`, "
            "which sets both",
        ),
        (
            staged(recipe, two),
            "`stages` (=feature extraction, feature extraction) must have different names",
        ),
        (
            staged(replace(recipe, optimizer=frozen), two[:1]),
            "`rates` of stage 'feature extraction' train fc2/bias, and a rule of the optimizer "
            "freezes it: leave the rule out",
        ),
        (
            staged(recipe, (Stage("x", 1, (("fc9", 1.0),)),)),
            "`rates` of stage 'x' name 'fc9', which is no group of the model and no path of its "
            "parameters: its groups are stem, head",
        ),
    ):
        with pytest.raises(InputError) as told:
            check(wrong)
        assert str(told.value) == words
    with pytest.raises(InputError, match=r"`stages` \(=2 stages\) must be \(\): many runs"):
        run_many(in_stages, seeds=[0])


def test_another_number_of_classes_is_told_in_a_sentence(recipe, tmp_path):
    sources = [data.array_source(*scans(60, classes=4), name=name) for name in "ab"]
    more = data.make_dataset(*sources, name="scans")
    there, here = ({"recipe": describe(replace(recipe, data=d))} for d in (recipe.data, more))
    with rundir.opened_run(tmp_path / "run", there, resume=False, overwrite=False):
        pass
    with (
        pytest.raises(InputError) as told,
        rundir.opened_run(tmp_path / "run", here, resume=True, overwrite=False),
    ):
        pass
    assert str(told.value) == (
        f"`workdir` (={tmp_path / 'run'}) belongs to a run of 3 classes, and the data have 4 now "
        "(only there: none; only here: 3): restore the class folders, or choose another directory"
    )


def test_a_range_of_rates_is_that_of_the_first_stage(in_stages):
    first = replace(in_stages, stages=(HEAD,), epochs=1)
    rates, alone = (range_test(recipe, steps=10) for recipe in (in_stages, first))
    np.testing.assert_array_equal(rates.losses, alone.losses)
    np.testing.assert_array_equal(rates.rates, alone.rates)
