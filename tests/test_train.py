"""The whole run: compiled once, every image counted, resumed to the bit."""

import json
import signal
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import chex
import jax
import numpy as np
import pytest

from cnn_jax import augment, data, journal, models, rundir, schedules, train
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.errors import InputError
from cnn_jax.evaluate import evaluate
from cnn_jax.interrupts import Interrupted
from cnn_jax.journal import Diverged
from cnn_jax.train import run
from tests.conftest import scans


def final_state(workdir, recipe):
    """The last checkpoint, as plain arrays."""
    engine = train.make_engine(replace(recipe, normalization=_normalization(recipe)))
    with Checkpoints(workdir / rundir.CHECKPOINTS) as checkpoints:
        state, _ = checkpoints.restore(checkpoints.latest_step, engine.fresh_state())
    return state.replace(key=jax.random.key_data(state.key))


def _normalization(recipe):
    return recipe.normalization or train.channel_statistics(recipe.data.train)


def steps_logged(workdir):
    return [record["step"] for record in rundir.read_metrics(workdir) if "epoch" not in record]


def test_a_run_learns_and_leaves_what_it_promises(recipe, tmp_path):
    workdir = tmp_path / "run"
    result = run(replace(recipe, epochs=10), workdir, quiet=True)
    assert result.test_accuracy > 0.9
    assert {path.name for path in workdir.iterdir()} == {
        "recipe.json", "parameters.csv", "metrics.jsonl", "result.json", "checkpoints",
        "tensorboard", "learning_curves.png", "confusion_matrix.png", "predictions.png", "lock",
        "predictions.csv", "report.html", "sittings.json",
    }  # fmt: skip
    figures = json.loads((workdir / "result.json").read_text())
    matrix = np.array(figures["assessment"]["confusion_matrix"])
    assert matrix.sum() == figures["test_images"] == 37
    assert np.trace(matrix) == figures["test_correct"] == round(37 * result.test_accuracy)
    assert [row["images"] for row in figures["assessment"]["classes"]] == matrix.sum(1).tolist()
    description = json.loads((workdir / "recipe.json").read_text())["recipe"]
    assert description["model"] == {"name": "mlp", "num_classes": 3, "widths": [16]}
    assert description["optimizer"] == {"function": "cnn_jax.optim.sgd", "momentum": 0.9}
    assert len(result.history) == 10
    assert steps_logged(workdir) == list(range(2, 58, 2))  # 10 x 90 / 16 = 56.25, so 57 steps


def test_tensorboard_reads_the_events(recipe, tmp_path):
    from tensorboardX.proto import event_pb2

    run(recipe, tmp_path / "run", quiet=True)
    (path,) = (tmp_path / "run" / "tensorboard").iterdir()
    content, scalars = path.read_bytes(), []
    while content:  # a record: length uint64, its checksum uint32, the event, its checksum uint32
        length = int.from_bytes(content[:8], "little")
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        scalars += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        content = content[16 + length :]
    written = {(tag, step): value for tag, step, value in scalars}
    for record in rundir.read_metrics(tmp_path / "run"):
        for tag in ("loss", "validation_accuracy"):
            if tag in record:
                assert written[tag, record["step"]] == pytest.approx(record[tag])


def test_one_compilation_of_each_step_in_a_whole_run(recipe, tmp_path, monkeypatch):
    """Also with 37 test and 10 validation images in evaluation batches of 8."""
    for name in ("make_train_step", "make_eval_step"):
        make = getattr(train, name)

        def once(*args, make=make, **options):
            return chex.assert_max_traces(make(*args, **options), n=1)

        monkeypatch.setattr(train, name, once)
    chex.clear_trace_counter()
    result = run(recipe, tmp_path / "run", quiet=True)
    assert result.test.tally.count == 37


def test_the_trace_counter_would_notice(recipe, tmp_path):
    """The check above can fail: a second batch size is a second compilation."""
    recipe = replace(recipe, normalization=_normalization(recipe))
    from cnn_jax.steps import make_eval_step

    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(make_eval_step(recipe.model), n=1))
    state = train.make_engine(recipe).fresh_state()
    with pytest.raises(AssertionError, match="traced"):
        for batch_size in (8, 5):
            train.evaluate(step, state.variables, recipe.data.test, batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [1, 5, 37, 64])
def test_evaluation_counts_every_image_once(recipe, batch_size):
    recipe = replace(recipe, normalization=_normalization(recipe), eval_batch_size=batch_size)
    engine = train.make_engine(recipe)
    variables = engine.fresh_state().variables
    evaluation = engine.evaluate(variables, recipe.data.test)
    images, labels = scans(37, seed=1)
    mean, std = recipe.normalization.mean, recipe.normalization.std
    logits = recipe.model.apply(variables, (images / np.float32(255) - mean) / np.array(std))
    np.testing.assert_allclose(evaluation.logits, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(evaluation.predictions, logits.argmax(-1))
    np.testing.assert_allclose(evaluation.confidences, jax.nn.softmax(logits).max(-1), rtol=1e-5)
    assert evaluation.tally.count == 37
    assert evaluation.tally.correct == (logits.argmax(-1) == labels).sum()
    losses = -jax.nn.log_softmax(logits)[np.arange(37), labels]
    assert evaluation.tally.loss == pytest.approx(float(losses.sum()), rel=1e-5)


def test_the_reported_state_is_the_best_on_the_validation_images(recipe, tmp_path):
    recipe = replace(recipe, epochs=6, schedule=partial(schedules.constant, learning_rate=3.0))
    result = run(recipe, tmp_path / "run", quiet=True)
    accuracies = [record["validation_accuracy"] for record in result.history]
    best = max(accuracies)
    latest_best = max(k for k, accuracy in enumerate(accuracies) if accuracy == best)
    assert result.figures["step"] == result.history[latest_best]["step"]
    assert result.figures["best"] == best
    engine = train.make_engine(replace(recipe, normalization=_normalization(recipe)))
    again = engine.evaluate(result.state.variables, recipe.data.validation)
    assert again.tally.accuracy == best


def test_without_validation_images_the_last_state_is_reported(recipe, tmp_path):
    result = run(
        replace(recipe, data=replace(recipe.data, validation=None)), tmp_path / "run", quiet=True
    )
    assert result.figures["step"] == result.figures["total_steps"] == 12
    assert result.figures["best"] is None


def test_stopping_in_mid_epoch_and_resuming_changes_nothing(recipe, tmp_path, monkeypatch):
    recipe = replace(
        recipe,
        model=models.create_model("simple_cnn", num_classes=3, widths=(4, 8), hidden=8),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=1)),
    )
    run(recipe, tmp_path / "straight", quiet=True)

    step_of_signal = 4  # of 5.6 in the first epoch
    note = journal.Journal.note

    def note_and_signal(self, step, metrics):
        note(self, step, metrics)
        if step == step_of_signal:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(journal.Journal, "note", note_and_signal)
    with pytest.raises(Interrupted, match="stopped by SIGTERM; step 4 is saved in") as stopped:
        run(recipe, tmp_path / "resumed", quiet=True)
    assert stopped.value.cause == signal.SIGTERM
    monkeypatch.undo()
    run(recipe, tmp_path / "resumed", resume=True, quiet=True)

    straight, resumed = (final_state(tmp_path / name, recipe) for name in ("straight", "resumed"))
    chex.assert_trees_all_equal(straight, resumed)
    figures = [
        [
            {k: v for k, v in record.items() if k not in ("seconds", "images_per_second")}
            for record in rundir.read_metrics(tmp_path / name)
        ]
        for name in ("straight", "resumed")
    ]
    assert figures[0] == figures[1]


def test_a_signal_after_the_last_step_ends_the_run_too(recipe, tmp_path, monkeypatch):
    def evaluate_and_signal(*arguments, **options):
        evaluated.append(evaluate(*arguments, **options))
        if len(evaluated) == 2:
            signal.raise_signal(signal.SIGINT)
        return evaluated[-1]

    evaluated = []
    monkeypatch.setattr(train, "evaluate", evaluate_and_signal)
    with pytest.raises(Interrupted, match="stopped by SIGINT; step 12 is saved in"):
        run(recipe, tmp_path / "run", quiet=True)
    assert len(evaluated) == 2  # the validations of both epochs
    result = run(recipe, tmp_path / "run", resume=True, quiet=True)
    assert result.figures["total_steps"] == 12


def test_each_step_and_each_batch_of_a_validation_is_progress(recipe, tmp_path, monkeypatch):
    """By which several processes know that none of them stands still."""
    events = []

    @contextmanager
    def watched(*, patience):
        yield lambda: events.append("progress")

    def evaluate_and_tell(*arguments, **options):
        events.append("evaluation")
        found = evaluate(*arguments, **options)
        events.append("end")
        return found

    monkeypatch.setattr(train.processes, "ended_together", watched)
    monkeypatch.setattr(train, "evaluate", evaluate_and_tell)
    run(recipe, tmp_path / "run", quiet=True)
    before, during, *_ = "".join(event[0] for event in events).split("e")
    assert len(before) == 12  # of six steps: when a batch is there, and when its step is under way
    assert len(during) == 2  # of ten images in batches of eight


def test_what_was_measured_is_kept_where_it_cannot_be_drawn(recipe, tmp_path, monkeypatch):
    def refuse(outcome, workdir):
        raise TypeError("no picture")

    monkeypatch.setattr(train, "write_pictures", refuse)
    with pytest.raises(TypeError, match="no picture"):
        run(recipe, tmp_path / "run", quiet=True)
    figures = json.loads((tmp_path / "run" / "result.json").read_text())
    assert figures["test_images"] == 37
    assert len((tmp_path / "run" / "predictions.csv").read_text().splitlines()) == 38


def test_a_finished_run_can_be_resumed_without_harm(recipe, tmp_path):
    first = run(recipe, tmp_path / "run", quiet=True)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text()
    again = run(recipe, tmp_path / "run", resume=True, quiet=True)
    assert again.test_accuracy == first.test_accuracy
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == metrics


@pytest.mark.parametrize("slow", [True, False])
def test_few_slow_steps_are_under_way_at_a_time(slow, recipe, tmp_path, monkeypatch):
    """A run that is asked to stop waits for all of them: two that take 0.2 s each, more fast ones.

    How long a step takes is what it takes to wait for its metrics.
    """
    under_way, get = [], jax.device_get

    def waiting(tree):
        if slow and isinstance(tree, dict) and "gradient_norm" in tree:
            time.sleep(0.2)
        return get(tree)

    def note(self, step, metrics):
        noted(self, step, metrics)
        under_way.append(len(self._pending))

    noted = journal.Journal.note
    monkeypatch.setattr(journal.Journal, "note", note)
    monkeypatch.setattr(jax, "device_get", waiting)
    run(recipe, tmp_path / "run", quiet=True)
    assert len(under_way) == 12
    # As the next step is begun, and then that one too.
    assert max(under_way[1:]) == 1 if slow else max(under_way) > 2


def test_a_diverging_run_stops_with_the_step(recipe, tmp_path):
    recipe = replace(recipe, epochs=20, schedule=partial(schedules.constant, learning_rate=1e20))
    with pytest.raises(
        Diverged, match=r"the loss of step \d+ is (nan|inf).*lower the learning rate"
    ):
        run(recipe, tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 91}, r"`batch_size` \(=91\) must not exceed the 90 training images"),
        ({"batch_size": 0}, r"`batch_size` \(=0\) must be a whole number of at least 1"),
        ({"epochs": 1.5}, r"`epochs` \(=1.5\) must be a whole number of at least 1"),
        ({"checkpoint_every": 0}, r"`checkpoint_every` \(=0\) must be a whole number"),
        ({"seed": -1}, r"`seed` \(=-1\) must be between 0 and 2\*\*32 - 1"),
        (
            {"model": models.create_model("lenet5_unpadded", num_classes=3)},
            r"images of scans are 8x8, too small for `model` \(=lenet5_unpadded\): it needs at "
            r"least 16x16",
        ),
        (
            {"model": models.create_model("mlp", num_classes=4)},
            r"`model` \(=mlp\) has 4 outputs and scans has 3 classes: create the model with",
        ),
        (
            {"schedule": partial(schedules.cosine, learning_rate=0)},
            r"`learning_rate` \(=0\) must be positive",
        ),
    ],
)
def test_recipes_that_cannot_be_run_touch_nothing(recipe, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        run(replace(recipe, **change), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_run_directory_of_another_recipe_is_left_alone(recipe, tmp_path):
    workdir = tmp_path / "run"
    run(recipe, workdir, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    changed = replace(recipe, seed=1, schedule=partial(schedules.cosine, learning_rate=0.2))
    for resume in (False, True):
        with pytest.raises(InputError) as refused:
            run(changed, workdir, resume=resume, quiet=True)
        words = str(refused.value)
        assert "belongs to another recipe (schedule.learning_rate: 0.1 there, 0.2 here; " in words
        assert "seed: 0 there, 1 here): " in words
    with pytest.raises(InputError, match="already holds a run of this recipe: continue it"):
        run(recipe, workdir, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before

    other_images = data.make_dataset(
        data.array_source(*scans(100, seed=5), name="a"), recipe.data.test, name="scans",
        validation=10,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"data\.train\.fingerprint: \w+ there, \w+ here"):
        run(replace(recipe, data=other_images), workdir, resume=True, quiet=True)

    run(changed, workdir, overwrite=True, quiet=True)
    assert json.loads((workdir / "recipe.json").read_text())["recipe"]["seed"] == 1


def test_a_directory_that_is_no_run_is_never_overwritten(recipe, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(InputError, match=r"is not empty and holds no recipe\.json"):
            run(recipe, tmp_path, quiet=True, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(InputError, match="is a file: choose a directory"):
        run(recipe, tmp_path / "thesis.tex", quiet=True)
    with pytest.raises(InputError, match="contradict each other"):
        run(recipe, tmp_path / "run", resume=True, overwrite=True, quiet=True)
