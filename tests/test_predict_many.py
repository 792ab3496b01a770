"""`cnn-jax predict` on many files: patterns, CSV and JSON as they come, pictures that explain."""

import csv
import gc
import io
import json
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax import cli, explain, models
from cnn_jax.errors import InputError
from cnn_jax.explained_predictions import predict_and_explain
from cnn_jax.predict import Classifier, Prediction, find_images, looks, predict
from cnn_jax.prediction_table import print_json
from cnn_jax.steps import normalize, to_float
from cnn_jax.weights import save_weights
from cnn_jax.weights.pretrained import Preprocessing
from tests.conftest import scans

NAMES = ("low", "middle, so to say", 'h"gh')
WHOLE = Preprocessing(size=(8, 8), crop_fraction=1.0, mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def classifier():
    """A network with places to explain, of random parameters."""
    model = models.create_model("resnet20_cifar", num_classes=3, in_channels=1)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 8, 8, 1)))
    return Classifier(model, variables, WHOLE, NAMES)


def without_places():
    """A network of a layer, which has nothing to explain."""
    model = models.create_model("mlp", num_classes=3, widths=(4,))
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1)))
    return Classifier(model, variables, WHOLE, NAMES)


@pytest.fixture
def folder(tmp_path):
    """Six scans in two folders, two of one name; a damaged one; a note."""
    for index, image in enumerate(scans(6, seed=2)[0]):
        path = tmp_path / "scans" / "ab"[index % 2] / f"scan-{index // 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)
    (tmp_path / "scans" / "a" / "scan-1.png").write_bytes(b"no image")
    (tmp_path / "scans" / "notes.txt").write_text("no image")
    return tmp_path / "scans"


@pytest.fixture
def call(classifier, tmp_path, monkeypatch, capsys):
    """Run `cnn-jax predict` on files with the network: the exit code and what it prints."""
    save_weights(classifier.variables, tmp_path / "weights.safetensors")
    (tmp_path / "names.txt").write_text("\n".join(NAMES))

    def called(*arguments):
        line = ["cnn-jax", "predict", "--weights", tmp_path / "weights.safetensors"]
        line += ["--model", "resnet20_cifar", "--classes", tmp_path / "names.txt"]
        line += ["--image-size", "8", "--crop-fraction", "1", "--mean", "0.5", "--std", "0.5"]
        monkeypatch.setattr(sys, "argv", [*map(str, [*line, *arguments])])
        return cli.call(cli.cnn_jax), capsys.readouterr()

    return called


def test_patterns_are_expanded_in_order(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    everything = find_images(["scans"])
    assert len(everything) == 6
    assert find_images(["scans/**/*.png"]) == everything
    assert find_images(["scans/**/*"]) == everything  # the note is no image
    assert find_images(["scans/[b]/scan-?.png", "scans/a/*0*"]) == [
        *everything[3:], everything[0],
    ]  # fmt: skip
    odd = folder / "a[1].png"
    (folder / "a" / "scan-0.png").rename(odd)
    assert find_images([odd]) == [odd]  # as it is called
    for pattern in ("scans/*.jpg", "scans/*.txt", "nowhere/**/*.png"):
        with pytest.raises(InputError, match=r"matches no image: \* is any part of a name"):
            find_images([pattern])


def test_csv_has_a_line_for_each_class_and_for_what_cannot_be_read(call, classifier, folder):
    code, printed = call("--csv", "--top-k", "2", f"{folder}/**/*.png")
    assert code == 2
    assert "error: 1 of 6 files could not be used" in printed.err
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert list(rows[0]) == ["image", "rank", "class", "index", "probability", "error"]
    assert len(rows) == 5 * 2 + 1
    assert printed.out.count("\n") == 12  # no row takes more than a line
    expected = list(predict(classifier, find_images([folder]), top_k=2))
    rows = iter(rows)
    for prediction in expected:
        if prediction.error:
            row = next(rows)
            assert row["error"] == prediction.error
            assert (row["image"], row["rank"], row["class"]) == (str(prediction.path), "", "")
        for rank, guess in enumerate(prediction.guesses, 1):
            row = next(rows)
            assert (row["image"], row["rank"]) == (str(prediction.path), str(rank))
            assert (row["class"], row["index"], row["error"]) == (guess.name, str(guess.index), "")
            assert float(row["probability"]) == pytest.approx(guess.probability, abs=1e-6)


def test_json_comes_as_it_is_known_and_is_always_whole(classifier, folder, capsys):
    seen = []

    def failing():
        for prediction in predict(classifier, find_images([folder]), batch_size=2):
            yield prediction
            seen.append(capsys.readouterr().out)
            if len(seen) == 3:
                raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        print_json(failing())
    assert all(text.count('"image"') == 1 for text in seen)
    text = "".join(seen) + capsys.readouterr().out
    records = json.loads(text)
    assert len(records) == 3
    assert text == json.dumps(records, indent=2, ensure_ascii=False) + "\n"
    print_json(iter(()))
    assert capsys.readouterr().out == ""


def test_explanations_are_grad_cam_of_the_best_class(call, classifier, folder, tmp_path):
    """A picture for each image that can be read, all of other names, and named in the output."""
    code, printed = call("--json", folder, "--explain", tmp_path / "out", "--batch-size", "2")
    assert code == 2
    records = json.loads(printed.out)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"scan-0.png", "scan-2.png", "scan-0-2.png", "scan-1-2.png", "scan-2-2.png"}
    assert sum("explanation" in record for record in records) == 5
    for record in records:
        if "error" in record:
            assert "explanation" not in record
            continue
        pixels = np.asarray(Image.open(record["image"]))[None, :, :, None]
        inputs = normalize(to_float(pixels), mean=(0.5,), std=(0.5,))
        best = record["classes"][0]["index"]
        heat = explain.grad_cam(classifier.model, classifier.variables, inputs, classes=best)
        expected = explain.overlaid(pixels / np.float32(255), heat)[0]
        picture = np.asarray(Image.open(record["explanation"]), int)
        assert np.abs(picture - expected).max() <= 2  # of 255, as batches round
    kept = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    code, printed = call("--csv", folder / "b", "--explain", tmp_path / "out")
    assert code == 2
    assert printed.out == ""
    assert "has scan-0.png and 1 more already, which would be replaced" in printed.err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == kept

    code, printed = call("--csv", "--top-k", "1", folder / "b", "--explain", tmp_path / "new")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(printed.out)))
    assert [row["explanation"] for row in rows] == [
        str(tmp_path / "new" / f"scan-{k}.png") for k in range(3)
    ]


def test_what_cannot_be_explained_is_told_before_anything_is_written(
    call, classifier, folder, tmp_path
):
    network = without_places()
    with pytest.raises(InputError, match="marks no stage"):
        next(predict_and_explain(network, find_images([folder]), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"`explain` \(=.*file\) cannot be made: File exists"):
        next(predict_and_explain(classifier, find_images([folder]), tmp_path / "file"))
    code, printed = call("--csv", "--json", folder)
    assert (code, printed.out) == (2, "")
    assert printed.err.endswith("error: `json` and `csv` contradict each other: choose one\n")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc, as on Linux")
def test_a_folder_in_which_nobody_may_write_is_told_before_the_first_image(classifier):
    with pytest.raises(InputError, match=r"`explain` \(=/proc\) cannot be written to: "):
        next(predict_and_explain(classifier, [Path("none.png")], "/proc"))


def test_a_thousand_files_of_which_one_is_damaged(folder):
    """Each once and in order, the damaged one told in its place."""
    many = [sorted(folder.glob("b/*.png"))[k % 3] for k in range(1000)]
    many[617] = folder / "a" / "scan-1.png"
    found = list(predict(without_places(), many, top_k=1))
    assert [prediction.path for prediction in found] == many
    assert [k for k, prediction in enumerate(found) if prediction.error] == [617]
    assert found[617] == Prediction(many[617], error=found[617].error)
    assert len({prediction.guesses for prediction in found}) <= 1 + 3 * 2  # but for rounding


def test_a_network_is_compiled_once_for_files_one_after_the_other(classifier, folder):
    """And another network of the same model and preprocessing gives answers of its own."""
    traced = []

    def logits(model, variables, images):
        traced.append(images.shape)
        return (model.apply(variables, images),)

    def answer(asked):
        (look,) = looks(asked, [folder / "a" / "scan-0.png"], logits, batch_size=4)
        return look.answers[0]

    other = replace(classifier, variables=jax.tree.map(lambda leaf: 2 * leaf, classifier.variables))
    first, again = answer(classifier), answer(classifier)
    assert traced == [(1, 8, 8, 1)]
    np.testing.assert_array_equal(first, again)
    assert np.abs(answer(other) - first).max() > 1e-3


def test_a_classifier_that_is_not_used_any_more_frees_its_weights(folder):
    """What was compiled for it does not keep them."""
    classifier = without_places()
    weights = weakref.ref(jax.tree.leaves(classifier.variables)[0])
    assert list(predict(classifier, [folder / "a" / "scan-0.png"]))
    del classifier
    gc.collect()
    assert weights() is None
