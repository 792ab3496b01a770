"""The laboratory's experiments run, shrunk, and print the sizes and figures they promise."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


@pytest.fixture(scope="module")
def by_hand():
    return runpy.run_path(str(EXPERIMENTS / "convolution_by_hand.py"))


@pytest.fixture(scope="module")
def why():
    return runpy.run_path(str(EXPERIMENTS / "why_convolution.py"))


def run(experiment, *options):
    result = CliRunner().invoke(experiment["main"], list(options), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def drawn(folder):
    """Return the names of the figures in a folder, after looking that none is blank."""
    paths = sorted(folder.glob("*.png"))
    for path in paths:
        assert np.ptp(imread(path)[..., :3]) > 0.5, f"{path.name} is blank"
    return [path.stem for path in paths]


def test_convolution_by_hand_draws_every_figure(by_hand, tmp_path):
    output = run(by_hand, "--out", str(tmp_path), "--shrink", "8")
    assert drawn(tmp_path) == [
        "dilation",
        "filters_chessboard",
        "filters_photograph",
        "padding",
        "pooling",
        "strides",
    ]
    for size in ("the image: 427x640", "max 4x4: 106x160", "average 4x4: 106x160"):
        assert size in output


def test_why_convolution_trains_and_draws(why, tmp_path):
    options = ("--epochs", "1", "--seeds", "1", "--examples", "200")
    output = run(why, "--out", str(tmp_path), *options)
    assert drawn(tmp_path) == ["accuracy", "examples", "parameters"]
    assert "26,314 parameters" in output
    assert "12,810 parameters" in output
    assert "14,378 parameters" in output


def test_the_global_maximum_does_not_notice_a_shift(why):
    """What the figure shows, as an equation: logits of a digit at two places are the same."""
    import jax

    network = why["make_networks"]()["convolution, global max"]
    digit = np.random.default_rng(0).random((1, 8, 8))
    here, there = why["place"](digit, 0, 0), why["place"](digit, -2, 3)
    variables = network.init(jax.random.key(0), here)
    np.testing.assert_allclose(
        network.apply(variables, here), network.apply(variables, there), rtol=1e-5
    )
