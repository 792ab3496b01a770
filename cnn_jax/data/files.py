"""Image files as sources."""

import numbers
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn_jax.data.bad_files import find_faults, first_few, refusal
from cnn_jax.data.bars import say
from cnn_jax.data.cache import TooLarge, fill_cache
from cnn_jax.data.cached_images import CachedImages
from cnn_jax.data.csv_listing import list_csv
from cnn_jax.data.decoding import Framing, framing_of
from cnn_jax.data.headers import common_shape, none_readable, too_elongated
from cnn_jax.data.idx import is_idx_folder
from cnn_jax.data.listing import SPLITS, Listing, list_files
from cnn_jax.data.source import Source, Subset
from cnn_jax.data.splits import hold_out_by_name
from cnn_jax.data.streamed_images import StreamedImages
from cnn_jax.data.survey import read_survey, survey, survey_path
from cnn_jax.data.tree import Fault
from cnn_jax.errors import InputError

if TYPE_CHECKING:  # it takes seconds to import
    from cnn_jax.weights.pretrained import Preprocessing

_SAID = 20
_SHARE = 0.5  # of the free space, what a cache may take unasked


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """What has been read of image files.

    Attributes:
        splits: the sources of "train", "test" and, where there is one, "validation".
        class_names: the name of label k at position k.
        skipped: what was left out.
    """

    splits: dict[str, Source]
    class_names: tuple[str, ...]
    skipped: tuple[Fault, ...]


def is_image_files(path: Path) -> bool:
    """Tell whether a path names image files: a folder not of IDX files, a `.zip`, or a `.csv`."""
    if path.is_dir():
        return not is_idx_folder(path)
    return path.is_file() and path.suffix.lower() in (".zip", ".csv")


def list_images(path: Path) -> Listing:
    """List the image files that a path names.

    Args:
        path: a folder or `.zip` of class folders, or a `.csv` that names files and classes.

    Returns:
        The listing.

    Raises:
        InputError: it is none of these, or not laid out as it must be.
    """
    if not is_image_files(path):
        raise InputError(
            f"`data` (={path}) names no image files: it must be a folder of class folders, a .zip "
            "of one, or a .csv"
        )
    return list_csv(path) if path.suffix.lower() == ".csv" and path.is_file() else list_files(path)


def read_files(
    path: Path,
    *,
    image_size: int | tuple[int, int] | None,
    skip_bad: bool,
    cache_dir: str | Path | None,
    stream: bool | None,
    validation: float | int,
    test: float | int,
    split_seed: int,
    preprocessing: "Preprocessing | None" = None,
) -> ImageFiles:
    """Read image files.

    Args:
        path: a folder or `.zip` of class folders, or a `.csv` that names files and classes.
        image_size: as for `cnn_jax.data.load`.
        skip_bad: leave out what cannot be used, and say so.
        cache_dir: where the decoded images go; None for the default.
        stream: decode images whenever they are read; None to do so where a cache would take more
            than half of the disk's free space.
        validation: what to hold out of the training images, where no folder holds them.
        test: the same for the test images.
        split_seed: seed of both.
        preprocessing: what brings images to a size, instead of `image_size`.

    Returns:
        The sources, and what goes with them.

    Raises:
        InputError: the files are not laid out as they must be, or some cannot be used.
    """
    listing = list_images(path)
    framing = None if preprocessing is None else framing_of(preprocessing)
    whole, contents, problems = _open(listing, _pair(image_size), cache_dir, stream, framing)
    faults, usable = find_faults(listing, contents, problems)
    if faults and not skip_bad:
        raise refusal(path, faults)
    if faults:
        say(f"left out of {path}: {len(faults):,} ({first_few(faults, named=_SAID)})")
    splits = {
        split: Subset(whole, positions)
        for number, split in enumerate(SPLITS)
        if len(positions := np.flatnonzero(usable & (listing.splits == number)))
    }
    _check_classes(listing, splits.get("train"))
    for split, size, seed in (
        ("test", test, split_seed),
        ("validation", validation, split_seed + 1),
    ):
        if split not in splits and (size or split == "test"):
            splits["train"], splits[split] = _part(listing, splits["train"], size, seed, split)
    return ImageFiles(splits, listing.class_names, tuple(faults))


def _open(
    listing: Listing,
    size: tuple[int, int] | None,
    cache_dir: str | Path | None,
    stream: bool | None,
    framing: Framing | None,
) -> tuple[Source, np.ndarray, dict[int, str]]:
    """Return the images, digests of their files, and what cannot be decoded."""
    path = survey_path(listing, cache_dir)
    if not stream:
        kept = read_survey(path, listing)
        headers, share = kept and kept.headers, _SHARE if stream is None else None
        try:
            mapping, index = fill_cache(
                listing,
                size=size,
                cache_dir=cache_dir,
                headers=headers,
                share=share,
                framing=framing,
            )
            images = CachedImages(mapping, index, listing.labels, listing.paths, framing)
            return images, index.contents, index.problems
        except TooLarge as error:
            say(f"{error}: so they are decoded whenever they are read")
    seen = survey(listing, path=path)
    chosen = common_shape(seen.headers, size, framing=framing)
    if chosen is None:
        raise none_readable(listing)
    shape, resized = chosen
    problems = {**(too_elongated(seen.headers) if resized else {}), **seen.problems}
    images = StreamedImages(listing, shape, resized, seen.contents, framing)
    return images, seen.contents, problems


def _pair(image_size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    pair = (image_size,) * 2 if isinstance(image_size, numbers.Real) else tuple(image_size)
    if len(pair) != 2 or min(pair) < 1 or pair != (int(pair[0]), int(pair[1])):
        raise InputError(
            f"`image_size` (={image_size}) must be a side, or height and width, in whole pixels"
        )
    return int(pair[0]), int(pair[1])


def _check_classes(listing: Listing, train: Subset | None) -> None:
    labels = np.zeros(0, np.int32) if train is None else train.labels
    there = np.flatnonzero(labels.any(0)) if labels.ndim == 2 else np.unique(labels)
    missing = [name for k, name in enumerate(listing.class_names) if k not in there]
    if missing:
        raise InputError(
            f"no training image of the class {missing[0]} of {listing.path} can be used, and of "
            f"{len(missing) - 1} more classes: mend the files or remove the folder"
        )


def _part(
    listing: Listing, train: Subset, size: float | int, seed: int, split: str
) -> tuple[Subset, Subset]:
    names = listing.groups or listing.names
    parts = hold_out_by_name(
        train, [names[k] for k in train.indices], size, seed=seed, argument=split
    )
    return tuple(Subset(train.source, train.indices[part.indices]) for part in parts)
