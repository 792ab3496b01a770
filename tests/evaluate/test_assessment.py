"""The whole record against scikit-learn, and where next to nothing is defined."""

import json
import time

import numpy as np
import pytest
from sklearn import metrics as peer

from cnn_jax.errors import InputError
from cnn_jax.evaluate.assessment import assess
from cnn_jax.evaluate.calibration import fit_temperature, softmax

NAMES = tuple("abcdef")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 6, 400)
LOGITS = (3 * RNG.normal(size=(400, 6)) + 4 * np.eye(6)[LABELS]).astype(np.float32)
WARDS = np.array(["north", "south", "west"])[RNG.integers(0, 3, 400)]


def test_every_figure_is_scikit_learns():
    temperature = fit_temperature(LABELS, LOGITS)
    found = assess(LABELS, LOGITS, class_names=NAMES, temperature=temperature, groups=WARDS)
    predictions, chances = LOGITS.argmax(1), softmax(LOGITS)
    report = peer.classification_report(LABELS, predictions, target_names=NAMES, output_dict=True)
    there, macro = np.eye(6)[LABELS], report["macro avg"]
    expected = {
        "accuracy": report["accuracy"],
        "top_5": peer.top_k_accuracy_score(LABELS, LOGITS, k=5),
        "log_loss": peer.log_loss(LABELS, chances),
        "balanced_accuracy": peer.balanced_accuracy_score(LABELS, predictions),
        "macro_precision": macro["precision"],
        "macro_recall": macro["recall"],
        "macro_f1": macro["f1-score"],
        "macro_roc_auc": peer.roc_auc_score(LABELS, chances, multi_class="ovr"),
        "macro_average_precision": peer.average_precision_score(there, chances),
        "calibrated_log_loss": peer.log_loss(LABELS, softmax(LOGITS, temperature=temperature)),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["correct"] == round(400 * found["accuracy"])
    assert found["confusion_matrix"] == peer.confusion_matrix(LABELS, predictions).tolist()
    for k, record in enumerate(found["classes"]):
        assert record["precision"] == pytest.approx(report[record["name"]]["precision"])
        assert record["roc_auc"] == pytest.approx(peer.roc_auc_score(k == LABELS, chances[:, k]))
    for record in found["groups"]:
        own = record["name"] == WARDS
        assert record["images"] == own.sum()
        assert record["accuracy"] == (predictions == LABELS)[own].mean()


def test_figures_agree_with_one_another():
    found = assess(LABELS, LOGITS, class_names=NAMES, temperature=2.0)
    for name in ("accuracy", "log_loss"):
        low, high = found[f"{name}_interval"]
        assert low < found[name] < high
    for name, error in (("", "expected_calibration_error"), ("calibrated_", "calibrated_error")):
        bins = [row for row in found[f"{name}reliability"] if row["images"]]
        gaps = [row["images"] * abs(row["accuracy"] - row["confidence"]) for row in bins]
        assert sum(gaps) / 400 == pytest.approx(found[error])
    assert found["calibrated_reliability"] != found["reliability"]
    assert found["temperature"] == 2.0
    plain = assess(LABELS, LOGITS, class_names=NAMES)
    assert plain["log_loss_interval"] == found["log_loss_interval"]  # seeded
    assert plain["groups"] is plain["temperature"] is plain["calibrated_error"] is None
    other = assess(LABELS, LOGITS, class_names=NAMES, seed=1)
    assert other["log_loss_interval"] != found["log_loss_interval"]


@pytest.mark.parametrize(
    ("labels", "logits"),
    [
        (np.zeros(0, int), np.zeros((0, 3))),
        (np.zeros(1, int), np.zeros((1, 3))),
        (np.zeros(4, int), np.eye(3)[[0, 1, 1, 0]]),  # one class only, one never predicted
        (np.array([1, 1, 2]), np.full((3, 3), 7.0)),  # ties
        (np.array([0, 1, 2]), 1e4 * np.eye(3)),
        (np.array([0, 1, 2]), -1e4 * np.eye(3)),
        (np.zeros(2, int), np.zeros((2, 1))),
    ],
)
def test_a_record_is_strict_json_whatever_is_not_defined(labels, logits):
    names = NAMES[: logits.shape[1]]
    found = assess(labels, logits, class_names=names, temperature=1.0, groups=labels)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["images"] == len(labels)
    assert "top_5" not in found
    assert (found["accuracy"] is None) is (len(labels) == 0)
    assert found["calibrated_log_loss"] == found["log_loss"]
    for k, record in enumerate(found["classes"]):
        own = int((labels == k).sum())
        assert (record["roc_auc"] is not None) is (0 < own < len(labels))
        assert (record["average_precision"] is not None) is (own > 0)


def test_ten_thousand_images_of_ten_classes_take_less_than_a_second():
    """Of CPU time: 0.2 s when this was written."""
    labels = np.arange(10_000) % 10
    logits = np.random.default_rng(0).normal(size=(10_000, 10)).astype(np.float32)
    assess(labels[:50], logits[:50], class_names=tuple("0123456789"))  # imports
    start = time.process_time()
    assess(labels, logits, class_names=tuple("0123456789"), temperature=1.5)
    assert time.process_time() - start < 1


def test_names_of_the_wrong_length_are_told():
    with pytest.raises(InputError, match="`class_names` are 5, and `logits` have 6 columns"):
        assess(LABELS, LOGITS, class_names=NAMES[:5])
    broken = LOGITS.copy()
    broken[3, 0] = np.inf
    with pytest.raises(InputError, match="`scores` of image 3 are not finite"):
        assess(LABELS, broken, class_names=NAMES)
