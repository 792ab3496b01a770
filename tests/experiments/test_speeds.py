"""The experiments that measure speeds, shrunk: they run and tell."""

import re
import zipfile

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from experiments import augmentation_speed, frozen_backbone_speed, loader_speed, predict_speed


def told(command, *arguments) -> str:
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output + repr(outcome.exception)
    return outcome.output


def test_the_cache_and_the_memory(tmp_path):
    loader_speed.make_photographs(tmp_path / "photographs", count=40)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "photographs").rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path))
    options = ["--batch-size", 8, "--seconds", 0.1, "--without-memory"]
    output = told(loader_speed.main, "cache", "--images", tmp_path / "images.zip", *options)
    assert re.search(r"40 files inspected in [\d.]+ s, cached in [\d.]+ s; [\d,]+ images a", output)
    loader_speed.tenth_of(tmp_path / "photographs", tmp_path / "tenth")
    assert len(list((tmp_path / "tenth").rglob("*.jpg"))) == 4


def test_streaming_beside_pytorch():
    output = told(
        loader_speed.main, "stream", "--photographs", 12, "--batch-size", 4, "--rounds", 1,
        "--workers", 1,
    )  # fmt: skip
    assert re.search(r"\d+ images a second streamed, \d+ by the DataLoader: [\d.]+ times", output)


def test_both_loaders_show_the_same_pictures(tmp_path):
    """Ours leaves out what is cut away, and is a level off in one pixel of ten thousand."""
    loader_speed.make_photographs(tmp_path, count=4)
    ours = loader_speed.streamed(tmp_path, cache_dir=tmp_path / "cache")
    loader = loader_speed.torch_loader(tmp_path, batch_size=1, workers=0)
    theirs = {image[0].numpy().tobytes(): image[0].numpy() for image, _ in loader}
    for split in (ours.train, ours.test):
        for image in split.read(np.arange(len(split))).astype(int):
            nearest = min(np.abs(image - other).mean() for other in theirs.values())
            assert nearest < 0.01


@pytest.mark.parametrize("kind", augmentation_speed.KINDS)
def test_what_is_timed_is_augmented(kind):
    """Ours changes the images, and keeps their range; Keras is not among the tests' packages."""
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    function = augmentation_speed.our_function(kind, 16)
    changed, _ = function(jax.random.key(1), images, np.arange(4))
    assert changed.shape == images.shape
    assert (np.abs(changed - images / 255).max((1, 2, 3)) > 0.01).sum() >= 2
    batches = augmentation_speed.torch_batches(kind, images, batch_size=4, workers=0)
    ((theirs, _),) = list(batches)
    assert tuple(theirs.shape) == (4, 3, 16, 16)


def test_a_frozen_backbone(monkeypatch, capsys):
    monkeypatch.setattr(frozen_backbone_speed, "MODELS", (("mlp", 8),))
    frozen_backbone_speed.main(rounds=1)
    told = capsys.readouterr().out
    assert re.search(r"mlp +8 px  full +[\d.]+  frozen +[\d.]+ +[\d.]+ times faster", told)


def test_predicting_files_beside_a_loop(tmp_path, monkeypatch):
    small = predict_speed.small_classifier()
    monkeypatch.setattr(predict_speed, "pretrained_classifier", lambda name: small)
    loader_speed.make_photographs(tmp_path / "photographs", count=4)
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in sorted((tmp_path / "photographs").rglob("*.jpg")):
            archive.write(path, path.relative_to(tmp_path))
    options = ["--images", tmp_path / "images.zip", "--photographs", 3, "--rounds", 1]
    output = told(predict_speed.main, *options)
    assert len(re.findall(r"[\d,]+ images a second, [\d,]+ one by one: [\d.]+ times", output)) == 2
    assert output.startswith("4 JPEG files, simple_cnn")
    assert "3 photographs, efficientnet_lite0" in output
