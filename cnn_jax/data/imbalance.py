"""Classes of unequal size: weights for the loss, or images repeated and left out."""

import numpy as np

from cnn_jax.data.source import Dataset, Source, Subset
from cnn_jax.errors import InputError


def class_counts(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count the images of each class.

    Args:
        labels: int [N] classes, or [N, K] zeros and ones.
        num_classes: K.

    Returns:
        int64 [K].

    >>> class_counts(np.array([0, 2, 2]), 3)
    array([1, 0, 2])
    """
    return labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=num_classes)


def check_class_sizes(dataset: Dataset) -> None:
    """Check that each class can be learnt from and tested.

    `load` does not refuse a class that is too small for that: it may be one of thousands. Where
    there are few images in all, it is a mistake.

    Args:
        dataset: the data.

    Raises:
        InputError: a class has one image only.

    >>> from cnn_jax.data import load
    >>> check_class_sizes(load("digits"))
    """
    sources = (dataset.train, dataset.validation, dataset.test)
    counts = sum(
        class_counts(source.labels, dataset.num_classes) for source in sources if source is not None
    )
    single = [dataset.class_names[k] for k in np.flatnonzero(counts < 2)]
    if single:
        others = f" and {len(single) - 1} more have" if len(single) > 1 else " has"
        raise InputError(
            f"class {single[0]} of {dataset.name}{others} one image only, which cannot be both "
            "learnt from and tested on: add images, or remove the class"
        )


def balanced_weights(counts: np.ndarray, *, power: float = 1.0) -> np.ndarray:
    """Weigh classes by how rare they are.

    Args:
        counts: [K], images of each class.
        power: 1 so that each class counts the same in all, 0 so that each image does, or between.

    Returns:
        float32 [K], proportional to 1 / counts**power; over all images their mean is 1, so that a
        learning rate keeps its meaning.

    Raises:
        InputError: a class has no images.

    >>> balanced_weights(np.array([30, 10])).tolist()
    [0.6666666865348816, 2.0]
    """
    _check_counts(counts)
    weights = np.asarray(counts, np.float64) ** -power
    return (weights * np.sum(counts) / np.sum(weights * counts)).astype(np.float32)


def effective_number_weights(counts: np.ndarray, *, beta: float = 0.9999) -> np.ndarray:
    """Weigh classes by the effective number of their images (Cui et al. 2019, equation 4).

    Of n images that partly show the same, (1 - beta**n) / (1 - beta) count.

    Args:
        counts: [K], images of each class.
        beta: between 0, where all weights are equal, and 1, where they go as 1 / counts; the paper
            tries 0.9 to 0.9999.

    Returns:
        float32 [K], of sum K as in the paper.

    Raises:
        InputError: a class has no images, or beta is out of range.

    >>> effective_number_weights(np.array([5, 5])).tolist()
    [1.0, 1.0]
    """
    _check_counts(counts)
    if not 0 <= beta < 1:
        raise InputError(f"`beta` (={beta}) must be at least 0 and below 1: choose 0.9999")
    weights = 1 / (1 - beta ** np.asarray(counts, np.float64))
    return (weights * len(weights) / weights.sum()).astype(np.float32)


def oversample(source: Source, *, seed: int) -> Subset:
    """Repeat images until every class has as many as the largest.

    Args:
        source: the training images, of one label each.
        seed: which images are repeated once more than others of their class.

    Returns:
        The images, each class's whole as often as it fits, and the rest drawn without repetition;
        in the order of the source.

    >>> from cnn_jax.data.source import ArraySource
    >>> source = ArraySource(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 0, 1]))
    >>> oversample(source, seed=0).labels.tolist()
    [0, 0, 0, 1, 1, 1]
    """
    return _resample(source, max, seed)


def undersample(source: Source, *, seed: int) -> Subset:
    """Leave out images until every class has as few as the smallest.

    Args:
        source: the training images, of one label each.
        seed: which images are kept.

    Returns:
        The images that are kept, in the order of the source.

    >>> from cnn_jax.data.source import ArraySource
    >>> source = ArraySource(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 0, 0, 1]))
    >>> undersample(source, seed=0).labels.tolist()
    [0, 1]
    """
    return _resample(source, min, seed)


def _resample(source: Source, choose, seed: int) -> Subset:
    if source.labels.ndim != 1:
        raise InputError(
            f"the labels have shape {source.labels.shape}: only images of one class each can be "
            "resampled, so weigh the classes (`balanced_weights`)"
        )
    classes = [np.flatnonzero(source.labels == label) for label in np.unique(source.labels)]
    count = choose(map(len, classes))
    rng = np.random.default_rng(seed)
    chosen = []
    for positions in classes:
        times, rest = divmod(count, len(positions))
        some = rng.choice(positions, rest, replace=False)
        chosen.append(np.concatenate([*[positions] * times, some]))
    return Subset(source, np.sort(np.concatenate(chosen)))


def _check_counts(counts: np.ndarray) -> None:
    empty = np.flatnonzero(np.asarray(counts) < 1)
    if len(empty):
        raise InputError(
            f"class {empty[0]} has {counts[empty[0]]} images, and cannot be weighed: each class "
            "must have at least one"
        )
