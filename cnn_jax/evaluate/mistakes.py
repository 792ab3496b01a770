"""Which images a network gets wrong, and which labels may be wrong themselves.

All of labels and logits on the host. Where the images are training images, the logits should be of
networks that were not fitted to them: what a network has learnt by heart it finds neither hard nor
wrong. `cnn_jax.linear_probe.cross_validated_logits` makes such logits of features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_softmax

from cnn_jax import ranges
from cnn_jax.errors import InputError


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that are taken for another.

    Attributes:
        true: name of their class.
        predicted: name of the other.
        images: how many are so.
        fraction: of the images of their class.
    """

    true: str
    predicted: str
    images: int
    fraction: float


@dataclass(frozen=True, eq=False)
class Suspects:
    """Images whose labels are likely wrong, the likeliest first.

    Attributes:
        positions: int64 [n], which images.
        suggested: int64 [n], the class that each seems to belong to.
        scores: float64 [n], what they are ranked by, rising.
    """

    positions: np.ndarray
    suggested: np.ndarray
    scores: np.ndarray


def most_confident_mistakes(labels: ArrayLike, logits: ArrayLike, *, count: int) -> np.ndarray:
    """Find the images that are taken for a wrong class with the highest probability.

    Args:
        labels: int [N].
        logits: float [N, K].
        count: how many at most.

    Returns:
        int64 positions of at most `count` images, the most confident first; of equal ones the
        earlier first.

    Raises:
        InputError: the shapes do not agree, a label is out of range, a logit is not finite, or
            `count` is below 1.

    >>> most_confident_mistakes([0, 0, 1], [[1.0, 2.0], [1.0, 5.0], [0.0, 9.0]], count=5)
    array([1, 0])
    """
    labels, logits = _checked(labels, logits)
    ranges.whole("count", count, remedy="20 for instance")
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    confidence = log_softmax(logits, axis=1)[wrong].max(1)
    return wrong[np.argsort(-confidence, kind="stable")[:count]]


def confused_pairs(
    matrix: ArrayLike, class_names: Sequence[str], *, count: int
) -> list[ConfusedPair]:
    """Find the classes that are most often taken for another.

    Args:
        matrix: int [K, K], such as `cnn_jax.metrics.confusion_matrix` gives: rows are true classes.
        class_names: K names.
        count: how many pairs at most.

    Returns:
        Pairs with an image, most images first; of equal ones that of the larger fraction first.

    Raises:
        InputError: the shapes do not agree, or `count` is below 1.

    >>> confused_pairs([[8, 2], [0, 5]], ("cat", "dog"), count=3)
    [ConfusedPair(true='cat', predicted='dog', images=2, fraction=0.2)]
    """
    matrix = np.asarray(matrix)
    if matrix.shape != (len(class_names), len(class_names)):
        raise InputError(
            f"`matrix` has shape {matrix.shape}, and there are {len(class_names)} class names: it "
            "must have a row and a column for each"
        )
    ranges.whole("count", count, remedy="10 for instance")
    sizes = matrix.sum(1)
    pairs = [
        ConfusedPair(
            class_names[true],
            class_names[predicted],
            int(matrix[true, predicted]),
            float(matrix[true, predicted] / sizes[true]),
        )
        for true, predicted in np.argwhere(matrix)
        if true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.images, -pair.fraction))[:count]


def hardest(labels: ArrayLike, logits: ArrayLike, *, count: int) -> np.ndarray:
    """Find the images of the highest loss, whether they are taken for a wrong class or not.

    Args:
        labels: int [N].
        logits: float [N, K].
        count: how many at most.

    Returns:
        int64 positions of at most `count` images, the hardest first; of equal ones the earlier
        first.

    Raises:
        InputError: as `most_confident_mistakes`.

    >>> hardest([0, 0, 1], [[1.0, 2.0], [1.0, 5.0], [0.0, 9.0]], count=2)
    array([1, 0])
    """
    labels, logits = _checked(labels, logits)
    ranges.whole("count", count, remedy="20 for instance")
    chances = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return np.argsort(chances, kind="stable")[:count]


def likely_mislabelled(
    labels: ArrayLike,
    logits: ArrayLike,
    *,
    count: int | None = None,
    rank_by: Literal["margin", "confidence"] = "margin",
) -> Suspects:
    """Find the images whose labels are likely wrong, by confident learning.

    An image counts for a class where the class's probability is at least what the images labelled
    so have on average; of several such classes for the most probable. Suspect is an image that
    counts for a class other than its label: an off-diagonal entry of the confident joint.

    Northcutt, Jiang and Chuang 2021, "Confident Learning", equations 1 and 2 and section 3.2.

    Args:
        labels: int [N], as they were given.
        logits: float [N, K], of networks that were not fitted to these images.
        count: how many at most; None for all suspects.
        rank_by: "margin" for the probability of the label less that of the most probable other
            class, "confidence" for that of the label alone.

    Returns:
        The suspects, the likeliest first.

    Raises:
        InputError: as `most_confident_mistakes`, or `rank_by` is neither.

    >>> found = likely_mislabelled([0, 0, 1, 1], [[3, 0], [0, 3], [0, 3], [0, 3]])
    >>> found.positions, found.suggested
    (array([1]), array([1]))
    """
    labels, logits = _checked(labels, logits)
    if count is not None:
        ranges.whole("count", count, remedy="leave it out for all suspects")
    if rank_by not in ("margin", "confidence"):
        raise InputError(f"`rank_by` (={rank_by!r}) must be 'margin' or 'confidence'")
    chances, rows = np.exp(log_softmax(logits, axis=1)), np.arange(len(labels))
    own = chances[rows, labels]
    sizes = np.bincount(labels, minlength=logits.shape[1])
    sums = np.bincount(labels, own, minlength=logits.shape[1])
    # A class that no image is labelled as has no average to reach.
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    confident = np.where(chances >= thresholds, chances, -1)
    counted = confident.argmax(1)
    suspects = np.flatnonzero((confident.max(1) >= 0) & (counted != labels))

    others = chances.copy()
    others[rows, labels] = -np.inf
    scores = own - others.max(1) if rank_by == "margin" else own
    order = suspects[np.argsort(scores[suspects], kind="stable")[:count]]
    return Suspects(order, counted[order], scores[order])


def _checked(labels: ArrayLike, logits: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    labels, logits = np.asarray(labels), np.asarray(logits, np.float64)
    if logits.ndim != 2 or 0 in logits.shape or labels.shape != logits.shape[:1]:
        raise InputError(
            f"`labels` {labels.shape} and `logits` {logits.shape} must be [N] and [N, K], of one "
            "image at least: give the logits of the same images"
        )
    if not np.issubdtype(labels.dtype, np.integer) or not (
        0 <= labels.min() <= labels.max() < logits.shape[1]
    ):
        raise InputError(
            f"`labels` are {labels.dtype} from {labels.min()} to {labels.max()}: they must be "
            f"integers from 0 to {logits.shape[1] - 1}, the classes of the logits"
        )
    finite = np.isfinite(logits).all(1)
    if not finite.all():
        raise InputError(
            f"`logits` of {np.sum(~finite)} images are not finite, the first at position "
            f"{finite.argmin()}: use the network before it diverged"
        )
    return labels, logits
