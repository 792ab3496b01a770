"""Metrics on exact counts."""

from dataclasses import dataclass

import jax
import numpy as np

from cnn_jax.errors import InputError
from cnn_jax.labels import check_multi_labels


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
        InputError: the shapes differ, or a label is neither 0 nor 1.

    >>> multi_label(np.array([[1, 0], [0, 1]]), np.array([[0.9, 0.1], [0.2, 0.8]]))["micro_f1"]
    1.0
    """
    from sklearn import metrics

    check_multi_labels(labels, shape=scores.shape)
    if not np.isin(labels, (0, 1)).all():
        raise InputError("`labels` must be 0 or 1 to be measured against: compare them with 0.5")
    there = labels.any(0)
    called = scores >= threshold
    average = metrics.average_precision_score(labels[:, there], scores[:, there], average="macro")
    return {
        "mean_average_precision": float(average) if there.any() else float("nan"),
        "micro_f1": float(metrics.f1_score(labels, called, average="micro", zero_division=0)),
        "macro_f1": float(metrics.f1_score(labels, called, average="macro", zero_division=0)),
    }


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, *, classes: int) -> np.ndarray:
    """Count the predictions of each class for each class.

    Args:
        labels: int [N].
        predictions: int [N].
        classes: number of classes.

    Returns:
        int64 [classes, classes]; row: true class, column: predicted class.
    """
    from sklearn import metrics

    return metrics.confusion_matrix(labels, predictions, labels=np.arange(classes))


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
    """
    from sklearn import metrics

    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predictions, labels=np.arange(len(class_names)), zero_division=0
    )
    return [
        {
            "name": name,
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "images": int(support[k]),
        }
        for k, name in enumerate(class_names)
    ]
