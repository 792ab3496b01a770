"""Blocks of image files, decoded into their places in a file of pixels."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_jax.data.decoding import Framing, decode, decode_framed, explain
from cnn_jax.data.tree import reader


@dataclass(frozen=True)
class Target:
    """Where the files are, and where and how their pixels go.

    Attributes:
        root: the folder or archive of the files.
        pixels: the file that takes the pixels, as large as it must be.
        shape: (H, W, C) of every image.
        resized: whether images are brought to that size; else they must have it.
        framing: how, where that is laid down.
    """

    root: Path
    pixels: Path
    shape: tuple[int, int, int]
    resized: bool
    framing: Framing | None = None


@dataclass(frozen=True)
class Block:
    """What is known of images after they were written.

    Attributes:
        checksums: uint64 [B], of the pixels.
        contents: uint64 [B], of the files: equal for equal files.
        problems: position in the block -> why the file cannot be used; its pixels are zeros.
    """

    checksums: np.ndarray
    contents: np.ndarray
    problems: dict[int, str]


def block_writer(target: Target) -> Callable[[tuple[int, Sequence[str]]], Block]:
    """Make the function that decodes and writes a block: what a worker does.

    Args:
        target: where from and where to.

    Returns:
        A function of (position of the first image, names of the files).
    """
    read = reader(target.root)
    stride = int(np.prod(target.shape))

    def write(task: tuple[int, Sequence[str]]) -> Block:
        start, names = task
        pixels = np.zeros((len(names), *target.shape), np.uint8)
        contents, problems = np.zeros(len(names), np.uint64), {}
        for position, name in enumerate(names):
            try:
                content = read(name)
                contents[position] = checksum(content)
                pixels[position] = decode_to(
                    content, target.shape, resized=target.resized, framing=target.framing
                )
            except MemoryError:
                raise
            except Exception as error:
                problems[position] = explain(error)
        descriptor = os.open(target.pixels, os.O_WRONLY)
        try:
            write_all(descriptor, pixels, start * stride)
        finally:
            os.close(descriptor)
        return Block(checksums_of(pixels), contents, problems)

    return write


def decode_to(
    content: bytes, shape: tuple[int, int, int], *, resized: bool, framing: Framing | None = None
) -> np.ndarray:
    """Decode an image to a shape, or demand that it has that shape already.

    Args:
        content: of the file.
        shape: (H, W, C).
        resized: whether the image is resized and cut to the shape.
        framing: how; None for `decode`'s own way.

    Returns:
        uint8 [H, W, C].

    Raises:
        Exception: of any type, which `explain` puts into words.
    """
    if framing is not None:
        return decode_framed(content, framing)
    pixels = decode(content, channels=shape[2], size=shape[:2] if resized else None)
    if pixels.shape != shape:
        raise ValueError(
            f"it is {pixels.shape[1]}x{pixels.shape[0]}, and the others are {shape[1]}x{shape[0]}"
        )
    return pixels


def checksum(content: bytes | np.ndarray) -> int:
    """Checksum of 64 bits (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def checksums_of(pixels: np.ndarray) -> np.ndarray:
    """Checksums of images [B, ...], contiguous: uint64 [B]."""
    return np.array([checksum(image) for image in pixels], np.uint64)


def write_all(descriptor: int, content: bytes | np.ndarray, offset: int) -> None:
    """Write bytes, or an array, at an offset of a file; the system may take them in parts."""
    rest = memoryview(content).cast("B")
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
