"""Checks that labels are what a loss takes.

The shape and the type are always known; the values only outside of jit. Call a check on a batch
that lies in the host's memory, before training, to have the values looked at as well.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.errors import InputError


def check_class_labels(
    labels: jax.Array | np.ndarray, *, shape: tuple[int, ...], soft: bool = True
) -> None:
    """Check labels of one class out of several.

    Args:
        labels: int [N], or [N, classes] for one-hot and soft labels.
        shape: of the logits, (N, classes).
        soft: whether one-hot and soft labels are right as well.

    Raises:
        InputError: they have another shape or type, are one-hot where integers are expected, name
            a class that is not there, or are chances that are negative or do not sum to 1.

    >>> check_class_labels(np.eye(3), shape=(3, 3), soft=False)
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `labels` (of shape (3, 3)) are one-hot or soft where integers of \
shape (3,) are expected: take their argmax(-1)
    """
    known = not isinstance(labels, jax.core.Tracer)
    whole = jnp.issubdtype(labels.dtype, jnp.integer)
    if labels.shape == shape and len(shape) > 1:
        if not soft:
            raise InputError(
                f"`labels` (of shape {labels.shape}) are one-hot or soft where integers of shape "
                f"{shape[:-1]} are expected: take their argmax(-1)"
            )
        if known:
            _check_chances(np.asarray(labels, np.float64))
    elif labels.shape != shape[:-1] or not whole:
        chances = f", or chances of shape {shape}" if soft else ""
        raise InputError(
            f"`labels` ({labels.dtype} of shape {labels.shape}) must be integers of shape "
            f"{shape[:-1]}{chances}: bring them to the shape of the logits {shape}"
        )
    elif known and labels.size and (labels.min() < 0 or labels.max() >= shape[-1]):
        low, high = int(labels.min()), int(labels.max())
        raise InputError(
            f"`labels` (from {low} to {high}) must lie between 0 and {shape[-1] - 1}: give the "
            f"model {high + 1} classes or number the classes from 0"
        )


def check_multi_labels(labels: jax.Array | np.ndarray, *, shape: tuple[int, ...]) -> None:
    """Check labels of which several may hold at once.

    Args:
        labels: [N, classes], each between 0 and 1.
        shape: of the logits, (N, classes).

    Raises:
        InputError: they have another shape, or values outside.

    >>> check_multi_labels(np.array([2, 0]), shape=(2, 3))
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `labels` (of shape (2,)) must have the shape (2, 3) of the logits, \
0 or 1 for each class: use jax.nn.one_hot for the numbers of classes
    """
    if labels.shape != shape:
        raise InputError(
            f"`labels` (of shape {labels.shape}) must have the shape {shape} of the logits, 0 or 1 "
            "for each class: use jax.nn.one_hot for the numbers of classes"
        )
    if isinstance(labels, jax.core.Tracer) or not labels.size:
        return
    values = np.asarray(labels, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"`labels` (from {values.min()} to {values.max()}) must lie between 0 and 1: divide or "
            "compare them first"
        )


def _check_chances(chances: np.ndarray) -> None:
    sums = chances.sum(-1)
    # bfloat16 keeps 8 bits: a hundred rounded chances are off by less than this.
    wrong = ~(np.abs(sums - 1) <= 1e-2) | ~(chances >= 0).all(-1)
    if wrong.any():
        row = int(np.flatnonzero(wrong.reshape(-1))[0])
        raise InputError(
            f"soft `labels` must not be negative and must sum to 1 for each example, and row {row} "
            f"sums to {sums.reshape(-1)[row]:.6g}: divide each row by its sum"
        )
