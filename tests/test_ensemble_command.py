"""`cnn-jax ensemble` on runs of a second, and what it refuses."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cnn_jax import cli, create_model, data, load_run, load_weights, models, run, rundir
from cnn_jax.errors import InputError
from cnn_jax.soups import soup
from cnn_jax.trained import evaluator, load_runs
from tests.conftest import scans
from tests.test_cli import call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ensemble")


@pytest.fixture
def trained(recipe, folder):
    """Runs of two seeds and one of another architecture, on an `.npz` that can be found again."""
    images, labels = scans(100)
    path = folder / "scans.npz"
    if not path.exists():
        np.savez(path, x_train=images, y_train=labels)
        dataset = data.load(path, validation=10)
        for name, model, seed in (("a", recipe.model, 0), ("b", recipe.model, 1), (
            "wide", create_model("mlp", num_classes=3, widths=(20,)), 2
        )):  # fmt: skip
            varied = replace(recipe, data=dataset, model=model, seed=seed, epochs=1)
            run(varied, folder / name, quiet=True)
    return folder


def told(capsys, name):
    pattern = rf"^{re.escape(str(name))} +accuracy (\d+\.\d\d) %"
    return float(re.search(pattern, capsys, re.MULTILINE)[1])


def test_members_their_mean_and_what_they_make_together(trained, monkeypatch, capsys):
    a, b, out = trained / "a", trained / "b", trained / "soup.safetensors"
    assert call(monkeypatch, "ensemble", a, b, "--soup", out) == 0
    output = capsys.readouterr().out
    runs = load_runs([a, b])
    dataset = runs[0].load_data()
    evaluations = [evaluator(each, dataset)(dataset.test) for each in runs]
    for name, evaluation in zip((a, b), evaluations, strict=True):
        accuracy = 100 * evaluation.tally.accuracy
        assert told(output, name) == pytest.approx(accuracy, abs=0.005)
        assert f"loss {evaluation.tally.mean_loss:.4f}" in output
    both = np.mean([each.probabilities for each in evaluations], 0)
    accuracy = 100 * (both.argmax(1) == dataset.test.labels).mean()
    assert told(output, "ensemble") == pytest.approx(accuracy, abs=0.005)
    mean = 100 * np.mean([each.tally.accuracy for each in evaluations])
    assert told(output, "mean") == pytest.approx(mean, abs=0.005)
    assert re.search(r"^greedy soup +accuracy .* of .*/(a|b)", output, re.MULTILINE)

    written = load_weights(runs[0].model, out, image_shape=dataset.image_shape)
    expected = soup([each.variables for each in runs])
    for path in ("fc1", "head"):
        if path in expected["params"]:
            np.testing.assert_array_equal(
                written["params"][path]["kernel"], expected["params"][path]["kernel"]
            )
    made = replace(runs[0], variables=expected)
    accuracy = 100 * evaluator(made, dataset)(dataset.test).tally.accuracy
    assert told(output, "soup") == pytest.approx(accuracy, abs=0.005)


def test_architectures_may_differ_but_then_there_is_no_soup(trained, monkeypatch, capsys):
    a, wide = trained / "a", trained / "wide"
    assert call(monkeypatch, "ensemble", a, wide, "--of", "logits", "--flip", "--shift", 1) == 0
    output = capsys.readouterr().out
    assert re.search(r"^ensemble +accuracy .*, by logits$", output, re.MULTILINE)
    assert re.search(r"^soup +none: `variables` of network 1 have params/", output, re.MULTILINE)
    code = call(monkeypatch, "ensemble", a, wide, "--soup", trained / "x.safetensors")
    assert code == cli.BAD_INPUT
    assert "average runs of one architecture" in capsys.readouterr().err
    assert not (trained / "x.safetensors").exists()


def test_no_greedy_soup_where_the_runs_held_out_different_images(
    trained, tmp_path, monkeypatch, capsys
):
    """The one's training images would judge the other."""
    shutil.copytree(trained / "a", tmp_path / "b")
    described = json.loads((tmp_path / "b" / rundir.RECIPE).read_text())
    described["recipe"]["data"]["validation"] = None
    (tmp_path / "b" / rundir.RECIPE).write_text(json.dumps(described))
    assert call(monkeypatch, "ensemble", trained / "a", tmp_path / "b") == 0
    output = capsys.readouterr().out
    assert re.search(r"^soup +accuracy", output, re.MULTILINE)
    assert re.search(r"^greedy soup +none: the runs held out different", output, re.MULTILINE)


def test_a_run_alone_is_its_ensemble_and_its_soup(trained, monkeypatch, capsys):
    assert call(monkeypatch, "ensemble", trained / "a") == 0
    lines = capsys.readouterr().out.splitlines()
    figures = {re.sub(r".*accuracy ([^ ]*) %.*", r"\1", line) for line in lines}
    assert len(lines) == 5 and len(figures) == 1


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("class_names", ["x", "y", "z"], "a has the classes 0, 1, 2, and .*b x, y, z: take runs"),
        ("image_shape", [9, 9, 1], "a has the images of shape 8, 8, 1, and .*b 9, 9, 1: take ru"),
        (
            "test",
            {"images": 9, "fingerprint": "0123456789"},
            r"test images of fingerprint .* \(20\), and .*b of fingerprint 01234567 \(9\): .*seed",
        ),
    ],
)
def test_runs_that_cannot_answer_together(trained, tmp_path, key, value, words):
    shutil.copytree(trained / "a", tmp_path / "b")
    path = tmp_path / "b" / rundir.RECIPE
    described = json.loads(path.read_text())
    described["recipe"]["data"][key] = value
    path.write_text(json.dumps(described))
    with pytest.raises(InputError, match=words):
        load_runs([trained / "a", tmp_path / "b"])


def test_bad_options(trained, monkeypatch, capsys):
    assert call(monkeypatch, "ensemble", trained / "a", "--shift", -1) == cli.BAD_INPUT
    assert "`shift` (=-1) must not be negative" in capsys.readouterr().err
    assert call(monkeypatch, "ensemble", trained / "none") == cli.BAD_INPUT
    with pytest.raises(InputError, match=r"`workdirs` \(=\(\)\) are none"):
        load_runs([])
    assert load_run(trained / "a").model == models.create_model("mlp", num_classes=3, widths=(16,))
