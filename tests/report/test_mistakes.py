"""Pages of mistakes: what is wrong is found, told with its file, and drawn."""

import csv
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data, models, optim, run, schedules
from cnn_jax.errors import InputError
from cnn_jax.recipe import Recipe
from cnn_jax.report.mistakes import find_mistakes, write_mistakes
from cnn_jax.trained import load_run
from tests.conftest import scans
from tests.report.test_run_report import Page

FLIPPED = (7, 30, 60, 111, 200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Class folders of scans; five training images lie in the wrong folder."""
    root = tmp_path_factory.mktemp("mistakes") / "scans"
    for split, count, seed in (("train", 300, 0), ("test", 37, 1)):
        for number, (image, label) in enumerate(zip(*scans(count, seed=seed), strict=True)):
            wrong = split == "train" and number in FLIPPED
            folder = root / split / "abc"[(label + wrong) % 3]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(folder / f"{number:03}.png")
    return root


@pytest.fixture(scope="module")
def mistaken(folders, tmp_path_factory):
    """A network that has not yet learnt the wrong labels by heart."""
    workdir = tmp_path_factory.mktemp("run")
    recipe = Recipe(
        model=models.create_model("mlp", num_classes=3, in_channels=1, image_size=8, widths=(32,)),
        data=data.load(folders, cache_dir=tmp_path_factory.mktemp("cache")),
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.cosine, learning_rate=0.05),
        epochs=3,
        batch_size=16,
    )
    run(recipe, workdir, quiet=True)
    return load_run(workdir), recipe, workdir


def test_images_are_named_by_their_files(mistaken, folders):
    _, recipe, workdir = mistaken
    dataset = recipe.data
    with (workdir / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows) == sorted(
        str(path.relative_to(folders)) for path in (folders / "test").rglob("*.png")
    )
    assert all(row["image"].split("/")[1] == row["true"] for row in rows)
    names = data.file_names(dataset.train)
    for position in (0, 5, len(dataset.train) - 1):
        pixels = np.asarray(Image.open(folders / names[position]))
        np.testing.assert_array_equal(dataset.train.read(np.array([position]))[0, ..., 0], pixels)


def test_labels_that_are_wrong_are_found_and_shown(mistaken):
    loaded, recipe, workdir = mistaken
    dataset = recipe.data
    found = find_mistakes(loaded, dataset, split="train", count=8)
    page, table = write_mistakes(loaded, dataset, found, workdir, count=8)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    planted = {f"{number:03}.png" for number in FLIPPED}
    first = rows[:2]
    # None but those; not all: the threshold of confident learning is high where the rest is easy.
    assert {row["image"].rsplit("/", 1)[-1] for row in rows} <= planted and len(first) == 2
    for row in first:
        true = "abc"[int(row["image"][-7:-4]) % 3]
        assert row["suggested"] == true != row["label"]
    shown = Page(page.read_text())
    assert all(image["alt"] for image in shown.images)
    for row in first:
        assert f"labelled {row['label']} , seems {row['suggested']}" in shown.text.replace(
            ",", " ,"
        )
        assert row["image"] in shown.text
    assert "each fitted to the other images" in shown.text


def test_of_test_images_the_network_is_the_judge(mistaken):
    loaded, recipe, workdir = mistaken
    dataset = recipe.data
    found = find_mistakes(loaded, dataset)
    wrong = np.flatnonzero(found.evaluation.predictions != dataset.test.labels)
    assert sorted(found.positions) == wrong.tolist()
    page, _ = write_mistakes(loaded, dataset, found, workdir)
    assert f"{len(wrong)} of 37" in Page(page.read_text()).text
    assert page.name == "mistakes-test.html"


def test_what_is_left_of_an_earlier_run_goes_with_it(mistaken):
    loaded, recipe, workdir = mistaken
    write_mistakes(loaded, recipe.data, find_mistakes(loaded, recipe.data), workdir)
    run(replace(recipe, seed=1), workdir, quiet=True, overwrite=True)
    assert not list(workdir.glob("mistakes-*")) and not list(workdir.glob("suspects-*"))


def test_splits_that_are_not_there_are_told(mistaken):
    loaded, recipe, _ = mistaken
    dataset = recipe.data
    with pytest.raises(InputError, match=r"`split` \(='tests'\) is unknown: did you mean 'test'"):
        find_mistakes(loaded, dataset, split="tests")
    with pytest.raises(InputError, match="holds no such images: choose test"):
        find_mistakes(loaded, replace(dataset, validation=None), split="validation")
