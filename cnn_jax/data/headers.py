"""Sizes and kinds of image files, and the shape that all are to have."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.bars import counting
from cnn_jax.data.decoding import Framing, explain, read_header, refuse_lines
from cnn_jax.data.listing import Listing
from cnn_jax.data.tree import reader
from cnn_jax.data.workers import share_out, workers_for
from cnn_jax.errors import InputError

# Where images are of several sizes and none is asked for: what most ImageNet models take.
DEFAULT_SIZE = 224
_BLOCK = 1024


def read_headers(listing: Listing) -> np.ndarray:
    """Read the size and the channels of every image, in several processes.

    Args:
        listing: the files.

    Returns:
        int32 [N, 3]: height, width, channels (1 or 3); zeros where a file cannot be read.
    """
    tasks = [listing.paths[start : start + _BLOCK] for start in range(0, len(listing), _BLOCK)]
    headers = np.zeros((len(listing), 3), np.int32)
    with counting("looking at", len(listing)) as advance:
        for block, rows in share_out(
            header_reader, listing.root, tasks, workers=workers_for(len(listing))
        ):
            headers[block * _BLOCK : block * _BLOCK + len(rows)] = rows
            advance(len(rows))
    return headers


def header_reader(root: Path) -> Callable[[Sequence[str]], np.ndarray]:
    """Make the function that reads the headers of files: what a worker does.

    Args:
        root: the folder or archive.

    Returns:
        A function of names, which returns the rows for `read_headers`.
    """
    read = reader(root)

    def rows(names: Sequence[str]) -> np.ndarray:
        found = np.zeros((len(names), 3), np.int32)
        for row, name in zip(found, names, strict=True):
            row[:] = header_of(partial(read, name))
        return found

    return rows


def header_of(read: Callable[[], bytes]) -> tuple[int, int, int]:
    """Read the header of a file: zeros where that cannot be; whoever decodes it says why.

    Args:
        read: returns the bytes of the file.

    Returns:
        Height, width and channels.

    >>> header_of(lambda: b"no image")
    (0, 0, 0)
    """
    try:
        return tuple(read_header(read()))
    except MemoryError:
        raise
    except Exception:
        return 0, 0, 0


def common_shape(
    headers: np.ndarray, size: tuple[int, int] | None, *, framing: Framing | None = None
) -> tuple[tuple[int, int, int], bool] | None:
    """Choose the shape that all images are to have.

    Args:
        headers: as of `read_headers`.
        size: (height, width) asked for; None for the images' own, or 224x224 where these differ.
        framing: size and channels, where they are laid down.

    Returns:
        (H, W, C), with one channel where every image is grey; and whether images must be resized.
        None where no image can be read.

    >>> common_shape(np.array([[32, 32, 3], [32, 32, 1], [0, 0, 0]]), None)
    ((32, 32, 3), False)
    >>> common_shape(np.array([[32, 32, 1], [32, 40, 1]]), None)
    ((224, 224, 1), True)
    """
    readable = headers[headers[:, 0] > 0]
    if not len(readable):
        return None
    if framing is not None:
        return (*framing.size, framing.channels), True
    channels = int(readable[:, 2].max())
    if size is None and (readable[:, :2] == readable[0, :2]).all():
        return (int(readable[0, 0]), int(readable[0, 1]), channels), False
    return (*(size or (DEFAULT_SIZE, DEFAULT_SIZE)), channels), True


def too_elongated(headers: np.ndarray) -> dict[int, str]:
    """Find the images that are too elongated to be cut to a middle.

    Args:
        headers: as of `read_headers`.

    Returns:
        Position -> why that file cannot be used.
    """
    found = {}
    for position in np.flatnonzero(headers[:, :2].max(1) > 2 * headers[:, :2].min(1)):
        try:
            refuse_lines(tuple(headers[position, 1::-1].tolist()))
        except ValueError as error:
            found[int(position)] = explain(error)
    return found


def none_readable(listing: Listing) -> InputError:
    """Make the error of a data set of which no file is an image."""
    return InputError(
        f"none of the {len(listing):,} files of {listing.path}, such as {listing.paths[0]}, can be "
        "read as an image: `cnn-jax data` says why"
    )
