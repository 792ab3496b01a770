"""A cache of decoded images: filled once, whatever happens meanwhile, and read by every run.

A cache is a folder:

    lock         held while it is opened or filled
    plan.json    what it is to hold, while it is filled
    journal      a line for each block of images that is written, while it is filled
    images.u8    the pixels, uint8 [N, H, W, C]
    index.json   the checksums, the shape, and what could not be decoded

The index is written last, so a folder without one is not yet a cache. Killed while filling it, a
process leaves plan and journal, by which the next one goes on; a block counts as written only if
its pixels have the checksums that the journal says. The space for all pixels is taken before the
first is decoded, so a full disk is told at once.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cnn_jax.data.bars import counting, say
from cnn_jax.data.blocks import Block, Target, block_writer, checksums_of, write_all
from cnn_jax.data.decoding import Framing
from cnn_jax.data.headers import common_shape, none_readable, read_headers
from cnn_jax.data.listing import Listing
from cnn_jax.data.workers import share_out, workers_for
from cnn_jax.errors import InputError
from cnn_jax.locks import locked

PLAN, JOURNAL, PIXELS, INDEX, LOCK = "plan.json", "journal", "images.u8", "index.json", "lock"
VARIABLE = "CNN_JAX_CACHE"
_VERSION = 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_SUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_BLOCK_BYTES, _BLOCK_IMAGES = 8 << 20, 512
# Up to so many bytes, all checksums are verified when a cache is opened; beyond, each image's when
# it is first read.
VERIFIED_AT_ONCE = 1 << 30


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of the images of a cache.

    Attributes:
        shape: (N, H, W, C).
        resized: whether the images were brought to that size.
        checksums: uint64 [N], of the pixels.
        contents: uint64 [N], of the files.
        problems: position -> why that file cannot be used.
    """

    shape: tuple[int, int, int, int]
    resized: bool
    checksums: np.ndarray
    contents: np.ndarray
    problems: dict[int, str]


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """Say where caches lie: as asked for, or as CNN_JAX_CACHE says, or where the system has such.

    Args:
        cache_dir: the folder asked for.

    Returns:
        The folder, which may not be there yet.

    >>> cache_folder("/data/caches").as_posix()
    '/data/caches'
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser().absolute()
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "cnn_jax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cnn_jax"


def place_of(
    listing: Listing,
    size: tuple[int, int] | None,
    cache_dir: str | Path | None,
    framing: Framing | None = None,
) -> Path:
    """Say where the cache of some files at some size lies.

    Args:
        listing: the files.
        size: (height, width) asked for, or None.
        cache_dir: as for `cache_folder`.
        framing: how images are brought to the size, where that is laid down.

    Returns:
        The folder: another one for other files or another size, the same when files change.
    """
    how = size if framing is None else tuple(framing)
    key = hashlib.blake2b(f"{listing.path}\0{how}".encode(), digest_size=6).hexdigest()
    return cache_folder(cache_dir) / f"{listing.path.stem}-{key}"


class TooLarge(Exception):
    """A cache would take more than it may."""


def fill_cache(
    listing: Listing,
    *,
    size: tuple[int, int] | None,
    cache_dir: str | Path | None = None,
    headers: np.ndarray | None = None,
    share: float | None = None,
    framing: Framing | None = None,
) -> tuple[mmap.mmap, Index]:
    """Have every image of a listing decoded in a cache, which may be there already.

    Args:
        listing: the files.
        size: (height, width) that images are brought to; None as for `common_shape`.
        cache_dir: as for `cache_folder`.
        headers: as of `read_headers`, where they are known.
        share: of the disk's free space, what a new cache may take; None for all.
        framing: how images are brought to a size, instead of `size`.

    Returns:
        The pixels, mapped into memory: they stay as they are for whoever has them, whatever
        becomes of the cache; and the index.

    Raises:
        InputError: the disk is full or cannot be written, or no file is an image.
        TooLarge: it would take more than that share.
    """
    folder = place_of(listing, size, cache_dir, framing)
    request = {"version": _VERSION, "listing": listing.digest, "size": size and list(size)}
    if framing is not None:
        request["framing"] = {**framing._asdict(), "size": list(framing.size)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK, shared=True, waiting=lambda: say(f"waiting for {folder}")):
            index = _read_index(folder, request)
            if index is not None:
                return _map(folder), index
        with locked(folder / LOCK, waiting=lambda: say(f"waiting for {folder}")):
            # While this process waited, another may have filled it.
            index = _read_index(folder, request)
            if index is None:
                plan = _plan_to_resume(folder, request)
                if plan is None:
                    plan = _begin(folder, listing, request, headers, share)
                index = _fill(folder, listing, plan)
            return _map(folder), index
    except OSError as error:
        if error.filename == str(listing.root):
            raise InputError(
                f"`data` (={listing.path}) cannot be read: {error.strerror}"
            ) from error
        free = shutil.disk_usage(_existing(folder)).free
        raise InputError(
            f"the cache {folder} cannot be written ({error.strerror or error}; {free:,} bytes are "
            f"free there): make room, choose another folder (`cache_dir`, or the variable "
            f"{VARIABLE}), or do without a cache (`stream=True`)"
        ) from error


def _map(folder: Path) -> mmap.mmap:
    with (folder / PIXELS).open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _read_index(folder: Path, request: dict) -> Index | None:
    """Read the index of a finished cache; None where there is none, or of other files."""
    try:
        record = json.loads((folder / INDEX).read_text())
        if record["request"] != request:
            return None
        checksums, contents = (
            np.frombuffer(bytes.fromhex(record[name]), "<u8") for name in ("checksums", "contents")
        )
        index = Index(
            shape=tuple(record["shape"]),
            resized=record["resized"],
            checksums=checksums,
            contents=contents,
            problems={int(position): why for position, why in record["problems"].items()},
        )
        if not len(checksums) == len(contents) == index.shape[0]:
            return None
        if (folder / PIXELS).stat().st_size != np.prod(index.shape):
            return None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if np.prod(index.shape) <= VERIFIED_AT_ONCE and not _is_sound(folder, index):
        say(f"{folder} is damaged, and is made anew")
        return None
    return index


def _is_sound(folder: Path, index: Index) -> bool:
    return all(
        (checksums_of(pixels) == index.checksums[start : start + len(pixels)]).all()
        for start, pixels in _read_blocks(folder, index.shape)
    )


def _block_size(shape: tuple[int, ...]) -> int:
    """Number of images in a block."""
    return max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // int(np.prod(shape[1:]))))


def _read_blocks(folder: Path, shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Read (first position, pixels) of one block after the other."""
    size, stride = _block_size(shape), int(np.prod(shape[1:]))
    with (folder / PIXELS).open("rb") as file:
        for start in range(0, shape[0], size):
            count = min(size, shape[0] - start)
            pixels = np.frombuffer(file.read(count * stride), np.uint8)
            if len(pixels) < count * stride:
                return
            yield start, pixels.reshape(count, *shape[1:])


def _fill(folder: Path, listing: Listing, plan: dict) -> Index:
    began = time.monotonic()
    shape = (len(listing), *plan["shape"])
    framing = _framing(plan["request"])
    target = Target(listing.root, folder / PIXELS, tuple(plan["shape"]), plan["resized"], framing)
    try:
        _take_space(folder / PIXELS, int(np.prod(shape)))
        blocks = dict(_sound_blocks(folder, shape))
        size = _block_size(shape)
        tasks = [
            (start, listing.paths[start : start + size])
            for start in range(0, len(listing), size)
            if start not in blocks
        ]
        files = sum(len(names) for _, names in tasks)
        with (
            counting(f"caching {listing.path.stem}", len(listing)) as advance,
            (folder / JOURNAL).open("a") as journal,
        ):
            advance(len(listing) - files)
            journal.write("\n")  # ends a line that a kill has torn
            results = share_out(block_writer, target, tasks, workers=workers_for(files))
            for position, block in results:
                start, names = tasks[position]
                blocks[start] = block
                journal.write(json.dumps(_line(start, block)) + "\n")
                journal.flush()
                advance(len(names))
        index = _finish(folder, plan, shape, blocks)
    except OSError as error:
        if error.errno in _FULL:  # then half a cache is in the way of whatever makes room
            for name in (JOURNAL, PLAN, PIXELS):
                (folder / name).unlink(missing_ok=True)
        raise
    say(
        f"{len(listing):,} images of {listing.path.name} decoded to {shape[2]}x{shape[1]}x"
        f"{shape[3]} in {time.monotonic() - began:.1f} s: {folder} ({np.prod(shape) / 1e6:,.0f} MB)"
    )
    return index


def _begin(
    folder: Path,
    listing: Listing,
    request: dict,
    headers: np.ndarray | None,
    share: float | None,
) -> dict:
    """Remove what is there of other files, choose the shape, and write the plan."""
    for name in (INDEX, JOURNAL, PLAN, PIXELS):
        # Unlinked and not cut: another run may still be reading the old pixels.
        (folder / name).unlink(missing_ok=True)
    headers = read_headers(listing) if headers is None else headers
    size = request["size"] and tuple(request["size"])
    chosen = common_shape(headers, size, framing=_framing(request))
    if chosen is None:
        raise none_readable(listing)
    space = len(listing) * int(np.prod(chosen[0]))
    if share is not None and space > share * shutil.disk_usage(folder).free:
        raise TooLarge(
            f"{len(listing):,} images of {listing.path} would take {space / 1e9:,.1f} GB decoded, "
            f"more than {100 * share:.0f} % of what is free in {folder.parent}"
        )
    plan = {"request": request, "shape": list(chosen[0]), "resized": chosen[1]}
    _write_whole(folder / PLAN, plan)
    return plan


def _framing(request: dict) -> Framing | None:
    framing = request.get("framing")
    return framing and Framing(**{**framing, "size": tuple(framing["size"])})


def _plan_to_resume(folder: Path, request: dict) -> dict | None:
    try:
        plan = json.loads((folder / PLAN).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return plan if plan.get("request") == request else None


def _take_space(path: Path, size: int) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        there = os.fstat(descriptor).st_size
        try:
            os.posix_fallocate(descriptor, 0, size)
        except (AttributeError, OSError) as error:
            if getattr(error, "errno", errno.ENOSYS) not in _NOT_SUPPORTED:
                raise
            # Written then, since a file may be long and have no space.
            for start in range(there, size, _BLOCK_BYTES):
                write_all(descriptor, bytes(min(_BLOCK_BYTES, size - start)), start)
    finally:
        os.close(descriptor)


def _line(start: int, block: Block) -> dict:
    return {
        "start": start,
        "checksums": block.checksums.astype("<u8").tobytes().hex(),
        "contents": block.contents.astype("<u8").tobytes().hex(),
        "problems": block.problems,
    }


def _sound_blocks(folder: Path, shape: tuple[int, ...]) -> Iterator[tuple[int, Block]]:
    """Read the blocks of the journal whose pixels are as it says."""
    try:
        lines = (folder / JOURNAL).read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return
    noted = {}
    for line in lines:
        try:
            record = json.loads(line)
            noted[record["start"]] = Block(
                *(
                    np.frombuffer(bytes.fromhex(record[k]), "<u8")
                    for k in ("checksums", "contents")
                ),
                {int(position): why for position, why in record["problems"].items()},
            )
        except (ValueError, KeyError, TypeError):
            continue  # torn, as the last line of a killed process is
    for start, pixels in _read_blocks(folder, shape):
        block = noted.get(start)
        if block is not None and np.array_equal(checksums_of(pixels), block.checksums):
            yield start, block


def _finish(folder: Path, plan: dict, shape: tuple[int, ...], blocks: dict[int, Block]) -> Index:
    """Have the disk hold the pixels, then write the index."""
    with (folder / PIXELS).open("rb") as file:
        os.fsync(file.fileno())
    starts = sorted(blocks)
    index = Index(
        shape=shape,
        resized=plan["resized"],
        checksums=np.concatenate([blocks[start].checksums for start in starts]),
        contents=np.concatenate([blocks[start].contents for start in starts]),
        problems={
            start + position: why
            for start in starts
            for position, why in sorted(blocks[start].problems.items())
        },
    )
    record = asdict(index)
    for name in ("checksums", "contents"):
        record[name] = record[name].astype("<u8").tobytes().hex()
    _write_whole(folder / INDEX, {"request": plan["request"], **record})
    for name in (JOURNAL, PLAN):
        (folder / name).unlink()
    return index


def _write_whole(path: Path, record: dict) -> None:
    """Write JSON to a file, whole or not at all, even if the power fails."""
    temporary = path.with_suffix(".partial")
    with temporary.open("w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
