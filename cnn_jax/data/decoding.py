"""Image files as a person sees them, brought to the size that a network takes."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnn_jax.errors import InputError

if TYPE_CHECKING:  # it takes seconds to import
    from cnn_jax.weights.pretrained import Preprocessing

_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, height and width change places
_MODES = {1: "L", 3: "RGB"}
# A line a pixel wide would be resized to gigabytes before its middle is cut out.
_MOST_ELONGATED = 100


class Framing(NamedTuple):
    """How an image is brought to a size: what a `Preprocessing` does to pixels before the device.

    Apart from that, so that processes which only decode need not import what it needs.

    Attributes:
        size: (height, width) of the result.
        crop_fraction: side of the result as a fraction of the side that is resized to.
        interpolation: nearest, bilinear, bicubic or lanczos, with antialiasing.
        channels: 1 for grey, 3 for red, green and blue.
    """

    size: tuple[int, int]
    crop_fraction: float
    interpolation: str
    channels: int


def framing_of(preprocessing: "Preprocessing") -> Framing:
    """Return what a preprocessing does to pixels before the device.

    >>> from cnn_jax.weights.pretrained import Preprocessing
    >>> framing_of(Preprocessing(size=(64, 64)))
    Framing(size=(64, 64), crop_fraction=0.875, interpolation='bicubic', channels=3)
    """
    return Framing(*(getattr(preprocessing, name) for name in Framing._fields))


def read_input(path: str | Path, preprocessing: "Preprocessing") -> np.ndarray:
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
    # Pillow's decoders raise errors of many kinds for damaged files.
    except Exception as error:
        raise InputError(f"{path} {explain(error)}") from error


class Header(NamedTuple):
    """What the beginning of an image file says, as the image will be seen.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 1 for grey, 3 for colour.
    """

    height: int
    width: int
    channels: int


def read_header(content: bytes) -> Header:
    """Read size and kind of an image without decoding it.

    Args:
        content: of the file.

    Returns:
        The size after the turn that EXIF asks for, and whether the image is grey.

    Raises:
        Exception: of any type, which `explain` puts into words.

    >>> file = io.BytesIO()
    >>> Image.new("L", (6, 4)).save(file, "png")
    >>> read_header(file.getvalue())
    Header(height=4, width=6, channels=1)
    """
    with Image.open(io.BytesIO(content)) as file:
        return _header(file)


def decode(content: bytes, *, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode the bytes of an image file as a viewer would show it, as `read_image` does.

    Args:
        content: of the file.
        channels: 1 for grey, 3 for red, green and blue.
        size: (height, width) to bring it to: resized (bilinear, antialiased) until it covers that,
            the middle cut out. A JPEG of more than twice the size is decoded at a half, quarter or
            eighth, which is several times as fast. None to leave it as it is.

    Returns:
        uint8 [H, W, C].

    Raises:
        Exception: of any type, which `explain` puts into words.

    >>> file = io.BytesIO()
    >>> Image.new("RGB", (300, 200), "red").save(file, "png")
    >>> decode(file.getvalue(), channels=3, size=(64, 64))[0, 0]
    array([255,   0,   0], dtype=uint8)
    """
    _, image = decode_upright(content, least=size)
    if image.mode != _MODES[channels]:
        image = image.convert(_MODES[channels])
    if size is not None:
        refuse_lines(image.size)
        image = _fill(image, size)
    return np.asarray(image).reshape(image.height, image.width, channels)


def decode_framed(content: bytes, framing: Framing) -> np.ndarray:
    """Decode the bytes of an image file to an input, as `read_input` does.

    Args:
        content: of the file.
        framing: size, crop, interpolation and channels.

    Returns:
        uint8 [H, W, C].

    Raises:
        Exception: of any type, which `explain` puts into words.

    >>> file = io.BytesIO()
    >>> Image.new("L", (300, 200), 7).save(file, "png")
    >>> decode_framed(file.getvalue(), Framing((64, 64), 0.875, "bicubic", 3))[0, 0]
    array([7, 7, 7], dtype=uint8)
    """
    _, image = decode_upright(content)
    refuse_lines(image.size)
    if image.mode != _MODES[framing.channels]:
        image = image.convert(_MODES[framing.channels])
    return resize_and_crop(image, framing)


def decode_upright(
    content: bytes, *, least: tuple[int, int] | None = None
) -> tuple[Header, Image.Image]:
    """Decode the bytes of an image file, without bringing it to a size.

    Args:
        content: of the file.
        least: (height, width) that is enough: a JPEG may be decoded at a half, quarter or eighth,
            but not below this.

    Returns:
        Size and kind as the file says, and the image, in a mode of 8 bits and opaque.

    Raises:
        Exception: of any type, which `explain` puts into words.
    """
    with Image.open(io.BytesIO(content)) as file:
        header, turned = _header(file), file.getexif().get(_ORIENTATION, 1)
        if least is not None:
            file.draft(None, least if turned >= 5 else least[::-1])
        file.load()
        if turned > 1:
            ImageOps.exif_transpose(file, in_place=True)
        return header, _opaque(_eight_bits(file))


def explain(error: Exception) -> str:
    """Say what is wrong with a file that cannot be decoded, and what to do.

    Args:
        error: what was raised.

    Returns:
        What makes a sentence with the name of the file before it.

    >>> explain(ValueError("no bytes"))
    'cannot be read as an image (no bytes): fetch it again'
    """
    if isinstance(error, FileNotFoundError):
        return "does not exist: check the spelling"
    if isinstance(error, PermissionError):
        return "cannot be read (permission denied): allow it, or remove it"
    if isinstance(error, UnidentifiedImageError):
        return "is no image of a known format: convert it to PNG"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return (
            f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels, as a file made to fill the memory "
            "has: shrink it"
        )
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = " ".join(reason.split())
    return f"cannot be read as an image ({reason}): fetch it again"


def resize_and_crop(image: Image.Image, preprocessing: "Preprocessing | Framing") -> np.ndarray:
    """Resize an image until it covers the size before the crop, and cut out its middle.

    For a square size this is torchvision's `Resize` and `CenterCrop`, pixel by pixel.

    Args:
        image: of any size, in the mode that the preprocessing has channels for.
        preprocessing: size, crop and interpolation.

    Returns:
        uint8 [H, W, C].

    >>> from cnn_jax.weights.pretrained import Preprocessing
    >>> image = Image.new("RGB", (300, 200), "red")
    >>> resize_and_crop(image, Preprocessing(size=(64, 64))).shape
    (64, 64, 3)
    """
    covered = tuple(int(side / preprocessing.crop_fraction) for side in preprocessing.size)
    resampling = Image.Resampling[preprocessing.interpolation.upper()]
    image = _cover(image, covered, preprocessing.size, resampling)
    return np.asarray(image).reshape(*preprocessing.size, preprocessing.channels)


def refuse_lines(size: tuple[int, int]) -> None:
    """Refuse an image so elongated that cut to its middle it would show nothing.

    Args:
        size: width and height, or height and width.

    Raises:
        ValueError: one is more than a hundred times the other.
    """
    if max(size) > _MOST_ELONGATED * min(size):
        raise ValueError(
            f"the longer side of {size[0]}x{size[1]} must be at most {_MOST_ELONGATED} "
            "times the shorter"
        )


def _cover(
    image: Image.Image,
    covered: tuple[int, int],
    size: tuple[int, int],
    resampling: Image.Resampling,
) -> Image.Image:
    """Resize until the image covers (height, width), and cut out a middle of another such size."""
    whole, (height, width) = _covering(image, covered), size
    if image.size != whole:
        image = image.resize(whole, resampling)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _fill(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Do as `_cover` does for equal sizes, but compute no pixel that is cut away.

    A pixel in ten thousand is one level off.
    """
    whole, (height, width) = _covering(image, size), size
    if image.size == (width, height):
        return image
    left, top = round((whole[0] - width) / 2), round((whole[1] - height) / 2)
    across, down = image.width / whole[0], image.height / whole[1]
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=box)


def _covering(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Choose (width, height) in the image's ratio that cover (height, width)."""
    height, width = size
    if image.width * height <= image.height * width:
        return width, int(width * image.height / image.width)
    return int(height * image.width / image.height), height


def _header(file: Image.Image) -> Header:
    # Pillow itself only warns up to twice this number.
    if file.width * file.height > Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if min(file.size) < 2:
        raise ValueError(f"it is {file.width}x{file.height}, in which nothing can be seen")
    turned = file.getexif().get(_ORIENTATION, 1) >= 5
    height, width = file.size if turned else file.size[::-1]
    return Header(height, width, 1 if _is_grey(file) else 3)


def _is_grey(file: Image.Image) -> bool:
    if file.mode == "P":
        entries = np.frombuffer(file.palette.getdata()[1], np.uint8)
        palette = entries[: len(entries) // 3 * 3].reshape(-1, 3)
        return file.palette.mode == "RGB" and bool((palette == palette[:, :1]).all())
    return file.mode.startswith(("1", "L", "I", "F"))


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
