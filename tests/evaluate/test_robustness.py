"""Accuracy under corruption: of a classifier that is trained, counted by hand, and as a command."""

import csv
import io
import itertools
import json
import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from cnn_jax import cli, data, models, optim, schedules
from cnn_jax.errors import InputError
from cnn_jax.evaluate import robustness
from cnn_jax.evaluate.corruptions import corrupt
from cnn_jax.evaluate.robustness import corruption_accuracy, mean_accuracy
from cnn_jax.recipe import Recipe
from cnn_jax.steps import make_eval_step
from cnn_jax.train import run
from tests.conftest import scans

# One of each family, and of the cheapest to compile.
NAMES = ("impulse_noise", "defocus_blur", "brightness", "pixelation")


class Linear(nn.Module):
    """A linear classifier of the pixels."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, 10]."""
        return nn.Dense(10, name="fc")(images.reshape(len(images), -1))


@pytest.fixture(scope="module")
def classifier():
    """Digits, and scikit-learn's classifier of them as a network."""
    digits = data.load("digits", validation=0)
    images = digits.train.read(np.arange(len(digits.train)))
    pixels = images.reshape(len(images), -1) / 255
    fitted = RidgeClassifier(alpha=1.0).fit(pixels, digits.train.labels)
    fc = {"kernel": jnp.asarray(fitted.coef_.T), "bias": jnp.asarray(fitted.intercept_)}
    return digits, jax.jit(make_eval_step(Linear())), {"params": {"fc": fc}}


def test_accuracy_falls_with_severity(classifier, monkeypatch):
    """On average over corruptions, within what 360 images leave open; each is traced once."""
    digits, eval_step, variables = classifier
    traced = []

    def counted(key, images, name, **options):
        traced.append(name)
        return corrupt(key, images, name, **options)

    monkeypatch.setattr(robustness, "corrupt", counted)
    records = corruption_accuracy(eval_step, variables, digits.test, names=NAMES, batch_size=100)
    assert sorted(traced) == sorted(NAMES)
    assert [(r["corruption"], r["severity"]) for r in records] == [
        (name, severity) for name in NAMES for severity in range(6)
    ]
    means = [mean_accuracy(records, severity=severity) for severity in range(6)]
    assert means[0] > 0.9
    assert means[5] < 0.7
    error = np.sqrt(0.25 / 360)
    assert all(high < low + error for low, high in itertools.pairwise(means))
    assert mean_accuracy(records) == pytest.approx(np.mean(means[1:]))
    noise = [record["accuracy"] for record in records if record["corruption"] == "impulse_noise"]
    assert mean_accuracy(records, family="noise") == pytest.approx(np.mean(noise[1:]))


def test_counts_are_those_of_the_images_one_by_one(classifier):
    """In ragged batches and in one; of a part of the images; whatever else is measured."""
    digits, eval_step, variables = classifier
    measure = partial(corruption_accuracy, eval_step, variables, digits.test, severities=(0, 4))
    found = measure(names=NAMES, batch_size=100)
    assert found[:2] == measure(names=NAMES[:1], batch_size=100)
    count = {(r["corruption"], r["severity"]): r["correct"] for r in found}
    assert all(record["images"] == 360 for record in found)
    images = jnp.asarray(digits.test.read(np.arange(360)), jnp.float32) / 255
    key = jax.random.fold_in(jax.random.key(0), 2)  # the third of the table
    for severity in (0, 4):
        spoilt = corrupt(key, images, "impulse_noise", severity=severity)
        logits = Linear().apply(variables, spoilt)
        right = int((logits.argmax(1) == digits.test.labels).sum())
        assert count["impulse_noise", severity] == right
    some = measure(names=NAMES[:1], limit=90, batch_size=100)
    assert [record["images"] for record in some] == [90, 90]
    every_fourth = Linear().apply(variables, images[::4]).argmax(1)
    assert some[0]["correct"] == (every_fourth == digits.test.labels[::4]).sum()
    assert measure(names=NAMES[:1], limit=999, batch_size=100) == found[:2]


def test_bad_input_is_told(classifier):
    digits, eval_step, variables = classifier
    measure = partial(corruption_accuracy, eval_step, variables, digits.test)
    for options, words in (
        ({"names": ["fogg"]}, "'fogg'\\) is no corruption: did you mean 'fog'"),
        ({"severities": [6]}, r"`severity` \(=6\) must be at most 5"),
        ({"severities": [0.5]}, r"`severity` \(=0.5\) must be a whole number"),
        ({"limit": 0}, r"`limit` \(=0\) must be a whole number of at least 1"),
    ):
        with pytest.raises(InputError, match=words):
            measure(**options)
    images = np.zeros((1, 8, 8, 2), np.uint8)
    source = data.array_source(images, np.array([0]), name="radar")
    with pytest.raises(InputError, match=r"`name` \(='jpeg'\) takes images of 1 or 3 .* have 2: "):
        corruption_accuracy(None, variables, source, names=["fog", "jpeg"])


def test_the_command_prints_a_table_json_and_csv(tmp_path, monkeypatch, capsys):
    images, labels = scans(60)
    np.savez(tmp_path / "scans.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    recipe = Recipe(
        model=models.create_model("mlp", num_classes=3, widths=(8,)),
        data=data.load(tmp_path / "scans.npz", validation=0),
        optimizer=optim.adam,
        schedule=partial(schedules.constant, learning_rate=0.02),
        epochs=1,
        batch_size=16,
    )
    run(recipe, tmp_path / "run", quiet=True)
    capsys.readouterr()

    def call(*arguments):
        line = ["cnn-jax", "robustness", tmp_path / "run", "--only", "impulse_noise"]
        monkeypatch.setattr(sys, "argv", [*map(str, [*line, *arguments])])
        code = cli.call(cli.cnn_jax)
        return code, capsys.readouterr()

    code, printed = call("--json")
    found = json.loads(printed.out)
    records = found["corruptions"]
    assert code == 0
    assert found["mean_corruption_accuracy"] == pytest.approx(mean_accuracy(records))
    assert [record["severity"] for record in records] == list(range(6))
    code, printed = call("--csv")
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [float(row["accuracy"]) for row in rows] == [r["accuracy"] for r in records]
    code, printed = call("--limit", "30")
    assert code == 0
    for word in ("noise", "impulse_noise", "1 to 5", "all", "on 30 test images of scans: accuracy"):
        assert word in printed.out
    code, printed = call("--json", "--csv")
    assert (code, printed.err) == (2, "error: `json` and `csv` contradict each other: choose one\n")
    code, printed = call("--data", "digits")
    assert code == 2
    assert "has the classes" in printed.err
