"""Sources of labelled images, and the dataset they make up."""

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from cnn_jax.data.decoding import Framing
from cnn_jax.data.tree import Fault
from cnn_jax.errors import InputError


class Source(Protocol):
    """Labelled images that are read by position.

    Attributes:
        labels: int32 [N].
        image_shape: (H, W, C) of every image.
        fingerprint: digest of the contents; equal for equal arrays, or files, and labels.
    """

    labels: np.ndarray
    image_shape: tuple[int, int, int]
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: [B, H, W, C], uint8 0..255 or float32 0..1."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Images held in memory.

    Attributes:
        images: [N, H, W, C], uint8 0..255 or float32 0..1.
        labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.images.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of images and labels."""
        return digest_arrays(self.images, self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: [B, H, W, C]."""
        return self.images[indices]


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of another source.

    Attributes:
        source: where the images are.
        indices: int64 [N], their positions there.
    """

    source: Source
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """int32 [N]."""
        return self.source.labels[self.indices]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.source.image_shape

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the source and the indices."""
        return digest_arrays(
            np.frombuffer(self.source.fingerprint.encode(), np.uint8), self.indices
        )

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: [B, H, W, C]."""
        return self.source.read(self.indices[indices])


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three sources with nothing in common, and the names of the classes.

    Attributes:
        name: how it is spoken of.
        train: what the parameters are fitted to.
        validation: what the best checkpoint is chosen by; None for none.
        test: what the final figures are measured on.
        class_names: the name of label k at position k.
        arguments: what `load` was called with, so that a run directory can find its data again.
        skipped: what was left out because it could not be used.
    """

    name: str
    train: Source
    validation: Source | None
    test: Source
    class_names: tuple[str, ...]
    arguments: dict = field(default_factory=dict)
    skipped: tuple[Fault, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.train.image_shape


def file_names(source: Source) -> list[str] | None:
    """Name the files that images were read from.

    Args:
        source: the images.

    Returns:
        The path of each, below what its data set was named by; None where they were no files.
    """
    if isinstance(source, Subset):
        names = file_names(source.source)
        return names and [names[index] for index in source.indices.tolist()]
    paths = getattr(source, "paths", None)
    return None if paths is None else list(paths)


def array_source(images: np.ndarray, labels: np.ndarray, *, name: str) -> ArraySource:
    """Check arrays of images and labels, and make a source of them.

    Args:
        images: [N, H, W] or [N, H, W, C]; uint8 0..255, or floating point 0..1.
        labels: [N] integers.
        name: where they come from, for the error messages.

    Returns:
        The source, with images uint8 or float32 [N, H, W, C] and labels int32 [N].

    Raises:
        InputError: the counts differ, a pixel is not finite or out of range, or a shape or type
            is not as above.

    >>> array_source(np.zeros((2, 8, 8), np.uint8), np.array([0, 1]), name="made up").image_shape
    (8, 8, 1)
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise InputError(
            f"images of {name} have shape {images.shape}: they must be [N, H, W] or [N, H, W, C], "
            "with none of these zero"
        )
    if images.shape[-1] > 4:
        raise InputError(
            f"images of {name} have shape {images.shape}, thus {images.shape[-1]} channels: the "
            "channels come last and are 1 to 4, so move them (`images.transpose(0, 2, 3, 1)`)"
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        remedy = ": take the argmax(-1) of one-hot ones" if labels.ndim == 2 else ""
        raise InputError(
            f"labels of {name} are {labels.dtype} {labels.shape}: they must be integers of shape "
            f"[N], one class number for each image{remedy}"
        )
    if len(images) != len(labels):
        raise InputError(
            f"{name} has {len(images)} images but {len(labels)} labels: there must be one label "
            "for each image"
        )
    if np.issubdtype(images.dtype, np.floating):
        images = images.astype(np.float32)
        _check_float_pixels(images, name)
    elif images.dtype != np.uint8:
        raise InputError(
            f"images of {name} are {images.dtype}: they must be uint8 (0 to 255) or floating point "
            "(0 to 1), so convert them first"
        )
    return ArraySource(images, labels.astype(np.int32))


def check_labels(source: Source, class_names: tuple[str, ...], *, name: str) -> None:
    """Check that every label names a class.

    Args:
        source: the labelled images.
        class_names: the classes.
        name: where the source comes from, for the error message.

    Raises:
        InputError: a label is negative or not below the number of classes.
    """
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= len(class_names)))
    if len(wrong):
        first = wrong[0]
        raise InputError(
            f"label out of range in {name}: image {first} has label {source.labels[first]}, and "
            f"{len(wrong) - 1} more are so; labels must be 0 to {len(class_names) - 1}, one for "
            f"each of the {len(class_names)} classes: mend the labels or name all the classes"
        )


def numbered_classes(labels: np.ndarray) -> tuple[str, ...]:
    """Name classes by their numbers, as many as there are distinct training labels.

    Args:
        labels: int [N], the training labels.

    Returns:
        ("0", "1", ...).

    >>> numbered_classes(np.array([2, 0, 1, 1]))
    ('0', '1', '2')
    """
    return tuple(str(label) for label in range(len(np.unique(labels))))


def _check_float_pixels(images: np.ndarray, name: str) -> None:
    finite = np.isfinite(images).all(axis=(1, 2, 3))
    if not finite.all():
        raise InputError(
            f"{np.sum(~finite)} of {len(images)} images of {name} hold NaN or infinite pixels, the "
            f"first at position {np.argmin(finite)}: mend or remove them"
        )
    low, high = images.min(), images.max()
    if low < 0 or high > 1:
        raise InputError(
            f"images of {name} are floating point from {low:.4g} to {high:.4g}: they must lie in "
            "0 to 1, so divide them (by 255, say) or store uint8"
        )


def digest_files(
    contents: np.ndarray,
    labels: np.ndarray,
    *,
    image_shape: tuple[int, int, int],
    resized: bool,
    framing: Framing | None = None,
) -> str:
    """Digest labelled image files and how they are decoded, be it once or at every reading.

    Args:
        contents: uint64 [N], digests of the files.
        labels: int32 [N] or [N, K].
        image_shape: (H, W, C) that they are decoded to.
        resized: whether they are brought to that size; else they have it.
        framing: how, where that is laid down.

    Returns:
        The digest, in hexadecimal.

    >>> files, labels, shape = np.arange(2, dtype=np.uint64), np.zeros(2, np.int32), (8, 8, 3)
    >>> cut, whole = (
    ...     digest_files(files, labels, image_shape=shape, resized=each) for each in (True, False)
    ... )
    >>> cut == whole
    False
    """
    how = [] if framing is None else [np.array(repr(framing))]
    return digest_arrays(contents, np.array([*image_shape, resized]), labels, *how)


def digest_arrays(*arrays: np.ndarray) -> str:
    """Digest of types, shapes and contents of arrays, in hexadecimal.

    >>> digest_arrays(np.zeros(2)) == digest_arrays(np.zeros((1, 2)))
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
