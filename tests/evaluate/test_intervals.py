"""Intervals in simulation, and comparison against SciPy and by hand."""

import time
from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest

from cnn_jax.errors import InputError
from cnn_jax.evaluate.comparison import McNemar, mcnemar
from cnn_jax.evaluate.intervals import accuracy_interval, bootstrap_interval


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say(level):
    """Of 300 accuracies of 400 images at 80 %; the deviation of that share is about 0.02."""
    rng, held, trials = np.random.default_rng(0), 0, 300
    for trial in range(trials):
        right = rng.random(400) < 0.8
        low, high = bootstrap_interval(np.mean, right, level=level, resamples=200, seed=trial)
        held += low <= 0.8 <= high
    assert held / trials == pytest.approx(level, abs=0.045)


def test_bootstrap_intervals_of_two_arrays_together():
    """A correlation, whose interval Fisher's transformation gives; entries must stay paired."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=2000)
    y = 0.6 * x + 0.8 * rng.normal(size=2000)
    low, high = bootstrap_interval(lambda a, b: np.corrcoef(a, b)[0, 1], x, y)
    middle, reach = np.arctanh(np.corrcoef(x, y)[0, 1]), 1.96 / np.sqrt(1997)
    np.testing.assert_allclose([low, high], np.tanh([middle - reach, middle + reach]), atol=0.01)


def test_bootstrap_is_seeded_and_borne_where_nothing_is_defined():
    values = np.arange(50.0)
    first = bootstrap_interval(np.mean, values, resamples=20)
    assert first == bootstrap_interval(np.mean, values, resamples=20)
    assert first != bootstrap_interval(np.mean, values, resamples=20, seed=1)
    assert np.isnan(bootstrap_interval(np.mean, values[:0])).all()
    assert np.isnan(bootstrap_interval(lambda a: float("nan"), values, resamples=3)).all()
    some = bootstrap_interval(lambda a: a.mean() if a[0] > 25 else np.nan, values, resamples=50)
    assert 10 < some[0] < some[1] < 40


def test_ten_thousand_images_take_less_than_half_a_second():
    """Of CPU time: 0.1 s when this was written."""
    right, start = np.arange(10_000) % 10 > 0, time.process_time()
    low, high = bootstrap_interval(np.mean, right)
    assert time.process_time() - start < 0.5
    assert (low, high) == pytest.approx((0.894, 0.906), abs=1e-3)


def test_accuracy_intervals_are_scipys():
    for correct, images, level in ((0, 5, 0.95), (3, 7, 0.9), (359, 360, 0.95), (360, 360, 0.99)):
        theirs = binomtest(correct, images).proportion_ci(level, method="wilson")
        assert accuracy_interval(correct, images, level=level) == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(accuracy_interval(0, 0)).all()


def test_accuracy_intervals_hold_also_where_nearly_all_is_right():
    """Of 2,000 tests of 360 images at 99.7 %; a third of them find no mistake at all."""
    counts = np.random.default_rng(0).binomial(360, 0.997, 2000)
    ends = {count: accuracy_interval(int(count), 360) for count in set(counts.tolist())}
    held = np.mean([ends[count][0] <= 0.997 <= ends[count][1] for count in counts.tolist()])
    assert held > 0.95
    assert np.mean(counts == 360) > 0.3  # where the bootstrap has an interval of width 0
    assert bootstrap_interval(np.mean, np.ones(360, bool), resamples=10) == (1, 1)


def test_mcnemar_by_hand():
    """Of 9 images 8 for one: (1 + 9) / 512 on a side."""
    right_a = np.array([True] * 8 + [False] + [True, False] * 20)
    right_b = np.array([False] * 8 + [True] + [True, False] * 20)
    found = mcnemar(right_a, right_b)
    assert found == McNemar(images=49, only_a=8, only_b=1, p_value=20 / 512)
    assert found.difference == pytest.approx(right_b.mean() - right_a.mean())
    assert mcnemar(right_b, right_a).p_value == found.p_value
    assert mcnemar(right_a, right_a) == McNemar(49, 0, 0, 1.0)
    assert mcnemar(right_a[:0], right_a[:0]).p_value == 1
    assert np.isnan(mcnemar(right_a[:0], right_a[:0]).difference)


def test_mcnemar_is_the_binomial_test():
    rng = np.random.default_rng(0)
    for images in (3, 20, 200, 10_000):
        for share in (0.5, 0.55, 0.9):
            right_a, right_b = rng.random(images) < share, rng.random(images) < 0.5
            found = mcnemar(right_a, right_b)
            apart = found.only_a + found.only_b
            expected = binomtest(found.only_a, apart).pvalue if apart else 1
            assert found.p_value == pytest.approx(expected, rel=1e-9)


HALF = np.array([True, False])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(bootstrap_interval, np.mean, HALF, level=1), r"`level` \(=1\) must be at least 0"),
        (partial(bootstrap_interval, np.mean, HALF, level=0), r"`level` \(=0\) must be positive"),
        (partial(bootstrap_interval, np.mean, HALF, resamples=0), r"`resamples` \(=0\) must be"),
        (partial(bootstrap_interval, np.mean, HALF, HALF[:1]), r"`arrays` have lengths of \[2, 1"),
        (partial(bootstrap_interval, np.mean), r"`arrays` have lengths of \[\]"),
        (partial(accuracy_interval, 3, 2), r"`correct` \(=3\) must lie between 0 and `images`"),
        (partial(mcnemar, HALF, HALF[:1]), "must say of the same images whether each is right"),
        (partial(mcnemar, HALF * 1, HALF), r"`right_a` \(int64 of shape \(2,\)\) and `right_b`"),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises(InputError, match=words):
        call()
