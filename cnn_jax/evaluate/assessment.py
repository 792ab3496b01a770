"""Everything measured of a classifier's answers to labelled images, in one record."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cnn_jax import metrics, ranking_metrics
from cnn_jax.errors import InputError
from cnn_jax.evaluate.calibration import Reliability, log_loss, log_losses, reliability, softmax
from cnn_jax.evaluate.intervals import accuracy_interval, bootstrap_interval


def assess(
    labels: np.ndarray,
    logits: np.ndarray,
    *,
    class_names: Sequence[str],
    temperature: float | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a classifier.

    Args:
        labels: int [N].
        logits: float [N, K].
        class_names: the K classes.
        temperature: of `calibration.fit_temperature` on validation images; None to leave out
            what depends on it.
        groups: [N], the group of each image, such as a patient; None for none.
        seed: of what is drawn for the interval of the loss.

    Returns:
        What JSON can hold, with None where a figure is not defined:

        - `images`, `correct`, `accuracy`, `accuracy_interval` (95 %, Wilson's), `top_5` (of more
          than 5 classes);
        - `log_loss` in nats and `log_loss_interval` (95 %, bootstrap);
        - `balanced_accuracy`, `macro_precision`, `macro_recall`, `macro_f1` (means over all
          classes, as scikit-learn's report has them), `macro_roc_auc`, `macro_average_precision`
          (over the classes of which they are defined), of the probabilities;
        - `expected_calibration_error`, `maximum_calibration_error` and `reliability`, a record for
          each of 15 bins: `low`, `high`, `images`, `confidence`, `accuracy`;
        - `temperature`, `calibrated_log_loss`, `calibrated_error` and `calibrated_reliability`,
          the same with the logits divided by it; None without;
        - `classes`: of each class `name`, `precision`, `recall`, `f1`, `images`, `roc_auc`,
          `average_precision`;
        - `confusion_matrix`, rows of counts, a row for each true class;
        - `groups`: of each group `name`, `images`, `correct`, `accuracy`; None without groups.

    Raises:
        InputError: labels, logits and class names do not agree, or a logit is not finite.

    >>> found = assess(np.array([0, 1]), np.array([[2.0, 0.0], [1.0, 0.0]]), class_names=("a", "b"))
    >>> found["accuracy"], found["confusion_matrix"], found["classes"][1]["roc_auc"]
    (0.5, [[1, 0], [1, 0]], 1.0)
    """
    labels, logits = np.asarray(labels), np.asarray(logits)
    if len(class_names) != logits.shape[-1]:
        raise InputError(
            f"`class_names` are {len(class_names)}, and `logits` have {logits.shape[-1]} columns: "
            "there must be a name for each class"
        )
    ranking_metrics.check_scores(labels, logits)
    predictions, chances = logits.argmax(1), softmax(logits)
    matrix = metrics.confusion_matrix(labels, predictions, classes=len(class_names))
    classes = _classes(labels, predictions, chances, class_names)
    found = {
        **_right_and_wrong(labels, logits, int(matrix.trace()), seed=seed),
        "balanced_accuracy": metrics.balanced_accuracy(matrix),
        **_macro_averages(classes),
        **_calibration(labels, logits, temperature),
        "classes": classes,
        "confusion_matrix": matrix.tolist(),
        "groups": None
        if groups is None
        else metrics.group_accuracy(labels, predictions, np.asarray(groups)),
    }
    return as_json(found)


def as_json(value: Any) -> Any:
    """Put None for every number that JSON has no word for: NaN and infinities.

    Args:
        value: of dictionaries, sequences, numbers, strings, None.

    Returns:
        The same, with lists for sequences.

    >>> as_json({"a": (1.0, float("nan"))})
    {'a': [1.0, None]}
    """
    if isinstance(value, dict):
        return {name: as_json(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _right_and_wrong(labels: np.ndarray, logits: np.ndarray, correct: int, *, seed: int) -> dict:
    images, classes = logits.shape
    losses = log_losses(labels, logits)
    return {
        "images": images,
        "correct": correct,
        "accuracy": correct / images if images else math.nan,
        "accuracy_interval": accuracy_interval(correct, images),
        **({"top_5": ranking_metrics.top_k(labels, logits, k=5)} if classes > 5 else {}),
        "log_loss": float(losses.mean()) if images else math.nan,
        "log_loss_interval": bootstrap_interval(np.mean, losses, seed=seed),
    }


def _calibration(labels: np.ndarray, logits: np.ndarray, temperature: float | None) -> dict:
    found = reliability(labels, logits)
    record = {
        "expected_calibration_error": found.expected_error,
        "maximum_calibration_error": found.maximum_error,
        "reliability": _bins(found),
        "temperature": temperature,
        "calibrated_log_loss": None,
        "calibrated_error": None,
        "calibrated_reliability": None,
    }
    if temperature is None:
        return record
    calibrated = reliability(labels, logits, temperature=temperature)
    return {
        **record,
        "calibrated_log_loss": log_loss(labels, logits, temperature=temperature),
        "calibrated_error": calibrated.expected_error,
        "calibrated_reliability": _bins(calibrated),
    }


def _macro_averages(classes: list[dict]) -> dict[str, float]:
    names = ("precision", "recall", "f1", "roc_auc", "average_precision")
    columns = {name: np.array([record[name] for record in classes]) for name in names}
    return {
        f"macro_{name}": ranking_metrics.mean_where_defined(column)
        for name, column in columns.items()
    }


def _bins(found: Reliability) -> list[dict]:
    columns = (found.edges[:-1], found.edges[1:], found.counts, found.confidence, found.accuracy)
    names = ("low", "high", "images", "confidence", "accuracy")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _classes(
    labels: np.ndarray, predictions: np.ndarray, chances: np.ndarray, class_names: Sequence[str]
) -> list[dict]:
    records = metrics.per_class(labels, predictions, class_names=tuple(class_names))
    areas = ranking_metrics.roc_auc(labels, chances).tolist()
    precisions = ranking_metrics.average_precision(labels, chances).tolist()
    return [
        {**record, "roc_auc": area, "average_precision": precision}
        for record, area, precision in zip(records, areas, precisions, strict=True)
    ]
