"""Image files as sources."""

from pathlib import Path

import numpy as np

from cnn_jax.data.decoding import decode, explain, read_header
from cnn_jax.data.idx import is_idx_folder
from cnn_jax.data.listing import SPLITS, Listing, list_files
from cnn_jax.data.source import ArraySource, Source, Subset
from cnn_jax.data.splits import hold_out_by_name
from cnn_jax.data.tree import Fault, opened
from cnn_jax.errors import InputError

# Where images are of several sizes and none is asked for: what most ImageNet models take.
DEFAULT_SIZE = 224


def is_image_files(path: Path) -> bool:
    """Tell whether a path names image files: a folder that is not one of IDX files, or a `.zip`."""
    if path.is_dir():
        return not is_idx_folder(path)
    return path.is_file() and path.suffix.lower() == ".zip"


def read_files(
    path: Path,
    *,
    image_size: int | tuple[int, int] | None,
    validation: float | int,
    test: float | int,
    split_seed: int,
) -> tuple[dict[str, Source], tuple[str, ...]]:
    """Read image files in class folders.

    Args:
        path: a folder or `.zip`.
        image_size: as for `cnn_jax.data.load`.
        validation: what to hold out of the training images, where no folder holds them.
        test: the same for the test images.
        split_seed: seed of both.

    Returns:
        The sources of "train", "test", and, unless turned off, "validation"; and the class names.

    Raises:
        InputError: the files are not laid out as they must be, or some cannot be used.
    """
    listing = list_files(path)
    images = _decode(listing, image_size)
    whole = ArraySource(images, listing.labels)
    splits = {
        split: Subset(whole, positions)
        for split in SPLITS
        if len(positions := listing.split(split))
    }
    for split, size, seed in (
        ("test", test, split_seed),
        ("validation", validation, split_seed + 1),
    ):
        if split in splits or not (size or split == "test"):
            continue
        names = [listing.names[k] for k in splits["train"].indices]
        rest, held = hold_out_by_name(splits["train"], names, size, seed=seed, argument=split)
        splits["train"], splits[split] = (
            Subset(whole, splits["train"].indices[part.indices]) for part in (rest, held)
        )
    return splits, listing.class_names


def _decode(listing: Listing, image_size: int | tuple[int, int] | None) -> np.ndarray:
    faults, size = list(listing.faults), None
    if isinstance(image_size, int):
        image_size = image_size, image_size
    with opened(listing.root) as read:
        headers = []
        for name in listing.paths:
            try:
                headers.append(read_header(read(name)))
            except Exception as error:
                faults.append(Fault(name, explain(error)))
        shapes = {header[:2] for header in headers}
        channels = max((header.channels for header in headers), default=3)
        if image_size or len(shapes) > 1:
            size = image_size or (DEFAULT_SIZE, DEFAULT_SIZE)
        images = np.empty((len(listing), *(size or min(shapes)), channels), np.uint8)
        for position, name in enumerate(listing.paths):
            try:
                images[position] = decode(read(name), channels=channels, size=size)
            except Exception as error:
                faults.append(Fault(name, explain(error)))
    if faults:
        raise InputError("; ".join(map(str, faults[:5])))
    return images
