"""Image files as sources: pixels, classes and splits."""

import io

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.data.decoding import read_image
from cnn_jax.errors import InputError
from tests.conftest import ROOT
from tests.data.images import folder, picture, save, zipped

CIFAR = ROOT.parent / "shared" / "data" / "cifar10-jpeg.zip"


def whole(source) -> np.ndarray:
    return source.read(np.arange(len(source)))


def test_a_folder_with_splits(tmp_path):
    root = folder(tmp_path, {"train/a": 3, "train/b": 2, "val/b": 1, "test/a": 2}, ending=".jpg")
    loaded = data.load(root)
    assert (loaded.image_shape, loaded.class_names) == ((8, 10, 3), ("a", "b"))
    assert loaded.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert loaded.validation.labels.tolist() == [1]
    paths = [f"train/{name}.jpg" for name in ("a/0000", "a/0001", "a/0002", "b/0000", "b/0001")]
    seen = np.stack([np.asarray(Image.open(root / path)) for path in paths])
    np.testing.assert_array_equal(whole(loaded.train), seen)


def test_an_archive_is_its_folder(tmp_path):
    root = folder(tmp_path / "pets", {"cat": 30, "dog": 20})
    loaded, packed = data.load(root), data.load(zipped(root, tmp_path / "pets.zip"))
    assert loaded.name == packed.name == "pets"
    for split in ("train", "validation", "test"):
        one, other = getattr(loaded, split), getattr(packed, split)
        np.testing.assert_array_equal(whole(one), whole(other))
        assert one.fingerprint == other.fingerprint


def test_images_of_several_sizes_are_brought_to_one(tmp_path):
    folder(tmp_path, {"a": 4}, size=(30, 40))
    folder(tmp_path, {"b": 4}, size=(50, 24))
    assert data.load(tmp_path, test=2, validation=2).image_shape == (224, 224, 3)
    loaded = data.load(tmp_path, test=2, validation=2, image_size=(20, 16))
    assert loaded.image_shape == (20, 16, 3)
    image = Image.fromarray(picture(0, size=(30, 40))).resize((26, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(image.crop((5, 0, 21, 20)))
    # A pixel may be one level off, since those that are cut away are not computed.
    apart = abs(whole(loaded.train.source)[0].astype(int) - expected)
    assert apart.max() <= 1
    assert apart.mean() < 0.01


@pytest.mark.parametrize(("third", "channels"), [(1, 1), (3, 3)])
def test_grey_folders_have_one_channel(tmp_path, third, channels):
    folder(tmp_path, {"a": 6, "b": 6}, channels=1)
    save(tmp_path / "a" / "zz.png", picture(9, channels=third))
    loaded = data.load(tmp_path, test=2, validation=2)
    assert loaded.image_shape == (8, 10, channels)
    first = loaded.train.source.read(np.array([0]))
    np.testing.assert_array_equal(first, np.broadcast_to(picture(0, channels=1), first.shape))


def rotated(path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    upright = picture(0, size=(8, 10))
    save(path.with_suffix(".jpg"), np.ascontiguousarray(np.rot90(upright)), exif=exif, quality=95)


def palette(path):
    image = Image.new("P", (10, 8), 1)
    image.putpalette([255, 0, 0, 0, 128, 0])
    image.paste(0, (0, 0, 5, 8))
    image.save(path, transparency=1)


def animated(path):
    frames = [Image.fromarray(picture(seed)) for seed in (0, 1)]
    frames[0].save(path.with_suffix(".gif"), save_all=True, append_images=frames[1:])


def deep(path):
    Image.fromarray(picture(0, channels=1)[..., 0].astype(np.uint16) * 257).save(path)


KINDS = {
    "rotated": rotated,
    "palette": palette,
    "animated": animated,
    "deep": deep,
    "rgba": lambda path: Image.new("RGBA", (10, 8), (255, 0, 0, 128)).save(path),
    "cmyk": lambda path: Image.new("CMYK", (10, 8), (0, 255, 9, 0)).save(path.with_suffix(".jpg")),
    "webp": lambda path: save(path.with_suffix(".webp"), picture(0), lossless=True),
    "bmp": lambda path: save(path.with_suffix(".bmp"), picture(0)),
}


@pytest.mark.parametrize("image_size", [None, (8, 10)])
@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind_are_seen_as_a_viewer_shows_them(tmp_path, kind, image_size):
    folder(tmp_path, {"z": 6})
    (tmp_path / "a").mkdir()
    KINDS[kind](tmp_path / "a" / "0.png")
    (path,) = (tmp_path / "a").iterdir()
    loaded = data.load(tmp_path, test=1, validation=1, image_size=image_size)
    assert loaded.image_shape == (8, 10, 3)
    seen = loaded.train.source.read(np.array([0]))[0]
    np.testing.assert_array_equal(seen, np.asarray(read_image(path)))


def test_an_image_size_is_for_image_files():
    with pytest.raises(
        InputError, match=r"`image_size` \(=32\) is for image files, and digits is none"
    ):
        data.load("digits", image_size=32)


@pytest.mark.skipif(
    not CIFAR.is_file(), reason="no shared/data/cifar10-jpeg.zip beside the repository"
)
def test_the_order_of_a_real_archive():
    """60,000 files, of which a few are decoded, since all take seconds."""
    from cnn_jax.data.blocks import decode_to
    from cnn_jax.data.listing import list_files
    from cnn_jax.data.tree import reader

    listing = list_files(CIFAR)
    assert np.bincount(listing.splits).tolist() == [50_000, 0, 10_000]
    assert np.bincount(listing.labels).tolist() == [6000] * 10
    assert listing.names[:2] == ("airplane/0000.jpg", "airplane/0001.jpg")
    assert listing.names[-1] == "truck/0999.jpg"
    read = reader(CIFAR)
    for name in listing.paths[::3001]:
        with Image.open(io.BytesIO(read(name))) as image:
            seen = decode_to(read(name), (32, 32, 3), resized=False)
            np.testing.assert_array_equal(seen, np.asarray(image))


@pytest.mark.parametrize("size", [0, (8, -1), (8, 8, 8), 7.5, (7.5, 8)])
def test_impossible_sizes(tmp_path, size):
    folder(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(InputError, match=r"`image_size` \(=.*\) must be a side, or height and"):
        data.load(tmp_path, image_size=size)
