"""NumPy archives of images and labels."""

import zipfile
from pathlib import Path

import numpy as np

from cnn_jax.data.source import ArraySource, array_source
from cnn_jax.errors import InputError

# (images, labels) of each split, as Keras's and MedMNIST's archives name them.
_KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels")),
    "validation": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def read_npz(path: Path) -> dict[str, ArraySource]:
    """Read the splits of an `.npz`.

    Args:
        path: an archive with `x_train` and `y_train` (and `x_test`, `y_test`, `x_val`, `y_val`
            where it has such splits), or with `train_images` and `train_labels` and so on.

    Returns:
        The sources of those of "train", "validation" and "test" that are there; "train" always.

    Raises:
        InputError: the file is not an `.npz`, a key is missing, or an array is not as
            `array_source` wants it.
    """
    # Opened here, so that it is closed even where NumPy finds no archive in it.
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is not a readable .npz archive ({error}): write it with `numpy.savez`"
            ) from error
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(
                f"{path} holds a single array: write images and labels with `numpy.savez`"
            )
        splits = _read_splits(archive, path)
    if "train" not in splits:
        raise InputError(
            f"{path} has {', '.join(archive.files) or 'no arrays'}: it must have `x_train` and "
            "`y_train`, or `train_images` and `train_labels`"
        )
    return splits


def _read_splits(archive: np.lib.npyio.NpzFile, path: Path) -> dict[str, ArraySource]:
    return {
        split: array_source(
            _member(archive, images, path),
            _member(archive, labels, path),
            name=f"the {split} split of {path}",
        )
        for split, names in _KEYS.items()
        for images, labels in names
        if images in archive or labels in archive
    }


def _member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    if key not in archive:
        raise InputError(f"{path} lacks `{key}`: images and labels of a split go together")
    try:
        return archive[key]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"`{key}` of {path} cannot be read ({error}): write the file anew"
        ) from error
