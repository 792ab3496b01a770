"""The experiments of the main path, shrunk: same recipe, few images, few epochs."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cnn_jax import data, run
from experiments import (
    digits_simple_cnn,
    fashion_mnist_lenet5,
    fashion_mnist_three_block_cnn,
)
from tests.conftest import ROOT, python, scans


def some_scans(count, size, classes=10):
    images, labels = scans(count, size=size, classes=classes)
    return data.make_dataset(data.array_source(images, labels, name="scans"), name="scans")


@pytest.mark.parametrize(
    ("experiment", "size", "epochs"),
    [(fashion_mnist_lenet5, 28, 10), (fashion_mnist_three_block_cnn, 28, 2)],
)
def test_a_recipe_learns(experiment, size, epochs, tmp_path):
    recipe = replace(
        experiment.make_recipe(some_scans(400, size), epochs=epochs), batch_size=32, augment=()
    )
    result = run(recipe, tmp_path / "run", quiet=True)
    losses = [record["train_loss"] for record in result.history]
    assert losses[-1] < 0.8 * np.log(10)
    assert losses[-1] < losses[0]


def test_the_digits_in_three_epochs(tmp_path):
    """The real data; the figure in the docstring takes 30 epochs."""
    recipe = digits_simple_cnn.make_recipe(data.load("digits"), epochs=3)
    assert run(recipe, tmp_path / "run", quiet=True).test_accuracy > 0.95


def test_the_command_line_of_an_experiment(tmp_path):
    script = ROOT / "experiments" / "digits_simple_cnn.py"
    few = ("--epochs", "1", "--seeds", "2", "--validation", "0.7")
    done = python(script, *few, "--workdir", "runs", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = [float(f) for f in re.findall(r"^test accuracy (\d+\.\d\d) %", done.stdout, re.M)]
    assert len(figures) == 2
    mean = re.search(r"2 seeds: test accuracy (\d+\.\d\d) % \+- (\d+\.\d\d)", done.stdout)
    assert float(mean[1]) == pytest.approx(np.mean(figures), abs=0.011)
    assert float(mean[2]) == pytest.approx(np.std(figures, ddof=1), abs=0.011)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"seed-0", "seed-1"}

    other = ("--epochs", "2", "--validation", "0.7")
    refused = python(script, *other, "--workdir", "runs/seed-0", cwd=tmp_path)
    assert refused.returncode == 2
    assert "belongs to another recipe (epochs: 1 there, 2 here)" in refused.stderr


def test_the_default_of_the_command_line_is_the_experiment():
    """`cnn-jax train` without options trains the recipe whose figure is measured."""
    from unittest import mock

    from cnn_jax import cli, train_command
    from cnn_jax.recipe import describe

    with mock.patch.object(train_command, "train_or_exit") as train:
        cli.cnn_jax(["train"], standalone_mode=False)
    by_command = describe(train.call_args.args[0])
    measured = describe(digits_simple_cnn.make_recipe(data.load("digits")))
    assert measured["optimizer"] == {"function": by_command["optimizer"], "weight_decay": 0.01}
    del measured["optimizer"], by_command["optimizer"]  # 0.01 is the default of `adamw`
    for option in ("in_channels", "image_size"):  # what the data say, of no effect on this model
        by_command["model"].pop(option)
    assert by_command == measured
