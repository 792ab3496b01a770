"""Calibration: whether a network that is 80 % sure is right in 80 % of the cases.

Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of Modern Neural Networks".
"""

import math
from dataclasses import dataclass

import numpy as np

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.ranking_metrics import check_scores

# What a temperature is searched in: beyond, chances are 0 and 1, or all alike.
COLDEST, HOTTEST = 0.01, 100.0


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions are right, by how sure the network is of them.

    Attributes:
        edges: float64 [bins + 1], of the confidence; bin k reaches from above `edges[k]` to
            `edges[k + 1]`.
        counts: int64 [bins], images.
        confidence: float64 [bins], their mean; NaN for no image.
        accuracy: float64 [bins], likewise.
        expected_error: the mean of their distance over all images (ECE, equation 3).
        maximum_error: the largest of any bin (MCE, equation 5); NaN for no images, both.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    expected_error: float
    maximum_error: float


def softmax(logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Make chances of logits, in double precision.

    Args:
        logits: float [N, K].
        temperature: what divides them.

    Returns:
        float64 [N, K].

    Raises:
        InputError: the temperature is not positive.

    >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
    [[0.5, 0.5]]
    """
    ranges.positive("temperature", temperature, remedy="1 leaves the logits as they are")
    exponentials = np.exp(_below_zero(logits) / temperature)
    return exponentials / exponentials.sum(1, keepdims=True)


def log_losses(labels: np.ndarray, logits: np.ndarray, *, temperature: float = 1.0) -> np.ndarray:
    """Compute the negative logarithm of the chance of the true class.

    Args:
        labels: int [N].
        logits: float [N, K].
        temperature: what divides them.

    Returns:
        float64 [N], in nats.

    Raises:
        InputError: labels and logits do not agree, a logit is not finite, or the temperature is
            not positive.

    >>> log_losses(np.array([0, 1]), np.array([[0.0, 0.0], [1000.0, 0.0]])).round(3).tolist()
    [0.693, 1000.0]
    """
    check_scores(labels, logits)
    ranges.positive("temperature", temperature, remedy="1 leaves the logits as they are")
    return _losses(labels, _below_zero(logits) / temperature)


def log_loss(labels: np.ndarray, logits: np.ndarray, *, temperature: float = 1.0) -> float:
    """Compute the mean of `log_losses`.

    Args:
        labels: as there.
        logits: as there.
        temperature: as there.

    Returns:
        In nats; NaN for no images.

    Raises:
        InputError: as there.

    >>> log_loss(np.array([0, 1]), np.zeros((2, 4))) == math.log(4)
    True
    """
    losses = log_losses(labels, logits, temperature=temperature)
    return float(losses.mean()) if len(losses) else float("nan")


def reliability(
    labels: np.ndarray, logits: np.ndarray, *, bins: int = 15, temperature: float = 1.0
) -> Reliability:
    """Compare confidence and accuracy, in bins of the confidence.

    Args:
        labels: int [N].
        logits: float [N, K].
        bins: how many, of equal width; 15 in the paper's tables.
        temperature: what divides the logits.

    Returns:
        The comparison.

    Raises:
        InputError: as `log_loss`, or `bins` is below 1.

    Two images of two classes, of which the network is sure to 73 %, and one is right:

    >>> found = reliability(np.array([0, 1]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    >>> round(found.expected_error, 2), found.counts.tolist().index(2)
    (0.23, 10)
    """
    check_scores(labels, logits)
    ranges.whole("bins", bins, remedy="15 is usual")
    chances = softmax(logits, temperature=temperature)
    confidences = chances.max(1, initial=0)
    right = logits.argmax(1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidences, side="left")
    counts = np.bincount(place, minlength=bins)
    # 0 / 0 is NaN without a warning.
    divisor = np.where(counts > 0, counts, np.nan)
    confidence = np.bincount(place, weights=confidences, minlength=bins) / divisor
    accuracy = np.bincount(place, weights=right, minlength=bins) / divisor
    gaps = np.abs(accuracy - confidence)[counts > 0]
    filled = counts[counts > 0]
    return Reliability(
        edges=edges,
        counts=counts,
        confidence=confidence,
        accuracy=accuracy,
        expected_error=float(gaps @ filled / filled.sum()) if filled.size else float("nan"),
        maximum_error=float(gaps.max(initial=0)) if filled.size else float("nan"),
    )


def fit_temperature(labels: np.ndarray, logits: np.ndarray) -> float:
    """Choose what to divide logits by for the least log-loss: temperature scaling, section 4.2.

    The loss is convex in the inverse temperature, so that its slope has one zero. Where all
    images are right there is none, as the loss falls the colder the better, which says nothing of
    other images: the temperature is then 1.

    Args:
        labels: int [N], of validation images.
        logits: float [N, K].

    Returns:
        The temperature, between `COLDEST` and `HOTTEST`; its log-loss on these images is at most
        that of 1.

    Raises:
        InputError: labels and logits do not agree, a logit is not finite, or there is no image.

    >>> labels = np.array([0, 0, 0, 1])  # three of four right, and as sure of all
    >>> round(5 / fit_temperature(labels, np.array([[5.0, 0.0]] * 4)), 3) == round(math.log(3), 3)
    True
    """
    from scipy.optimize import brentq

    check_scores(labels, logits)
    if not len(labels):
        raise InputError("`labels` are empty: a temperature needs validation images")
    below = _below_zero(logits)
    own = np.take_along_axis(below, labels[:, None], axis=1)[:, 0]
    if (own == 0).all():
        return 1.0

    def slope(exponent: float) -> float:
        """Of the loss by the inverse temperature exp(exponent): expected logit less own."""
        weights = np.exp(below * math.exp(exponent))
        return float(((weights * below).sum(1) / weights.sum(1)).mean() - own.mean())

    lowest, highest = -math.log(HOTTEST), -math.log(COLDEST)
    if slope(lowest) >= 0:
        exponent = lowest
    elif slope(highest) <= 0:
        exponent = highest
    else:
        exponent = brentq(slope, lowest, highest, xtol=1e-6)
    temperature = math.exp(-exponent)
    # Where the temperature hardly matters, rounding decides.
    better = _losses(labels, below / temperature).mean() < _losses(labels, below).mean()
    return temperature if better else 1.0


def _below_zero(logits: np.ndarray) -> np.ndarray:
    """Subtract of each image the highest logit, in double precision."""
    logits = np.asarray(logits, np.float64)
    return logits - logits.max(1, keepdims=True, initial=-np.inf) if len(logits) else logits


def _losses(labels: np.ndarray, below: np.ndarray) -> np.ndarray:
    own = np.take_along_axis(below, labels[:, None], axis=1)[:, 0]
    return np.log(np.exp(below).sum(1)) - own
