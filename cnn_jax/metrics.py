"""Metrics on exact counts."""

from dataclasses import dataclass

import jax
import numpy as np

from cnn_jax.errors import InputError
from cnn_jax.ranking_metrics import average_precision, mean_where_defined


@dataclass(frozen=True)
class Tally:
    """A running sum of losses and correct predictions, kept by the host in double precision.

    Attributes:
        loss: sum of the losses, in nats.
        correct: number of correct predictions.
        count: number of images.
    """

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.loss + other.loss, self.correct + other.correct, self.count + other.count)

    @property
    def mean_loss(self) -> float:
        """Loss of the average image; NaN for none."""
        return self.loss / self.count if self.count else float("nan")

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions; NaN for no images."""
        return self.correct / self.count if self.count else float("nan")


def top1(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Say for which examples the most probable class is the true one.

    Args:
        logits: [N, classes].
        labels: int [N], or the chances of the classes, [N, classes]: the largest counts.

    Returns:
        bool [N].

    >>> import jax.numpy as jnp
    >>> top1(jnp.array([[0.0, 1.0], [0.0, 1.0]]), jnp.array([1, 0]))
    Array([ True, False], dtype=bool)
    """
    truth = labels if labels.ndim < logits.ndim else labels.argmax(-1)
    return logits.argmax(-1) == truth


def all_right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Say for which examples every class is rightly called there or not there.

    Args:
        logits: [N, classes]; above 0, a chance above one half, is there.
        labels: [N, classes], 0 or 1.

    Returns:
        bool [N].

    >>> import jax.numpy as jnp
    >>> all_right(jnp.array([[2.0, -1.0], [2.0, -1.0]]), jnp.array([[1, 0], [1, 1]]))
    Array([ True, False], dtype=bool)
    """
    return ((logits > 0) == (labels > 0.5)).all(-1)


def multi_label(labels: np.ndarray, scores: np.ndarray, *, threshold: float = 0.5) -> dict:
    """Measure the classification of images of which several classes may hold at once.

    Args:
        labels: [N, classes], 0 or 1.
        scores: [N, classes], the chance of each class, or anything that grows with it.
        threshold: score from which a class is called there.

    Returns:
        `mean_average_precision` (over the classes of which there is an example, scikit-learn's
        average precision without interpolation), `micro_f1` (of all decisions together) and
        `macro_f1` (mean over the classes; 0 for a class neither there nor called there).

    Raises:
        InputError: the shapes differ, a label is neither 0 nor 1, or a score is not finite.

    >>> multi_label(np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.1], [0.2, 0.8]]))["micro_f1"]
    1.0
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    called = scores >= threshold
    precision = average_precision(labels, scores)  # which checks both
    right = (called & (labels == 1)).sum(0)
    either = called.sum(0) + (labels == 1).sum(0)
    return {
        "mean_average_precision": mean_where_defined(precision),
        "micro_f1": float(2 * right.sum() / max(either.sum(), 1)),
        "macro_f1": float(np.mean(2 * right / np.maximum(either, 1))),
    }


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> np.ndarray:
    """Count the predictions of each class for each class.

    Args:
        labels: int [N].
        predictions: int [N].
        classes: number of classes.

    Returns:
        int64 [classes, classes]; row: true class, column: predicted class.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    # Counted here, since scikit-learn refuses to count no images.
    cells = np.asarray(labels, np.int64) * classes + predictions
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def per_class(
    labels: np.ndarray, predictions: np.ndarray, *, class_names: tuple[str, ...]
) -> list[dict]:
    """Measure each class.

    Args:
        labels: int [N].
        predictions: int [N].
        class_names: the classes.

    Returns:
        A record for each class: `name`, `precision`, `recall`, `f1` (0 where not defined) and
        `images`, the number of images of the class.

    >>> per_class(np.array([0, 0, 1]), np.array([0, 1, 1]), class_names=("cat", "dog"))[1]
    {'name': 'dog', 'precision': 0.5, 'recall': 1.0, 'f1': 0.6666666666666666, 'images': 1}
    """
    matrix = confusion_matrix(labels, predictions, classes=len(class_names))
    right, images, called = np.diagonal(matrix), matrix.sum(1), matrix.sum(0)
    precision, recall = right / np.maximum(called, 1), right / np.maximum(images, 1)
    f1 = 2 * right / np.maximum(images + called, 1)
    return [
        {
            "name": name,
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "images": int(images[k]),
        }
        for k, name in enumerate(class_names)
    ]


def balanced_accuracy(matrix: np.ndarray) -> float:
    """Average the recall of the classes that occur, so that each counts alike.

    Args:
        matrix: int [K, K]; row: true class, column: predicted class.

    Returns:
        The mean, 0 to 1; NaN for no images.

    >>> balanced_accuracy(np.array([[8, 0, 0], [1, 1, 0], [0, 0, 0]]))
    0.75
    """
    images = matrix.sum(1)
    there = images > 0
    recall = np.diagonal(matrix)[there] / images[there]
    return float(recall.mean()) if there.any() else float("nan")


def group_accuracy(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray) -> list[dict]:
    """Measure the accuracy of each group of images, such as those of a patient or a camera.

    Args:
        labels: int [N].
        predictions: int [N].
        groups: [N], names or numbers.

    Returns:
        A record for each group, in the order of their names: `name`, `images`, `correct` and
        `accuracy`.

    Raises:
        InputError: the lengths differ.

    >>> for record in group_accuracy(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([*"bba"])):
    ...     print(record)
    {'name': 'a', 'images': 1, 'correct': 1, 'accuracy': 1.0}
    {'name': 'b', 'images': 2, 'correct': 1, 'accuracy': 0.5}
    """
    groups = np.asarray(groups)
    if not len(labels) == len(predictions) == len(groups):
        raise InputError(
            f"`labels`, `predictions` and `groups` are {len(labels)}, {len(predictions)} and "
            f"{len(groups)}: there must be one of each for every image"
        )
    names, group = np.unique(groups, return_inverse=True)
    images = np.bincount(group, minlength=len(names))
    correct = np.bincount(group[labels == predictions], minlength=len(names))
    return [
        {"name": name, "images": n, "correct": right, "accuracy": right / n}
        for name, n, right in zip(names.tolist(), images.tolist(), correct.tolist(), strict=True)
    ]
