"""Image files as a person sees them, brought to the size that a network takes."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnn_jax.errors import InputError
from cnn_jax.weights.pretrained import Preprocessing

_MODES = {1: "L", 3: "RGB"}
# A line a pixel wide would be resized to gigabytes before its middle is cut out.
_MOST_ELONGATED = 100


def read_input(path: str | Path, preprocessing: Preprocessing) -> np.ndarray:
    """Read an image file and bring it to the size of an input.

    Args:
        path: the file.
        preprocessing: size, crop and interpolation; mean and deviation are left to the device.

    Returns:
        uint8 [H, W, C].

    Raises:
        InputError: the file cannot be read, or its image is too elongated to be cropped.
    """
    image = read_image(path, channels=preprocessing.channels)
    if max(image.size) > _MOST_ELONGATED * min(image.size):
        raise InputError(
            f"{path} is {image.width}x{image.height}, and only its middle would be seen: the "
            f"longer side must be at most {_MOST_ELONGATED} times the shorter, so crop it"
        )
    return resize_and_crop(image, preprocessing)


def read_image(path: str | Path, *, channels: int = 3) -> Image.Image:
    """Read an image file as a viewer would show it.

    It is turned as its EXIF orientation says; what is transparent is white; pixels of 16 bits are
    scaled to 8; of an animation the first frame is taken. Colour profiles are not applied.

    Args:
        path: the file, in any format that Pillow reads.
        channels: 1 for grey, 3 for red, green and blue.

    Returns:
        The image, in Pillow's mode L or RGB.

    Raises:
        InputError: there is no such file, or it is no image, or damaged.
    """
    try:
        with Image.open(path) as file:
            file.load()
            return _opaque(_eight_bits(ImageOps.exif_transpose(file))).convert(_MODES[channels])
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist: check the spelling") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is no image of a known format: convert it to PNG") from error
    # Pillow's decoders raise errors of many kinds for damaged files.
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{path} cannot be read as an image ({reason}): fetch it again") from error


def resize_and_crop(image: Image.Image, preprocessing: Preprocessing) -> np.ndarray:
    """Resize an image until it covers the size before the crop, and cut out its middle.

    For a square size this is torchvision's `Resize` and `CenterCrop`, pixel by pixel.

    Args:
        image: of any size, in the mode that the preprocessing has channels for.
        preprocessing: size, crop and interpolation.

    Returns:
        uint8 [H, W, C].

    >>> image = Image.new("RGB", (300, 200), "red")
    >>> resize_and_crop(image, Preprocessing(size=(64, 64))).shape
    (64, 64, 3)
    """
    height, width = preprocessing.size
    covered_height = int(height / preprocessing.crop_fraction)
    covered_width = int(width / preprocessing.crop_fraction)
    if image.width * covered_height <= image.height * covered_width:
        size = covered_width, int(covered_width * image.height / image.width)
    else:
        size = int(covered_height * image.width / image.height), covered_height
    if image.size != size:
        image = image.resize(size, Image.Resampling[preprocessing.interpolation.upper()])
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    pixels = np.asarray(image.crop((left, top, left + width, top + height)))
    return pixels.reshape(height, width, preprocessing.channels)


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring pixels of more than 8 bits to 8: converting them, Pillow would clip them at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    pixels = np.asarray(image)
    highest = 1.0 if image.mode == "F" else 65535
    if not (pixels.min() >= 0 and pixels.max() <= highest):
        raise ValueError(
            f"its pixels go from {pixels.min():g} to {pixels.max():g}, and must be in 0 to "
            f"{highest:g}"
        )
    return Image.fromarray(np.round(pixels * (255 / highest)).astype(np.uint8))
