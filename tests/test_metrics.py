"""Metrics against scikit-learn, against hand-computed values, and where they are not defined."""

import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as peer

from cnn_jax.errors import InputError
from cnn_jax.metrics import (
    balanced_accuracy,
    confusion_matrix,
    group_accuracy,
    multi_label,
    per_class,
)
from cnn_jax.ranking_metrics import average_precision, mean_where_defined, roc_auc, top_k

CLASSES = 5


@st.composite
def scored(draw, *, classes=CLASSES):
    """Labels and scores, with classes that are absent, a single class, and many ties."""
    seed, images = draw(st.integers(0, 999)), draw(st.integers(1, 30))
    present = draw(st.integers(1, classes))
    levels = draw(st.sampled_from([2, 4, 1000]))
    rng = np.random.default_rng(seed)
    return rng.integers(0, present, images), rng.integers(0, levels, (images, classes)) / levels


@settings(max_examples=40, deadline=None)
@given(scored(), st.integers(1, CLASSES))
def test_top_k_is_the_place_in_a_stable_order(case, k):
    labels, scores = case
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.mean([label in row for label, row in zip(labels, order, strict=True)])
    assert top_k(labels, scores, k=k) == pytest.approx(expected)
    assert top_k(labels, scores, k=1) == pytest.approx(np.mean(scores.argmax(1) == labels))
    assert top_k(labels, scores, k=CLASSES) == 1


def test_top_k_is_scikit_learns():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 7, 200), rng.normal(size=(200, 7))
    for k in (1, 2, 5):
        assert top_k(labels, scores, k=k) == pytest.approx(
            peer.top_k_accuracy_score(labels, scores, k=k)
        )


def pairwise_auc(there, score):
    """The definition: pairs in the right order, ties half."""
    ahead = score[there][:, None] - score[~there]
    return (np.sign(ahead) + 1).mean() / 2 if ahead.size else np.nan


def loop_precision(there, score):
    """Of each image of the class the precision among those that score at least as high."""
    if not there.any():
        return np.nan
    return np.mean([there[score >= value].mean() for value in score[there]])


@settings(max_examples=40, deadline=None)
@given(scored(), st.booleans())
def test_auc_and_average_precision_follow_their_definitions(case, several):
    labels, scores = case
    there = labels[:, None] == np.arange(CLASSES)
    if several:
        there = there | (np.random.default_rng(len(labels)).random(there.shape) < 0.3)
        labels = there.astype(int)
    for measure, loop in ((roc_auc, pairwise_auc), (average_precision, loop_precision)):
        expected = [loop(there[:, k], scores[:, k]) for k in range(CLASSES)]
        np.testing.assert_allclose(measure(labels, scores), expected, rtol=1e-12)


def test_macro_averages_are_scikit_learns():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 100)
    scores = rng.dirichlet(np.ones(4), 100)
    expected = peer.roc_auc_score(labels, scores, multi_class="ovr")
    assert mean_where_defined(roc_auc(labels, scores)) == pytest.approx(expected)
    there = np.eye(4)[labels]
    expected = peer.average_precision_score(there, scores)
    assert mean_where_defined(average_precision(there, scores)) == pytest.approx(expected)
    assert np.isnan(mean_where_defined(np.array([np.nan])))


@settings(max_examples=40, deadline=None)
@given(scored())
def test_counts_are_scikit_learns(case):
    labels, scores = case
    predictions = scores.argmax(1)
    matrix = confusion_matrix(labels, predictions, classes=CLASSES)
    expected = np.zeros((CLASSES, CLASSES), int)
    for true, predicted in zip(labels, predictions, strict=True):
        expected[true, predicted] += 1
    np.testing.assert_array_equal(matrix, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of predictions of a class that does not occur
        assert balanced_accuracy(matrix) == pytest.approx(
            peer.balanced_accuracy_score(labels, predictions)
        )
    report = peer.classification_report(
        labels, predictions, labels=range(CLASSES), output_dict=True, zero_division=0
    )
    for record in per_class(labels, predictions, class_names=tuple("01234")):
        theirs = report[record["name"]]
        assert record["images"] == theirs["support"]
        for ours, name in (("precision",) * 2, ("recall",) * 2, ("f1", "f1-score")):
            assert record[ours] == pytest.approx(theirs[name])


@settings(max_examples=20, deadline=None)
@given(scored(), st.sampled_from([0.0, 0.3, 1.0]))
def test_several_labels_are_scikit_learns(case, share):
    _, scores = case
    labels = (np.random.default_rng(len(scores)).random(scores.shape) < share).astype(int)
    measured = multi_label(labels, scores)
    for average in ("micro", "macro"):
        expected = peer.f1_score(labels, scores >= 0.5, average=average, zero_division=0)
        assert measured[f"{average}_f1"] == pytest.approx(expected)
    there = labels.any(0)
    expected = peer.average_precision_score(labels[:, there], scores[:, there]) if share else np.nan
    assert measured["mean_average_precision"] == pytest.approx(expected, nan_ok=True)


def test_no_images_are_no_error():
    nothing, scores = np.zeros(0, int), np.zeros((0, 3))
    assert np.isnan(top_k(nothing, scores, k=2))
    assert np.isnan([*roc_auc(nothing, scores), *average_precision(nothing, scores)]).all()
    matrix = confusion_matrix(nothing, nothing, classes=3)
    assert matrix.tolist() == [[0] * 3] * 3
    assert np.isnan(balanced_accuracy(matrix))
    assert [record["images"] for record in per_class(nothing, nothing, class_names=(*"abc",))] == [
        0
    ] * 3
    assert group_accuracy(nothing, nothing, nothing) == []
    measured = multi_label(np.zeros((0, 3), int), scores)
    assert (np.isnan(measured["mean_average_precision"]), measured["micro_f1"]) == (True, 0)


def test_groups_are_counted_apart():
    labels, predictions = np.array([0, 1, 1, 0, 2]), np.array([0, 1, 0, 0, 0])
    records = group_accuracy(labels, predictions, ["ward 2", "ward 1", "ward 2", "ward 2", "x"])
    assert records == [
        {"name": "ward 1", "images": 1, "correct": 1, "accuracy": 1.0},
        {"name": "ward 2", "images": 3, "correct": 2, "accuracy": 2 / 3},
        {"name": "x", "images": 1, "correct": 0, "accuracy": 0.0},
    ]
    records = group_accuracy(labels, predictions, np.array([10, 9, 9, 9, 9]))
    assert [record["name"] for record in records] == [9, 10]  # as numbers


ONE = np.array([0])
PAIR = np.array([[0.2, 0.8]])


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (partial(top_k, ONE, PAIR, k=3), r"`k` \(=3\) must be at most 2, the number of classes"),
        (partial(top_k, ONE, PAIR, k=0), r"`k` \(=0\) must be a whole number of at least 1"),
        (partial(top_k, ONE + 2, PAIR, k=1), r"`labels` \(from 2 to 2\) must lie between 0 and 1"),
        (partial(top_k, ONE, PAIR * np.nan, k=1), "`scores` of image 0 are not finite"),
        (partial(roc_auc, ONE, PAIR * np.inf), "`scores` of image 0 are not finite"),
        (partial(roc_auc, PAIR, PAIR), "`labels` must be 0 or 1 to be measured against"),
        (partial(average_precision, PAIR, PAIR[:, :1]), r"must have the shape \(1, 1\)"),
        (partial(group_accuracy, ONE, ONE, []), "are 1, 1 and 0: there must be one of each"),
    ],
)
def test_bad_input_is_told(measure, words):
    with pytest.raises(InputError, match=words):
        measure()
