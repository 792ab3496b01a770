"""Calibration against loops, closed forms and what must never happen."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import metrics as peer

from cnn_jax.errors import InputError
from cnn_jax.evaluate.calibration import (
    COLDEST,
    HOTTEST,
    fit_temperature,
    log_loss,
    reliability,
    softmax,
)


@st.composite
def answered(draw):
    """Labels and logits: from guesses to all right and all wrong, from flat to huge."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    images, classes = draw(st.integers(1, 25)), draw(st.integers(2, 5))
    scale = draw(st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]))
    logits = scale * rng.normal(size=(images, classes))
    labels = rng.integers(0, classes, images)
    kind = draw(st.sampled_from(["any", "right", "wrong", "most"]))
    if kind != "any":
        labels = logits.argmax(1) if kind in ("right", "most") else logits.argmin(1)
    if kind == "most":
        labels[0] = logits[0].argmin()
    return labels, logits.astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(answered())
def test_a_temperature_never_worsens_the_loss(case):
    labels, logits = case
    temperature = fit_temperature(labels, logits)
    assert COLDEST * (1 - 1e-9) <= temperature <= HOTTEST * (1 + 1e-9)
    assert log_loss(labels, logits, temperature=temperature) <= log_loss(labels, logits)


def test_a_temperature_is_the_best_there_is():
    """As found by a search for the minimum of the loss itself; of logits made too large by 3."""
    rng = np.random.default_rng(0)
    true = 2 * rng.normal(size=(4000, 6))
    labels = np.array([rng.choice(6, p=chances) for chances in softmax(true)])
    temperature = fit_temperature(labels, 3 * true)
    found = minimize_scalar(
        lambda log: log_loss(labels, 3 * true, temperature=np.exp(log)),
        bounds=(-2, 3), method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    assert temperature == pytest.approx(np.exp(found.x), rel=1e-4)
    assert temperature == pytest.approx(3, rel=0.1)
    # Calibrated by construction, so nearly no error is left of what there was.
    before = reliability(labels, 3 * true)
    after = reliability(labels, 3 * true, temperature=temperature)
    assert after.expected_error < 0.03 < 0.1 < before.expected_error


def test_temperatures_in_closed_form():
    """Of two classes and logits (m, 0), r of n right, chances are best at r / n: T = m / logit."""
    for margin, right, images in ((4.0, 3, 4), (0.5, 9, 10), (20.0, 51, 100), (0.01, 9, 10)):
        labels = (np.arange(images) >= right).astype(int)
        expected = margin / np.log(right / (images - right))
        found = fit_temperature(labels, np.tile([margin, 0], (images, 1)))
        assert found == pytest.approx(np.clip(expected, COLDEST, HOTTEST), rel=1e-5)
    for right in range(11, 40):  # calibrated already, where a search is off by what it tolerates
        labels, margin = (np.arange(40) >= right).astype(int), np.log(right / (40 - right))
        logits = np.tile([margin, 0], (40, 1))
        found = fit_temperature(labels, logits)
        assert found == pytest.approx(1, abs=1e-5) or right == 20  # a guess at any temperature
        assert log_loss(labels, logits, temperature=found) <= log_loss(labels, logits)
    two = np.array([[2.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(np.array([0, 1]), two) == 1  # all right: the colder the better
    assert fit_temperature(np.array([1, 0]), two) == pytest.approx(HOTTEST)  # all wrong
    assert fit_temperature(np.array([0, 1]), 0 * two) == 1  # does not matter


@settings(max_examples=30, deadline=None)
@given(answered())
def test_log_loss_is_scikit_learns(case):
    labels, logits = case
    found = log_loss(labels, logits)
    chances = softmax(logits)
    if chances.min() > 1e-12:  # below, scikit-learn clips
        expected = peer.log_loss(labels, chances, labels=range(logits.shape[1]))
        assert found == pytest.approx(expected, rel=1e-9)
    own = np.take_along_axis(logits, labels[:, None], 1)[:, 0].astype(float)
    gap = (logits.max(1) - own).mean()
    assert gap - 1e-9 <= found <= gap + np.log(logits.shape[1]) + 1e-9


def test_log_loss_does_not_overflow():
    assert log_loss(np.array([1]), np.array([[1e30, -1e30]], np.float32)) == pytest.approx(2e30)
    assert log_loss(np.array([0]), np.array([[1e30, -1e30]], np.float32)) == 0


@settings(max_examples=40, deadline=None)
@given(answered(), st.sampled_from([1, 2, 4, 15]))
def test_reliability_follows_its_definition(case, bins):
    """Equations 3 and 5, with bins that hold their upper end, as the paper has them."""
    labels, logits = case
    found = reliability(labels, logits, bins=bins)
    chances = softmax(logits)
    confidences, right = chances.max(1), logits.argmax(1) == labels
    expected, largest = 0.0, 0.0
    for k in range(bins):
        low, high = found.edges[k], found.edges[k + 1]
        inside = (confidences > low) & (confidences <= high + (k == bins - 1))
        assert found.counts[k] == inside.sum()
        if not inside.any():
            assert np.isnan(found.confidence[k]) and np.isnan(found.accuracy[k])
            continue
        assert found.confidence[k] == pytest.approx(confidences[inside].mean())
        assert found.accuracy[k] == pytest.approx(right[inside].mean())
        gap = abs(right[inside].mean() - confidences[inside].mean())
        expected, largest = expected + gap * inside.mean(), max(largest, gap)
    assert found.expected_error == pytest.approx(expected)
    assert found.maximum_error == pytest.approx(largest)
    np.testing.assert_allclose(found.edges, np.arange(bins + 1) / bins)


def test_a_confidence_at_an_edge_belongs_below():
    """Two equal logits are a confidence of one half, the upper end of the first of two bins."""
    assert reliability(np.array([0]), np.zeros((1, 2)), bins=2).counts.tolist() == [1, 0]


def test_no_images():
    nothing, logits = np.zeros(0, int), np.zeros((0, 3))
    found = reliability(nothing, logits)
    assert found.counts.sum() == 0
    assert np.isnan([found.expected_error, found.maximum_error, log_loss(nothing, logits)]).all()


ONE, LOGITS = np.array([0]), np.zeros((1, 2))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(reliability, ONE, LOGITS, bins=0), r"`bins` \(=0\) must be a whole number"),
        (partial(log_loss, ONE, LOGITS, temperature=0), r"`temperature` \(=0\) must be positive"),
        (partial(log_loss, ONE + 2, LOGITS), r"`labels` \(from 2 to 2\) must lie between"),
        (partial(fit_temperature, ONE, LOGITS * np.nan), "`scores` of image 0 are not finite"),
        (partial(fit_temperature, ONE[:0], LOGITS[:0]), "a temperature needs validation images"),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises(InputError, match=words):
        call()
