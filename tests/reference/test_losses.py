"""Cross-entropy against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import special

from cnn_jax.errors import InputError
from cnn_jax.reference import cross_entropy


def test_equal_scores_cost_the_logarithm_of_the_classes():
    np.testing.assert_allclose(cross_entropy(np.zeros((1, 10)), [3]), [math.log(10)])


def test_agrees_with_scipy():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(20, 5)), rng.integers(0, 5, 20)
    expected = -special.log_softmax(logits, axis=-1)[np.arange(20), labels]
    np.testing.assert_allclose(cross_entropy(logits, labels), expected)


def test_extreme_scores_stay_finite():
    np.testing.assert_allclose(cross_entropy([[1000.0, 0.0]] * 2, [0, 1]), [0, 1000])


def test_wrong_labels_are_named():
    with pytest.raises(InputError, match=r"`labels` \(=3 at 1\) must be from 0 to 2"):
        cross_entropy(np.zeros((2, 3)), [0, 3])
    with pytest.raises(InputError, match=r"`labels` \(of type float64\) .* integers"):
        cross_entropy(np.zeros((2, 3)), np.eye(3)[:2])
    with pytest.raises(InputError, match=r"`labels` \(of shape \(1,\)\) .* shape \(2,\)"):
        cross_entropy(np.zeros((2, 3)), [0])
