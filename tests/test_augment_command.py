"""The picture of what a training shows."""

import sys
from dataclasses import replace
from functools import partial

import matplotlib.image
import numpy as np
import pytest

from cnn_jax import augment, cli, data
from cnn_jax.augment_command import augmented_images, recipe_maker
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import Normalization
from cnn_jax.steps import make_train_step
from cnn_jax.train import make_engine
from tests.conftest import scans

EXPERIMENT = """
from functools import partial
from cnn_jax import augment
from cnn_jax.recipe import Recipe

def make_recipe(data, *, epochs=1, seed=0):
    return Recipe(model=None, data=data, augment=(partial(augment.shifted_crop, padding=3),))

RECIPES = {"other": make_recipe}
"""


@pytest.fixture
def scanned(tmp_path):
    images, labels = scans(60)
    np.savez(tmp_path / "scans.npz", x_train=images, y_train=labels)
    return str(tmp_path / "scans.npz")


def called(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cnn-jax", "augment", *map(str, arguments)])
    return cli.call(cli.cnn_jax)


def test_images_are_those_that_the_training_step_shows(dataset, recipe):
    """What the step hands to its normalisation, seen from inside of it."""
    operations = (augment.random_flip, partial(augment.shifted_crop, padding=2))
    _, versions = augmented_images(
        dataset, images=16, epochs=1, seed=5, augment=operations, mix=None
    )

    class Seen(Exception):
        pass

    def preprocess(images):
        raise Seen(images)

    step = make_train_step(recipe.model, None, augment=operations, preprocess=preprocess)

    seeded = replace(recipe, seed=5, normalization=Normalization((0.5,), (0.5,)))
    state = make_engine(seeded).fresh_state()
    with pytest.raises(Seen) as seen:
        step(state, train_batch(dataset.train, 5, 0, batch_size=16))
    np.testing.assert_array_equal(versions[:, 0], seen.value.args[0])


def test_mixed_images_are_mixed_with_one_another(dataset):
    originals, versions = augmented_images(
        dataset, images=4, epochs=2, seed=0, augment=(), mix=partial(augment.cutmix, alpha=1.0)
    )
    originals = originals / np.float32(255)
    neighbours = np.roll(originals, 1, axis=0)
    for epoch in range(2):
        found = versions[:, epoch]
        assert ((found == originals) | (found == neighbours)).all()
    assert (versions != originals[:, None]).any()


def test_the_picture_has_a_row_for_each_image(scanned, tmp_path, monkeypatch, capsys):
    out = tmp_path / "augmented.png"
    options = ["--flip", "--augment", "trivial_augment", "--images", "3", "--epochs", "2"]
    assert called(monkeypatch, scanned, *options, "--out", out) == 0
    assert "3 images of scans, 2 versions of each" in capsys.readouterr().out
    height, width, _ = matplotlib.image.imread(out).shape
    assert height / width == pytest.approx((3 * 1.3 + 0.4) / (3 * 1.3), rel=0.01)


def test_an_experiment_says_how(scanned, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    made = recipe_maker(f"{tmp_path}/mine.py")(data.load(scanned))
    assert made.augment[0].keywords == {"padding": 3}
    assert recipe_maker(f"{tmp_path}/mine.py:other")(data.load(scanned)).augment
    out = tmp_path / "augmented.png"
    assert called(monkeypatch, scanned, "--recipe", tmp_path / "mine.py", "--out", out) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "none.py"], "`recipe` (=none.py) must be a Python file, FILE.py or"),
        (["--recipe", "mine.py:othr"], "`recipe` (=mine.py:othr) has no 'othr': "),
        (["--recipe", "empty.py"], "`recipe` (=empty.py) has neither `make_recipe` nor `RECIPES`"),
        (["--images", "0"], "`images` (=0) must be a whole number"),
        (["--out", "a.jpg"], "`out` (=a.jpg) must end in .png"),
        (["--flip", "--alternating-flip"], "`flip` and `alternating-flip` exclude each other"),
    ],
)
def test_what_cannot_be_drawn_is_told(scanned, arguments, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    (tmp_path / "empty.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert called(monkeypatch, scanned, *arguments) == cli.BAD_INPUT
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))
