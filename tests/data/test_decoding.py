"""Image files are seen as a viewer shows them, and resized as torchvision does."""

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data.decoding import read_image, read_input, resize_and_crop
from cnn_jax.errors import InputError
from cnn_jax.weights.pretrained import Preprocessing

RAMP = np.add.outer(np.arange(32), 4 * np.arange(48)).astype(np.uint8)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
RED, WHITE = [255, 0, 0], [255, 255, 255]


def seen(path, **options) -> np.ndarray:
    image = read_image(path, **options)
    assert image.mode in ("L", "RGB")
    return np.asarray(image)


def turned(path, orientation):
    """Save so that, turned as the tag says, COLOURS is seen."""
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo(COLOURS))).save(path, exif=exif)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_stands_upright(tmp_path, orientation):
    turned(tmp_path / "photo.png", orientation)
    np.testing.assert_array_equal(seen(tmp_path / "photo.png"), COLOURS)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA"])
def test_modes_without_hidden_parts(tmp_path, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    image.save(tmp_path / "image.png")
    np.testing.assert_array_equal(seen(tmp_path / "image.png"), np.asarray(image.convert("RGB")))


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    pixels = RAMP.astype(np.uint16) * 257
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(seen(tmp_path / "deep.png", channels=1), RAMP)
    Image.fromarray(pixels.astype(np.int32)).save(tmp_path / "deep.tif")
    np.testing.assert_array_equal(seen(tmp_path / "deep.tif", channels=1), RAMP)
    Image.fromarray(RAMP / np.float32(255)).save(tmp_path / "real.tif")
    np.testing.assert_array_equal(seen(tmp_path / "real.tif", channels=1), RAMP)


def test_what_is_transparent_is_white(tmp_path):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 2, 4))
    image.save(tmp_path / "rgba.png")
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.paste(0, (0, 0, 2, 4))
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    for name in ("rgba.png", "palette.png", "palette.gif"):
        pixels = seen(tmp_path / name)
        assert pixels[0, 0].tolist() == RED, name
        assert pixels[0, 3].tolist() == WHITE, name


def test_cmyk_is_not_a_negative(tmp_path):
    Image.new("RGB", (16, 16), "red").convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    pixels = seen(tmp_path / "print.jpg").astype(int)
    assert abs(pixels - RED).max() <= 4


def test_of_an_animation_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert seen(tmp_path / "moving.gif")[0, 0].tolist() == RED


@pytest.mark.parametrize("crop_fraction", [0.875, 0.9, 1.0])
@pytest.mark.parametrize("size", [(48, 32), (37, 91), (64, 64), (1000, 31), (67, 64), (64, 67)])
def test_resizing_is_torchvision_s(size, crop_fraction):
    from tests.parity import torchvision

    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    image = Image.fromarray(pixels)
    ours = resize_and_crop(image, Preprocessing(size=(56, 56), crop_fraction=crop_fraction))
    modes = torchvision.transforms.InterpolationMode
    resize = torchvision.transforms.Resize(int(56 / crop_fraction), modes.BICUBIC)
    theirs = torchvision.transforms.CenterCrop(56)(resize(image))
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_inputs_that_are_not_square_and_images_that_fit_already():
    grey = Image.fromarray(RAMP)
    whole = Preprocessing(size=(32, 48), crop_fraction=1.0, mean=(0.5,), std=(0.5,))
    np.testing.assert_array_equal(resize_and_crop(grey, whole)[..., 0], RAMP)
    for size in ((8, 48), (32, 5), (1, 1)):
        cut = Preprocessing(size=size, mean=(0.5,), std=(0.5,))
        assert resize_and_crop(grey, cut).shape == (*size, 1)


def truncated(path):
    Image.fromarray(COLOURS).save(path, format="jpeg")
    path.write_bytes(path.read_bytes()[:-200])


BAD_FILES = {
    "missing": (lambda path: None, "does not exist: check the spelling"),
    "empty": (lambda path: path.touch(), "is no image of a known format: convert it"),
    "text": (lambda path: path.write_text("<html>"), "is no image of a known format"),
    "truncated": (truncated, "cannot be read as an image ("),
    "folder": (lambda path: path.mkdir(), "cannot be read as an image (Is a directory)"),
    "elongated": (
        lambda path: Image.new("L", (101, 1)).save(path, format="png"),
        "is 101x1, and only its middle would be seen: the longer side must be at most 100 times",
    ),
    "deep": (
        lambda path: Image.fromarray(np.full((4, 4), 70000, np.int32)).save(path, format="tiff"),
        "its pixels go from 70000 to 70000, and must be in 0 to 65535",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(tmp_path, case):
    make, words = BAD_FILES[case]
    path = tmp_path / "image"
    make(path)
    with pytest.raises(InputError) as caught:
        read_input(path, Preprocessing(size=(8, 8)))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
