"""The experiments with pretrained networks, shrunk."""

import zipfile

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_jax import create_model
from cnn_jax.errors import InputError
from cnn_jax.predict import Classifier
from cnn_jax.recipe import check
from cnn_jax.weights.pretrained import Preprocessing
from experiments import explain_photographs, transfer_cifar10, transfer_every_family


@pytest.fixture(scope="module")
def classifier():
    model = create_model("simple_cnn")
    variables = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    names = tuple(map(str, range(model.num_classes)))
    return Classifier(model, variables, Preprocessing((32, 32), crop_fraction=1.0), names)


def test_a_family_is_fine_tuned_by_every_strategy():
    done = CliRunner().invoke(transfer_every_family.main, ["lenet5"])
    assert done.exit_code == 0, done.output + repr(done.exception)
    # Three classes on 84 features; all; and with the two dense layers before.
    assert [word for word in done.output.split() if word[:1].isdigit()][:5] == [
        "255", "61,111", "61,111", "58,539", "61,111",
    ]  # fmt: skip


def test_the_ways_of_using_a_network(classifier, tmp_path, monkeypatch):
    """An archive as CIFAR-10's, of bright and dark images; the recipes are checked, not run."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for split, label, number in np.ndindex(2, 2, 15):
            pixels = rng.integers(100 * label, 100 * label + 100, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "one.png")
            name = f"images/{('train', 'test')[split]}/{('dark', 'bright')[label]}/{number:02}.png"
            archive.write(tmp_path / "one.png", name)
    folder = tmp_path / "folder"
    transfer_cifar10.unpack(tmp_path / "images.zip", folder, train=10, test=5)
    assert len(list(folder.rglob("*.png"))) == 30

    monkeypatch.setattr(transfer_cifar10, "pretrained_classifier", lambda name: classifier)
    data, classifier = transfer_cifar10.load(folder, size=32)
    found, probe = transfer_cifar10.on_features(data, classifier)
    assert [accuracy for _, accuracy in found.values()] == [1.0, 1.0]
    recipes = transfer_cifar10.recipes(data, classifier, probe, epochs=2)
    del recipes["from scratch"]  # which is the network of the experiment
    for recipe in recipes.values():
        check(transfer_cifar10.replace(recipe, batch_size=4))
    begun_with = recipes["full fine-tuning"].initial["params"]["fc2"]["kernel"]
    np.testing.assert_array_equal(begun_with, probe.kernel)


def test_images_of_another_count_are_unpacked_anew(tmp_path, monkeypatch):
    """And what is left of an unpacking that was ended is not taken for all of them."""
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for split, number in np.ndindex(2, 3):
            archive.writestr(f"{('train', 'test')[split]}/a/{number}.png", b"pixels")
    found = []

    def load(folder, *, size):
        found.append(sorted(path.name for path in folder.glob("train/a/*")))
        raise InputError("that is enough")

    monkeypatch.setattr(transfer_cifar10, "load", load)
    command = ["--images", str(tmp_path / "images.zip"), "--workdir", str(tmp_path / "runs")]
    call = CliRunner().invoke
    with monkeypatch.context() as patch:
        patch.setattr(transfer_cifar10.Path, "write_bytes", lambda path, content: 1 / 0)
        assert isinstance(
            call(transfer_cifar10.main, [*command, "--train", "1"]).exception, ZeroDivisionError
        )
    for train in ("1", "2", "2"):
        call(transfer_cifar10.main, [*command, "--train", train])
    assert found == [["0.png"], ["0.png", "1.png"], ["0.png", "1.png"]]


def test_photographs_are_explained(classifier, tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    explain_photographs.draw(classifier, images, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    mapped, forward = explain_photographs.cost(classifier, images=4, times=1)
    assert mapped > 0 and forward > 0
