"""Training images that are prepared as a photograph is for prediction, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.data.decoding import read_input
from cnn_jax.errors import InputError
from cnn_jax.weights.pretrained import Preprocessing
from tests.data.images import folder, picture, save, zipped

WEIGHTS = Preprocessing(size=(24, 24), crop_fraction=0.8, interpolation="bicubic")


@pytest.fixture
def photographs(tmp_path):
    """Of several sizes and kinds: large JPEG, turned by EXIF, grey, transparent, tiny."""
    root = folder(tmp_path / "pets", {"train/cat": 3, "train/dog": 2, "test/dog": 1}, size=(9, 40))
    save(root / "train" / "cat" / "large.jpg", picture(1, size=(300, 200)))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "train" / "cat" / "turned.jpg", picture(2, size=(50, 70)), exif=exif)
    save(root / "train" / "dog" / "grey.png", picture(3, channels=1))
    clear = np.dstack([picture(4), np.full((8, 10), 100, np.uint8)])
    save(root / "test" / "cat" / "clear.png", clear)
    return root


def whole(source) -> np.ndarray:
    return source.read(np.arange(len(source)))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("stream", [True, False])
def test_pixels_are_those_of_prediction(photographs, interpolation, stream):
    weights = replace(WEIGHTS, interpolation=interpolation)
    loaded = data.load(photographs, preprocessing=weights, validation=0, stream=stream)
    assert loaded.image_shape == (24, 24, 3)
    for split in ("train", "test"):
        files = sorted(
            path for path in (photographs / split).rglob("*") if path.suffix in (".png", ".jpg")
        )
        expected = [read_input(path, weights) for path in files]
        np.testing.assert_array_equal(whole(getattr(loaded, split)), expected)


def test_an_archive_and_inputs_that_are_grey_and_not_square(photographs, tmp_path):
    weights = Preprocessing(size=(10, 31), crop_fraction=1.0, mean=(0.5,), std=(0.5,))
    packed = zipped(photographs, tmp_path / "pets.zip")
    loaded = data.load(packed, preprocessing=weights, validation=0)
    expected = [read_input(path, weights) for path in sorted((photographs / "train").rglob("*.*"))]
    assert expected[0].shape == (10, 31, 1)
    np.testing.assert_array_equal(whole(loaded.train), expected)


def test_every_preparation_has_a_cache_and_a_fingerprint_of_its_own(photographs, cache_folder):
    ways = [
        {"image_size": 24},
        {"preprocessing": WEIGHTS},
        {"preprocessing": replace(WEIGHTS, crop_fraction=1.0)},
        {"preprocessing": replace(WEIGHTS, interpolation="nearest")},
        {"preprocessing": replace(WEIGHTS, size=(32, 32))},
    ]
    cached, streamed = (
        [
            data.load(photographs, validation=0, stream=stream, **way).train.fingerprint
            for way in ways
        ]
        for stream in (False, True)
    )
    assert len(set(cached)) == len(ways)
    assert streamed == cached
    caches = [path for path in cache_folder.iterdir() if path.is_dir()]
    assert len(caches) == len(ways)
    again = data.load(photographs, validation=0, stream=False, preprocessing=WEIGHTS)
    assert len([path for path in cache_folder.iterdir() if path.is_dir()]) == len(ways)
    other = replace(WEIGHTS, mean=(0.1, 0.2, 0.3))  # of the device, and not of the pixels
    same = data.load(photographs, validation=0, stream=False, preprocessing=other)
    assert same.train.fingerprint == again.train.fingerprint


def test_an_image_of_which_nothing_would_be_seen(photographs):
    save(photographs / "train" / "cat" / "long.png", np.zeros((2, 300, 3), np.uint8))
    for stream in (True, False):
        with pytest.raises(InputError, match="longer side of 300x2 must be at most 100 times"):
            data.load(photographs, preprocessing=WEIGHTS, stream=stream)


def test_what_does_not_go_together(photographs):
    with pytest.raises(InputError, match=r"`image_size` \(=24\) and `preprocessing` \(=24x24"):
        data.load(photographs, preprocessing=WEIGHTS, image_size=24)
    with pytest.raises(InputError, match=r"`preprocessing` \(=24x24, .* is for image files"):
        data.load("digits", preprocessing=WEIGHTS)
