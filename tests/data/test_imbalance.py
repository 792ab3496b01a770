"""Weights and resampling of classes, against scikit-learn and the paper's formula."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from cnn_jax import data
from cnn_jax.data.imbalance import (
    balanced_weights,
    check_class_sizes,
    class_counts,
    effective_number_weights,
    oversample,
    undersample,
)
from cnn_jax.errors import InputError

LABELS = np.repeat([0, 1, 2], [50, 7, 20])


def source():
    return data.array_source(np.zeros((77, 2, 2), np.uint8), LABELS, name="blank")


def test_balanced_weights_are_scikit_learns():
    counts = class_counts(LABELS, 3)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=LABELS)
    np.testing.assert_allclose(balanced_weights(counts), theirs, rtol=1e-6)
    np.testing.assert_array_equal(balanced_weights(counts, power=0), [1, 1, 1])
    root = balanced_weights(counts, power=0.5)
    np.testing.assert_allclose(root[0] / root[1], np.sqrt(7 / 50), rtol=1e-6)
    np.testing.assert_allclose((root * counts).sum() / 77, 1, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999])
def test_effective_numbers_are_the_papers(beta):
    counts = np.array([5000, 50, 3])
    weights = np.array([(1 - beta) / (1 - beta**n) for n in (5000, 50, 3)])
    theirs = weights / weights.sum() * 3
    np.testing.assert_allclose(effective_number_weights(counts, beta=beta), theirs, rtol=1e-5)


def test_counts_of_several_labels():
    assert class_counts(np.array([[1, 0, 1], [1, 0, 0]]), 3).tolist() == [2, 0, 1]


def test_oversampling_repeats_evenly():
    sampled = oversample(source(), seed=0)
    assert np.bincount(sampled.labels).tolist() == [50, 50, 50]
    times = np.bincount(sampled.indices)
    assert times[:50].tolist() == [1] * 50
    assert sorted(times[50:57]) == [7] * 6 + [8]
    assert sorted(times[57:]) == [2] * 10 + [3] * 10
    assert (np.diff(sampled.indices) >= 0).all()
    assert (sampled.indices == oversample(source(), seed=0).indices).all()
    assert (sampled.indices != oversample(source(), seed=1).indices).any()


def test_undersampling_leaves_out():
    sampled = undersample(source(), seed=0)
    assert np.bincount(sampled.labels).tolist() == [7, 7, 7]
    assert len(set(sampled.indices)) == 21


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: balanced_weights(np.array([3, 0])), "class 1 has 0 images, and cannot be weighed"),
        (lambda: effective_number_weights(np.array([3, 0])), "class 1 has 0 images"),
        (lambda: effective_number_weights(np.array([3, 1]), beta=1), r"`beta` \(=1\) must be"),
        (
            lambda: oversample(data.ArraySource(np.zeros((2, 2, 2, 1)), np.eye(2)), seed=0),
            "only images of one class each can be resampled",
        ),
    ],
)
def test_what_cannot_be_done(call, words):
    with pytest.raises(InputError, match=words):
        call()


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_class_with_one_image(split):
    """Wherever it is, and whatever the folders say."""
    labels = {"train": [0, 0, 1, 1, 2, 2], "validation": [0, 1], "test": [0, 1]}
    parts = {
        name: data.ArraySource(np.zeros((len(there), 2, 2, 1), np.uint8), np.array(there, np.int32))
        for name, there in labels.items()
    }
    names = ("cat", "dog", "cow", "eel")
    there = np.array([*labels[split], 3], np.int32)
    parts[split] = data.ArraySource(np.zeros((len(there), 2, 2, 1), np.uint8), there)
    dataset = data.Dataset("pets", **parts, class_names=names)
    with pytest.raises(InputError, match="class eel of pets has one image only, which cannot be"):
        check_class_sizes(dataset)
    alone = data.Dataset("pets", parts[split], None, parts[split], names)
    if split == "train":
        check_class_sizes(alone)
    else:
        with pytest.raises(InputError, match="class cow of pets has one image"):
            check_class_sizes(alone)
