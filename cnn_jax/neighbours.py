"""The nearest neighbours among features: a classifier that nothing is trained for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

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
    k, block = min(k, len(labels)), max(1, min(len(features), _AT_ONCE // len(labels)))
    train = _unit(jnp.asarray(train_features, jnp.float32))
    classes = jnp.asarray(labels)
    votes = np.empty((len(features), num_classes), np.float32)
    for start in range(0, len(features), block):
        part = features[start : start + block]
        # Every block is of one size, so that one program serves all.
        filled = np.zeros((block, features.shape[1]), np.float32)
        filled[: len(part)] = part
        shares = _votes(train, classes, filled, temperature, k=k, num_classes=num_classes)
        votes[start : start + block] = shares[: len(part)]
    return votes


@partial(jax.jit, static_argnames=("k", "num_classes"))
def _votes(train, labels, features, temperature, *, k: int, num_classes: int) -> jax.Array:
    similarities = jnp.matmul(_unit(features), train.T, precision=jax.lax.Precision.HIGHEST)
    nearest, positions = jax.lax.top_k(similarities, k)
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
    if train_features.ndim != 2 or features.shape[1:] != train_features.shape[1:]:
        raise InputError(
            f"`train_features` {train_features.shape} and `features` {features.shape} must be "
            "[M, D] and [N, D]: compute both with the same network"
        )
    if k < 1:
        raise InputError(f"`k` (={k}) must be at least 1")
    if not temperature > 0:
        raise InputError(f"`temperature` (={temperature}) must be above 0")
    return class_count(labels, len(train_features), num_classes)


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
