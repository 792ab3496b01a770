"""A look at every image file: can it be decoded, how large is it, what does it look like."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax.data.bars import counting
from cnn_jax.data.blocks import checksum
from cnn_jax.data.cache import cache_folder
from cnn_jax.data.decoding import decode_upright, explain
from cnn_jax.data.duplicates import THUMBNAIL, thumbnail
from cnn_jax.data.headers import header_of
from cnn_jax.data.listing import Listing
from cnn_jax.data.tree import reader
from cnn_jax.data.workers import share_out, workers_for

_VERSION = 1
_BLOCK = 256
# Enough of a photograph to know its colours and to find its like.
_LEAST = 256, 256


@dataclass(frozen=True, eq=False)
class Survey:
    """What has been seen of N files; of one that cannot be decoded, zeros.

    Attributes:
        headers: int32 [N, 3], height, width and channels (1 for grey, 3 for colour), as of
            `read_headers`; thus of a damaged file too, if it begins well.
        contents: uint64 [N], equal for equal files.
        thumbnails: uint8 [N, 8, 9], grey.
        means: float32 [N, 3], mean red, green and blue between 0 and 1. Of a large JPEG as of the
            two below, of the image at a reduced size of at least 256x256.
        squares: float32 [N, 3], the means of the squares.
        problems: position -> why that file cannot be used.
    """

    headers: np.ndarray
    contents: np.ndarray
    thumbnails: np.ndarray
    means: np.ndarray
    squares: np.ndarray
    problems: dict[int, str]

    def __len__(self) -> int:
        return len(self.headers)


def survey(listing: Listing, *, path: Path) -> Survey:
    """Look at every file of a listing, in several processes.

    Args:
        listing: the files.
        path: a file where what is seen is kept, to be read from there the next time if no file
            has changed.

    Returns:
        The survey.
    """
    kept = read_survey(path, listing)
    if kept is not None:
        return kept
    tasks = [listing.paths[start : start + _BLOCK] for start in range(0, len(listing), _BLOCK)]
    seen = _blank(len(listing))
    with counting(f"looking at {listing.path.stem}", len(listing)) as advance:
        workers = workers_for(len(listing))
        for number, block in share_out(surveyor, listing.root, tasks, workers=workers):
            start = number * _BLOCK
            for name, array in _arrays(block).items():
                _arrays(seen)[name][start : start + len(block)] = array
            seen.problems.update({start + k: why for k, why in block.problems.items()})
            advance(len(block))
    _keep(path, listing, seen)
    return seen


def survey_path(listing: Listing, cache_dir: str | Path | None) -> Path:
    """Say where the survey of some files is kept.

    Args:
        listing: the files.
        cache_dir: as for `cnn_jax.data.cache.cache_folder`.

    Returns:
        The file, which may not be there yet.
    """
    key = hashlib.blake2b(str(listing.path).encode(), digest_size=6).hexdigest()
    return cache_folder(cache_dir) / f"{listing.path.stem}-{key}.survey.npz"


def surveyor(root: Path) -> Callable[[Sequence[str]], Survey]:
    """Make the function that looks at files: what a worker does.

    Args:
        root: the folder or archive.

    Returns:
        A function of names.
    """
    read = reader(root)

    def look(names: Sequence[str]) -> Survey:
        seen = _blank(len(names))
        for position, name in enumerate(names):
            try:
                content = read(name)
                seen.contents[position] = checksum(content)
                header, image = decode_upright(content, least=_LEAST)
                pixels = np.asarray(image.convert("RGB"), np.float32).reshape(-1, 3) / 255
                ones = np.full(len(pixels), 1 / len(pixels), np.float32)
                seen.headers[position] = header
                seen.thumbnails[position] = thumbnail(image)
                seen.means[position] = ones @ pixels
                seen.squares[position] = ones @ np.square(pixels)
            except MemoryError:
                raise
            except Exception as error:
                seen.problems[position] = explain(error)
                seen.headers[position] = header_of(partial(read, name))
        return seen

    return look


def _blank(count: int) -> Survey:
    return Survey(
        headers=np.zeros((count, 3), np.int32),
        contents=np.zeros(count, np.uint64),
        thumbnails=np.zeros((count, *THUMBNAIL), np.uint8),
        means=np.zeros((count, 3), np.float32),
        squares=np.zeros((count, 3), np.float32),
        problems={},
    )


def _arrays(seen: Survey) -> dict[str, np.ndarray]:
    return {
        field.name: getattr(seen, field.name)
        for field in fields(Survey)
        if field.name != "problems"
    }


def _key(listing: Listing) -> str:
    return json.dumps({"version": _VERSION, "listing": listing.digest})


def read_survey(path: Path, listing: Listing) -> Survey | None:
    """Read what was seen of some files before.

    Args:
        path: as of `survey_path`.
        listing: the files.

    Returns:
        The survey; None where there is none, or a file has changed since.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive["key"]) != _key(listing):
                return None
            problems = {int(k): why for k, why in json.loads(str(archive["problems"])).items()}
            arrays = {name: archive[name] for name in _arrays(_blank(0))}
    # A file that was damaged raises errors of many kinds; it is only a copy.
    except Exception:
        return None
    return Survey(**arrays, problems=problems)


def _keep(path: Path, listing: Listing, seen: Survey) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, key=_key(listing), problems=json.dumps(seen.problems), **_arrays(seen))
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):  # seen again the next time
            temporary.unlink(missing_ok=True)
