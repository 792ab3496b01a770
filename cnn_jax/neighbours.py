"""The nearest neighbours among features: images alike, and a classifier nothing is trained for."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from cnn_jax import ranges
from cnn_jax.errors import InputError

# Similarities that are held at once.
_AT_ONCE = 1 << 25


def nearest_neighbours(
    train_features: ArrayLike,
    labels: ArrayLike,
    features: ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
    num_classes: int | None = None,
) -> np.ndarray:
    """Classify features by those of labelled images that point in the most similar direction.

    Each of the `k` nearest votes for its class with the weight exp(cosine / temperature). Of
    equally near ones the earlier counts.

    Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
    section 3.4, who take 200 neighbours of ImageNet's 1.3 million images and 0.07.

    Args:
        train_features: float [M, D], such as `embeddings` gives.
        labels: int [M], their classes.
        features: float [N, D], what is to be classified.
        k: how many vote; where M is less, all do.
        temperature: above 0; the lower, the more the nearest counts.
        num_classes: K; None for the highest label and one.

    Returns:
        float32 [N, K], the share of each class in the votes.

    Raises:
        InputError: shapes do not agree, a label is out of range, or an option is.

    >>> votes = nearest_neighbours(np.eye(2), [0, 1], np.array([[2.0, 0.1], [0.0, 3.0]]), k=1)
    >>> votes.argmax(1)
    array([0, 1])
    """
    train_features, features = np.asarray(train_features), np.asarray(features)
    labels = np.asarray(labels)
    num_classes = _check(train_features, labels, features, k, temperature, num_classes)
    train, classes = _unit(jnp.asarray(train_features, jnp.float32)), jnp.asarray(labels)
    votes_of = partial(_votes, k=min(k, len(labels)), num_classes=num_classes)
    (votes,) = _by_blocks(
        lambda block: [votes_of(train, classes, block, temperature)], features, len(labels)
    )
    return votes


def nearest_images(
    train_features: ArrayLike, features: ArrayLike, *, count: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Find the images whose features point in the most similar directions.

    What a network takes an image for, told by what it was trained on (Krizhevsky, Sutskever and
    Hinton 2012, figure 4, right).

    Args:
        train_features: float [M, D], such as `embeddings` gives.
        features: float [N, D], whose nearest are looked for.
        count: how many of each at most.

    Returns:
        int64 [N, min(count, M)], positions among `train_features`, the nearest first and of
        equally near ones the earlier; and float32 of the same shape, their cosines.

    Raises:
        InputError: the shapes do not agree, or `count` is below 1.

    >>> positions, cosines = nearest_images(np.eye(2), np.array([[0.0, 3.0]]))
    >>> positions, cosines
    (array([[1, 0]]), array([[1., 0.]], dtype=float32))
    """
    train_features, features = np.asarray(train_features), np.asarray(features)
    _check_features(train_features, features)
    ranges.whole("count", count, remedy="5 for instance")
    train = _unit(jnp.asarray(train_features, jnp.float32))
    nearest_of = partial(_nearest, train, k=min(count, len(train)))
    cosines, positions = _by_blocks(nearest_of, features, len(train))
    return positions.astype(np.int64), cosines


def _by_blocks(function: Callable, features: np.ndarray, others: int) -> list[np.ndarray]:
    """Apply a function of [block, D] to features, for so many similarities of each."""
    size = max(1, min(len(features), _AT_ONCE // others))
    results = []
    for start in range(0, max(len(features), 1), size):
        part = features[start : start + size]
        # Every block is of one size, so that one program serves all.
        filled = np.zeros((size, features.shape[1]), np.float32)
        filled[: len(part)] = part
        results.append([leaf[: len(part)] for leaf in map(np.asarray, function(filled))])
    return [np.concatenate(leaves) for leaves in zip(*results, strict=True)]


@partial(jax.jit, static_argnames="k")
def _nearest(train: jax.Array, features: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    similarities = jnp.matmul(_unit(features), train.T, precision=jax.lax.Precision.HIGHEST)
    return tuple(jax.lax.top_k(similarities, k))


@partial(jax.jit, static_argnames=("k", "num_classes"))
def _votes(train, labels, features, temperature, *, k: int, num_classes: int) -> jax.Array:
    nearest, positions = _nearest(train, features, k=k)
    weights = jax.nn.softmax(nearest / temperature, axis=-1)
    rows = jnp.arange(len(features))[:, None]
    return jnp.zeros((len(features), num_classes)).at[rows, labels[positions]].add(weights)


def _unit(features: jax.Array) -> jax.Array:
    """Divide vectors by their length; those of length 0 are like no other."""
    length = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(length > 0, length, 1)


def _check(
    train_features: np.ndarray,
    labels: np.ndarray,
    features: np.ndarray,
    k: int,
    temperature: float,
    num_classes: int | None,
) -> int:
    _check_features(train_features, features)
    if k < 1:
        raise InputError(f"`k` (={k}) must be at least 1")
    if not temperature > 0:
        raise InputError(f"`temperature` (={temperature}) must be above 0")
    return class_count(labels, len(train_features), num_classes)


def _check_features(train_features: np.ndarray, features: np.ndarray) -> None:
    if (
        train_features.ndim != 2
        or not len(train_features)
        or features.shape[1:] != train_features.shape[1:]
    ):
        raise InputError(
            f"`train_features` {train_features.shape} and `features` {features.shape} must be "
            "[M, D] and [N, D], of one image at least: compute both with the same network"
        )


def class_count(labels: np.ndarray, images: int, num_classes: int | None) -> int:
    """Check labels, and count the classes.

    Args:
        labels: int [N].
        images: N.
        num_classes: the number of classes; None for the highest label and one.

    Returns:
        The number of classes.

    Raises:
        InputError: there is not one label for each image, or a label is out of range.

    >>> class_count(np.array([0, 2]), 2, None)
    3
    """
    if labels.shape != (images,) or not images or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"`labels` are {labels.dtype} {labels.shape}: they must be integers, one for each of "
            f"{images} images, and there must be an image"
        )
    count = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.min() < 0 or labels.max() >= count:
        raise InputError(
            f"`labels` go from {labels.min()} to {labels.max()}: they must be 0 to {count - 1}, "
            "since there are so many classes"
        )
    return count
