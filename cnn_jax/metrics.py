"""Metrics on exact counts."""

from dataclasses import dataclass

import numpy as np


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
