"""The IDX format of MNIST and its kin."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from cnn_jax.data.source import ArraySource, array_source
from cnn_jax.errors import InputError

# Third byte of the magic number: the type of the values, all big-endian.
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_NAMES = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> np.ndarray:
    """Read one IDX file, gzip-compressed or not.

    The format: two zero bytes, a byte for the type, a byte for the number of dimensions, each
    dimension as a big-endian uint32, then the values in C order (LeCun, "The MNIST database").

    Args:
        path: the file.

    Returns:
        The array, in the machine's byte order.

    Raises:
        InputError: the file cannot be read, is not IDX, or holds fewer or more bytes than its
            header says.
    """
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path} is a truncated or damaged gzip file ({error}): fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error

    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _TYPES:
        raise InputError(
            f"{path} is not an IDX file: it must begin with two zero bytes and a type from 0x08 "
            f"to 0x0e, and begins with {content[:4].hex(' ') or 'nothing'}"
        )
    dtype, rank = np.dtype(_TYPES[content[2]]), content[3]
    start = 4 + 4 * rank
    if len(content) < start:
        raise InputError(
            f"{path} is truncated: its header needs {start} bytes and has {len(content)}"
        )
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        state = "truncated" if len(content) < expected else "too long"
        raise InputError(
            f"{path} is {state}: its header announces {expected} bytes (shape {shape}) and it has "
            f"{len(content)}: fetch it again"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def read_idx_split(folder: Path, split: str) -> ArraySource:
    """Read the images and labels of one split of a folder in MNIST's layout.

    Args:
        folder: holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the two `t10k-`
            files, each with or without `.gz`.
        split: "train" or "test".

    Returns:
        The source.

    Raises:
        InputError: a file is missing or damaged, or images and labels differ in number.
    """
    images, labels = (
        read_idx(_find(folder, f"{_NAMES[split]}-{kind}"))
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    )
    return array_source(images, labels, name=f"the {split} split of {folder}")


def is_idx_folder(folder: Path) -> bool:
    """Tell whether a folder holds IDX files."""
    return any(folder.glob("*-idx[0-9]-ubyte*"))


def _find(folder: Path, stem: str) -> Path:
    for name in (stem, f"{stem}.gz"):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{folder} has no file {stem} or {stem}.gz: all four IDX files must be there")
