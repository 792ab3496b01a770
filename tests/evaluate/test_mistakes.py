"""Mistakes and wrong labels against what was planted, and against a case worked by hand."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_jax.errors import InputError
from cnn_jax.evaluate import mistakes
from cnn_jax.linear_probe import cross_validated_logits, linear_probe

# Six images of three classes, as probabilities. The averages of the labels' own, which are the
# thresholds: class 0: (0.8 + 0.1 + 0.6) / 3 = 0.5; class 1: 0.7; class 2:
# (0.2 + 0.3) / 2 = 0.25.
CHANCES = np.array([
    [0.80, 0.10, 0.10],  # counts for 0, its label
    [0.10, 0.75, 0.15],  # labelled 0, counts for 1
    [0.60, 0.10, 0.30],  # of 0 and 2, which both reach their thresholds, 0 is more probable
    [0.25, 0.70, 0.05],  # counts for 1, its label
    [0.55, 0.25, 0.20],  # labelled 2, counts for 0
    [0.45, 0.25, 0.30],  # 0 is the most probable, but too little so: counts for 2, its label
])  # fmt: skip
LABELS = np.array([0, 0, 0, 1, 2, 2])
LOGITS = np.log(CHANCES) + np.array([3.0, -50.0, 0.0, 900.0, 1.0, 0.0])[:, None]


def test_by_hand():
    found = mistakes.likely_mislabelled(LABELS, LOGITS)
    assert found.positions.tolist() == [1, 4]
    assert found.suggested.tolist() == [1, 0]
    np.testing.assert_allclose(found.scores, [0.10 - 0.75, 0.20 - 0.55])
    assert mistakes.likely_mislabelled(LABELS, LOGITS, count=1).positions.tolist() == [1]
    by_label = mistakes.likely_mislabelled(LABELS, LOGITS, rank_by="confidence")
    np.testing.assert_allclose(by_label.scores, [0.10, 0.20])

    assert mistakes.most_confident_mistakes(LABELS, LOGITS, count=9).tolist() == [1, 4, 5]
    assert mistakes.hardest(LABELS, LOGITS, count=3).tolist() == [1, 4, 5]
    assert mistakes.hardest(LABELS, LOGITS, count=9).tolist() == [1, 4, 5, 2, 3, 0]


def test_a_class_that_no_image_is_labelled_as_is_not_suggested():
    chances = np.array([[0.1, 0.1, 0.8], [0.9, 0.05, 0.05], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]])
    found = mistakes.likely_mislabelled([0, 0, 1, 1], np.log(chances))
    assert found.positions.tolist() == [3]
    assert found.suggested.tolist() == [0]


def test_sure_and_right_throughout_has_no_mistakes():
    logits = 1000 * np.eye(3)
    labels = np.arange(3)
    assert mistakes.most_confident_mistakes(labels, logits, count=3).tolist() == []
    assert mistakes.likely_mislabelled(labels, logits).positions.tolist() == []
    assert mistakes.confused_pairs(np.eye(3, dtype=int), "abc", count=3) == []
    assert mistakes.hardest(labels, logits, count=2).tolist() == [0, 1]


def test_confused_pairs():
    matrix = [[90, 3, 7], [2, 18, 0], [7, 0, 3]]
    pairs = mistakes.confused_pairs(matrix, ("shirt", "coat", "dress"), count=3)
    assert [(pair.true, pair.predicted, pair.images, pair.fraction) for pair in pairs] == [
        ("dress", "shirt", 7, 0.7), ("shirt", "dress", 7, 0.07), ("shirt", "coat", 3, 0.03),
    ]  # fmt: skip


def test_flipped_labels_of_digits_are_found():
    """One in twenty is wrong. On pixels, measured: 76 % are found, 94 % of the suspects are so."""
    digits, rng = load_digits(), np.random.default_rng(0)
    flipped = rng.permutation(1797)[:90]
    labels = digits.target.copy()
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, 90)) % 10
    logits = cross_validated_logits(digits.data, labels, strength=0.01)
    found = mistakes.likely_mislabelled(labels, logits)
    hit = np.isin(found.positions, flipped)
    assert hit.sum() / 90 > 0.7
    assert hit.mean() > 0.9
    assert hit[:40].mean() > 0.95  # the likeliest first
    np.testing.assert_array_equal(found.suggested[hit], digits.target[found.positions[hit]])
    # A network that has learnt them by heart finds fewer: why logits must be out of sample.
    fitted = linear_probe(digits.data, labels, strengths=(1e-5,))
    by_heart = mistakes.likely_mislabelled(labels, fitted(digits.data))
    assert np.isin(by_heart.positions, flipped).sum() < hit.sum()


def test_cross_validation_asks_a_probe_of_the_others():
    """Leave one out of two pairs, where the fifth image lies alone among the wrong ones."""
    features = np.array([[0.0], [0.1], [1.0], [1.1], [1.05]])
    labels = [0, 0, 1, 1, 0]
    logits = cross_validated_logits(features, labels, folds=5, num_classes=2)
    assert logits.dtype == np.float32
    for left_out in (0, 4):
        others = np.arange(5) != left_out
        probe = linear_probe(features[others], np.array(labels)[others], num_classes=2)
        np.testing.assert_allclose(logits[left_out], probe(features[left_out]), atol=1e-3)
    assert logits[4, 1] > logits[4, 0]


BAD = {
    "shapes": (mistakes.hardest, [0, 1], [[1.0, 2.0]], r"`labels` \(2,\) and `logits` \(1, 2\)"),
    "none": (mistakes.hardest, np.zeros(0, int), np.zeros((0, 2)), "of one image at least"),
    "range": (mistakes.hardest, [2], [[1.0, 2.0]], "from 2 to 2: they must be integers from 0 to"),
    "type": (mistakes.hardest, [1.0], [[1.0, 2.0]], "`labels` are float64 from"),
    "finite": (mistakes.hardest, [0, 0], [[0, 0], [0, np.nan]], "of 1 images .* at position 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    function, labels, logits, words = BAD[name]
    with pytest.raises(InputError, match=words):
        function(labels, logits, count=1)


def test_bad_options_are_told():
    for function in (
        mistakes.hardest, mistakes.most_confident_mistakes, mistakes.likely_mislabelled,
    ):  # fmt: skip
        with pytest.raises(InputError, match=r"`count` \(=0\) must be a whole number"):
            function(LABELS, LOGITS, count=0)
    with pytest.raises(InputError, match=r"`rank_by` .* must be 'margin' or 'confidence'"):
        mistakes.likely_mislabelled(LABELS, LOGITS, rank_by="entropy")
    with pytest.raises(InputError, match=r"shape \(2, 2\), and there are 3 class names"):
        mistakes.confused_pairs(np.eye(2), "abc", count=1)
    features = np.zeros((4, 1))
    with pytest.raises(InputError, match=r"`folds` \(=5\) must be at most 4"):
        cross_validated_logits(features, [0, 0, 1, 1])
    with pytest.raises(InputError, match=r"`folds` \(=1\) must be a whole number of at least 2"):
        cross_validated_logits(features, [0, 0, 1, 1], folds=1)
    with pytest.raises(InputError, match=r"hold one image of class 1: .* two of each"):
        cross_validated_logits(features, [0, 0, 1, 0], folds=2)
