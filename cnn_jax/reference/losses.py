"""Cross-entropy, written out."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.errors import InputError
from cnn_jax.reference.arguments import check_length, float64


def cross_entropy(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """How surprised the network is by the truth: minus the log-probability of the true class.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 6.30.

    Args:
        logits: float [N, classes], scores before the softmax.
        labels: int [N], from 0 to classes - 1.

    Returns:
        float64 [N], in nats; ln(classes) where all scores are equal.

    Raises:
        InputError: for wrong shapes, labels that are no integers, or a label that is no class.

    >>> cross_entropy([[0.0, 0.0], [0.0, np.log(3)]], [0, 1]).round(4)
    array([0.6931, 0.2877])
    """
    logits = float64(logits, ("examples", "classes"), name="logits")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"`labels` (of type {labels.dtype}) must hold classes as integers: "
            "convert one-hot labels with labels.argmax(-1)"
        )
    check_length(labels, name="labels", length=len(logits), what="example")
    classes = logits.shape[1]
    losses = np.zeros(len(logits))
    for n, label in enumerate(labels):
        if not 0 <= label < classes:
            raise InputError(
                f"`labels` (={label} at {n}) must be from 0 to {classes - 1}: "
                f"the logits have {classes} classes"
            )
        # The logarithm of a softmax: a common shift cancels, and keeps the powers finite.
        scores = logits[n] - np.max(logits[n])
        losses[n] = np.log(np.sum(np.exp(scores))) - scores[label]
    return losses
