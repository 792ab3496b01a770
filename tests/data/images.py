"""Tiny folders of image files, for the tests of what reads them."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, *, size: tuple[int, int] = (8, 10), channels: int = 3) -> np.ndarray:
    """Smooth random pixels, uint8 [H, W, C], which JPEG changes little."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    image = Image.fromarray(coarse[..., 0] if channels == 1 else coarse)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BICUBIC)).reshape(*size, channels)


def save(path: Path, pixels: np.ndarray, **options) -> None:
    """Write an image file, and the folders above it; `format` and the like go to Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path, **options)


def folder(root: Path, counts: dict[str, int], *, ending: str = ".png", **options) -> Path:
    """Write pictures: `counts` says how many go into each folder below `root`."""
    for number, (name, count) in enumerate(counts.items()):
        for k in range(count):
            save(root / name / f"{k:04}{ending}", picture(1000 * number + k, **options))
    return root


def zipped(root: Path, path: Path) -> Path:
    """Pack a folder, itself included, into an archive."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path


def encoded(pixels: np.ndarray, form: str = "png", **options) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
