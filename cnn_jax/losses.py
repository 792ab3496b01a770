"""Losses, one value for each example; the mean, and what is masked, are the caller's.

A recipe holds one with its options filled in:

    loss=partial(losses.cross_entropy, smoothing=0.1)
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.labels import check_class_labels, check_multi_labels

# A number, or one for each class.
PerClass = float | Sequence[float] | jax.Array


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy of the softmax: the negative log-probability of the true class.

    Args:
        logits: [N, classes], of any float type; the loss is computed in float32.
        labels: int [N], or the chances of the classes, [N, classes]: one-hot or soft.
        smoothing: part of each label that is spread evenly over all classes (Szegedy et al. 2016,
            section 7).
        class_weights: [classes]; what the chance of each class is multiplied by. The mean over a
            batch is not divided by its weights.

    Returns:
        float32 [N], in nats; ln(classes) for uniform logits.

    Raises:
        InputError: labels or weights do not fit the logits, soft labels do not sum to 1 (where
            their values are known: not under jit), or an option is out of range.

    >>> cross_entropy(jnp.zeros((1, 10)), jnp.array([3])).round(4)
    Array([2.3026], dtype=float32)
    >>> cross_entropy(jnp.array([[0.0, 1.0]]), jnp.array([[0.5, 0.5]])).round(2)
    Array([0.81], dtype=float32)
    """
    ranges.fraction("smoothing", smoothing, with_one=True, remedy="0.1 is usual, 0 is none")
    classes = logits.shape[-1]
    check_class_labels(labels, shape=logits.shape)
    logits = logits.astype(jnp.float32)
    plain = labels.ndim < logits.ndim and smoothing == 0
    if plain and class_weights is None:
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    terms = -jax.nn.log_softmax(logits)
    if class_weights is not None:
        terms *= _per_class("class_weights", class_weights, classes)
    true = _expected(terms, labels)
    return true if plain else (1 - smoothing) * true + smoothing * terms.mean(-1)


def focal(
    logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0, alpha: PerClass = 1.0
) -> jax.Array:
    """Focal loss of the softmax: cross-entropy that passes over what is already right.

    `-alpha (1 - p)^gamma ln p` with p the probability of the true class: Lin et al. 2017,
    equation 5, for one class out of several.

    Args:
        logits: [N, classes], of any float type; the loss is computed in float32.
        labels: int [N], or the chances of the classes, [N, classes]: one-hot or soft.
        gamma: how strongly to discount what is right; 0 is cross-entropy.
        alpha: a factor for every example, or [classes]: a factor for each class.

    Returns:
        float32 [N], in nats.

    Raises:
        InputError: as for `cross_entropy`; `gamma` or `alpha` is negative.

    >>> focal(jnp.zeros((1, 2)), jnp.array([1]), gamma=2).round(4)
    Array([0.1733], dtype=float32)
    """
    ranges.not_negative("gamma", gamma, remedy="2 is usual, 0 is plain cross-entropy")
    check_class_labels(labels, shape=logits.shape)
    log_chances = jax.nn.log_softmax(logits.astype(jnp.float32))
    return _expected(
        -_per_class("alpha", alpha, logits.shape[-1]) * _discount(log_chances, gamma) * log_chances,
        labels,
    )


def binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | jax.Array | None = None,
    positive_weights: PerClass = 1.0,
) -> jax.Array:
    """Cross-entropy of independent sigmoids: each class is there or not, several may be.

    Args:
        logits: [N, classes], of any float type; the loss is computed in float32.
        labels: [N, classes], each between 0 (not there) and 1 (there).
        smoothing: part of each label that is replaced by one half.
        class_weights: [classes]; what each class's loss is multiplied by.
        positive_weights: what the loss of a class that is there is multiplied by, or [classes].

    Returns:
        float32 [N], in nats, the mean over the classes; ln(2) for zero logits.

    Raises:
        InputError: labels or weights do not fit the logits, or an option is out of range.

    >>> binary_cross_entropy(jnp.zeros((1, 3)), jnp.array([[1, 0, 1]])).round(4)
    Array([0.6931], dtype=float32)
    """
    ranges.fraction("smoothing", smoothing, with_one=True, remedy="0.1 is usual, 0 is none")
    check_multi_labels(labels, shape=logits.shape)
    classes, logits = logits.shape[-1], logits.astype(jnp.float32)
    labels = labels.astype(jnp.float32) * (1 - smoothing) + smoothing / 2
    there, absent = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    there *= _per_class("positive_weights", positive_weights, classes)
    terms = -(labels * there + (1 - labels) * absent)
    if class_weights is not None:
        terms *= _per_class("class_weights", class_weights, classes)
    return terms.mean(-1)


def binary_focal(
    logits: jax.Array,
    labels: jax.Array,
    *,
    gamma: float = 2.0,
    alpha: PerClass | None = 0.25,
) -> jax.Array:
    """Focal loss of independent sigmoids (Lin et al. 2017, equation 5), as torchvision defines it.

    Args:
        logits: [N, classes], of any float type; the loss is computed in float32.
        labels: [N, classes], 0 (not there) or 1 (there).
        gamma: how strongly to discount what is right; 0 is binary cross-entropy.
        alpha: weight of a class that is there, and 1 - alpha that of one that is not; a number or
            [classes]. None weights both by 1.

    Returns:
        float32 [N], in nats, the mean over the classes.

    Raises:
        InputError: the labels do not fit the logits; `gamma` is negative, or `alpha` not between
            0 and 1.

    >>> binary_focal(jnp.zeros((1, 2)), jnp.array([[1, 0]]), gamma=2, alpha=None).round(4)
    Array([0.1733], dtype=float32)
    """
    ranges.not_negative("gamma", gamma, remedy="2 is usual, 0 is plain cross-entropy")
    check_multi_labels(labels, shape=logits.shape)
    logits, labels = logits.astype(jnp.float32), labels.astype(jnp.float32)
    there, absent = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    # The chance of the truth; of a soft label, as torchvision mixes it.
    wrong = labels * jnp.exp(absent) + (1 - labels) * jnp.exp(there)
    terms = -(labels * there + (1 - labels) * absent) * _power(wrong, gamma)
    if alpha is not None:
        alpha = _per_class("alpha", alpha, logits.shape[-1])
        if not isinstance(alpha, jax.core.Tracer) and (alpha > 1).any():
            raise InputError(
                f"`alpha` (={alpha}) must be between 0 and 1, since what is absent weighs 1 - "
                "alpha: use binary_cross_entropy's `positive_weights` for larger weights"
            )
        terms *= labels * alpha + (1 - labels) * (1 - alpha)
    return terms.mean(-1)


def distillation(
    logits: jax.Array,
    labels: jax.Array,
    teacher_logits: jax.Array,
    *,
    temperature: float = 4.0,
    alpha: float = 0.9,
    smoothing: float = 0.0,
) -> jax.Array:
    """Follow a teacher as well as the labels (Hinton et al. 2015, section 2).

    `alpha T^2 KL(softmax(teacher / T) || softmax(logits / T)) + (1 - alpha) cross-entropy`; T^2
    keeps the gradient's size whatever the temperature. The Kullback-Leibler divergence differs
    from the paper's cross-entropy by what does not depend on the student.

    Args:
        logits: [N, classes], the student's, of any float type; computed in float32.
        labels: as for `cross_entropy`.
        teacher_logits: [N, classes]; no gradient reaches them.
        temperature: what both logits are divided by before their softmax.
        alpha: weight of the teacher; the labels have the rest.
        smoothing: of the labels, as for `cross_entropy`.

    Returns:
        float32 [N], in nats.

    Raises:
        InputError: the teacher's classes are not the student's, an option is out of range, or as
            for `cross_entropy`.

    >>> logits = jnp.array([[1.0, 2.0, 3.0]])
    >>> distillation(logits, jnp.array([2]), logits, alpha=1.0).round(4)
    Array([0.], dtype=float32)
    """
    ranges.positive("temperature", temperature, remedy="4 is usual, 1 softens nothing")
    ranges.fraction("alpha", alpha, with_one=True, remedy="0.9 is usual, 0 ignores the teacher")
    if teacher_logits.shape != logits.shape:
        raise InputError(
            f"`teacher_logits` (of shape {teacher_logits.shape}) must have the shape of `logits`, "
            f"{logits.shape}: choose a teacher of the same classes"
        )
    student = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
    teacher = jax.lax.stop_gradient(teacher_logits).astype(jnp.float32) / temperature
    divergence = optax.losses.kl_divergence_with_log_targets(student, jax.nn.log_softmax(teacher))
    truth = cross_entropy(logits, labels, smoothing=smoothing)
    return alpha * temperature**2 * divergence + (1 - alpha) * truth


def _expected(terms: jax.Array, labels: jax.Array) -> jax.Array:
    """Take each row's term of the true class, or the terms' mean by the chances of the classes."""
    if labels.ndim < terms.ndim:
        return jnp.take_along_axis(terms, labels[..., None], axis=-1)[..., 0]
    return (labels * terms).sum(-1)


def _discount(log_chances: jax.Array, gamma: float) -> jax.Array:
    # 1 - exp(x) would lose every digit of a chance near 1.
    return _power(-jnp.expm1(log_chances), gamma)


def _power(base: jax.Array, gamma: float) -> jax.Array:
    """Raise to a power, with a finite gradient where the base is 0 and the power below 1."""
    return jnp.maximum(base, jnp.finfo(jnp.float32).tiny) ** gamma


def _per_class(name: str, values: PerClass, classes: int) -> jax.Array | np.ndarray:
    traced = isinstance(values, jax.core.Tracer)
    array = values if traced else np.asarray(values, np.float32)
    if array.ndim and array.shape != (classes,):
        raise InputError(
            f"`{name}` (of shape {array.shape}) must have one value for each of the {classes} "
            f"classes: give {classes} numbers"
        )
    if not traced and not (array >= 0).all():
        raise InputError(
            f"`{name}` (={values}) must not be negative: choose 0 to leave a class out"
        )
    return array
