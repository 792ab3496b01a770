"""A linear classifier on features, fitted to its optimum: how good are the features?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from scipy.optimize import minimize

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.neighbours import class_count

# From almost one class for all to almost no bound; a factor of three apart.
STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
DEFAULT_STRENGTH = 0.1


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear classifier, as the head of a network has it.

    Attributes:
        kernel: float32 [D, K].
        bias: float32 [K].
        strength: of the regularisation.
        accuracy: on the validation features; None where there were none.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float | None = None

    def __call__(self, features: ArrayLike) -> np.ndarray:
        """Compute the logits [N, K] of features [N, D]."""
        return np.asarray(features, np.float32) @ self.kernel + self.bias

    @property
    def head(self) -> dict[str, np.ndarray]:
        """The parameters, for `cnn_jax.models.heads.put_head`."""
        return {"kernel": self.kernel, "bias": self.bias}


def linear_probe(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    strengths: Sequence[float] | None = None,
    class_weights: Sequence[float] | None = None,
    num_classes: int | None = None,
    max_iterations: int = 300,
) -> LinearProbe:
    """Fit a multinomial logistic regression, by L-BFGS.

    Minimised is the mean cross-entropy plus strength / 2 times the squares of the kernel, of
    features that are standardised first, each to mean 0 and deviation 1; the result is for the
    features as they are. Of several strengths, that of the lowest cross-entropy on the validation
    features is taken; each fit begins where the one before, of more strength, has ended. After two
    that are worse than the best, no weaker one is tried.

    Kornblith, Shlens and Le 2019, "Do Better ImageNet Models Transfer Better?", section 3 and
    appendix A.1, who choose among 45 strengths.

    Args:
        features: float [N, D], such as `embeddings` gives.
        labels: int [N].
        validation: features [n, D] and labels [n] to choose the strength by.
        strengths: of the regularisation, each above 0; None for `STRENGTHS` with validation
            features, and `DEFAULT_STRENGTH` without.
        class_weights: a factor of the cross-entropy for each class; None for 1.
        num_classes: K; None for the highest label and one.
        max_iterations: of L-BFGS, for each strength.

    Returns:
        The classifier.

    Raises:
        InputError: shapes do not agree, a class has no image, a feature or a weight is not finite,
            a strength is not above 0, or there are several and no validation features.

    >>> probe = linear_probe(np.array([[0.0], [1.0], [2.0], [3.0]]), [0, 0, 1, 1])
    >>> probe(np.array([[0.5], [2.5]])).argmax(1)
    array([0, 1])
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    count = _check_classes(features, labels, num_classes)
    strengths = _ordered(strengths, validation)
    weights = np.ones(count) if class_weights is None else np.asarray(class_weights)
    if weights.shape != (count,) or not np.isfinite(weights).all():
        raise InputError(
            f"`class_weights` (={class_weights}) must be {count} numbers, one for each class"
        )
    if validation is not None:
        _check_finite("validation", np.asarray(validation[0], np.float32))
    mean, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1)
    fit = _fitter((features - mean) / scale, labels, weights, max_iterations)
    best, lowest, worse = None, np.inf, 0
    start = np.zeros((features.shape[1] + 1, count))
    for strength in strengths:
        start = fit(start, strength)
        kernel = start[:-1] / scale[:, None]
        bias = start[-1] - mean @ kernel
        probe = LinearProbe(kernel.astype(np.float32), bias.astype(np.float32), strength)
        if validation is None:
            return probe
        loss, accuracy = _judge(probe, *validation)
        if loss < lowest:
            best, lowest, worse = replace(probe, accuracy=accuracy), loss, 0
            continue
        worse += 1
        if worse == 2:
            break
    return best


def cross_validated_logits(
    features: ArrayLike,
    labels: ArrayLike,
    *,
    folds: int = 5,
    seed: int = 0,
    strength: float = DEFAULT_STRENGTH,
    num_classes: int | None = None,
) -> np.ndarray:
    """Compute the logits of each image by a probe that was fitted to others.

    The images are dealt into folds, those of each class evenly; each fold is classified by a probe
    of all the others. Such logits are out of sample, as `cnn_jax.evaluate.mistakes` wants them of
    training images, though the network of the features may have seen them.

    Args:
        features: float [N, D], such as `embeddings` gives.
        labels: int [N].
        folds: how many; as many probes are fitted.
        seed: of the dealing.
        strength: of the regularisation.
        num_classes: K; None for the highest label and one.

    Returns:
        float32 [N, K].

    Raises:
        InputError: shapes do not agree, a class has fewer than two images, a feature is not
            finite, or `folds` is below 2 or above the number of images.

    >>> features = np.array([[0.0], [0.1], [1.0], [1.1]])
    >>> cross_validated_logits(features, [0, 0, 1, 1], folds=2).argmax(1)
    array([0, 0, 1, 1])
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    count = _check_classes(features, labels, num_classes)
    ranges.whole("folds", folds, least=2, remedy="5 is usual")
    if folds > len(labels):
        raise InputError(f"`folds` (={folds}) must be at most {len(labels)}, one for each image")
    sizes = np.bincount(labels, minlength=count)
    if sizes.min() < 2:
        raise InputError(
            f"`labels` hold one image of class {sizes.argmin()}: cross-validation needs two of "
            "each, so leave the class out or find more"
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold_of = np.empty(len(labels), np.int64)
    fold_of[order] = np.arange(len(labels)) % folds
    logits = np.empty((len(labels), count), np.float32)
    for fold in range(folds):
        own = fold_of == fold
        probe = linear_probe(features[~own], labels[~own], strengths=(strength,), num_classes=count)
        logits[own] = probe(features[own])
    return logits


def _fitter(features: np.ndarray, labels: np.ndarray, weights: np.ndarray, max_iterations: int):
    """Make the function (first parameters, strength) -> parameters [D + 1, K], the bias last."""
    inputs, targets = jnp.asarray(features), jnp.asarray(labels)
    factors = jnp.asarray(weights[labels] / len(labels), jnp.float32)

    @jax.jit
    @jax.value_and_grad
    def objective(parameters, inputs, targets, factors, strength):
        kernel, bias = parameters[:-1], parameters[-1]
        logits = jnp.matmul(inputs, kernel, precision=jax.lax.Precision.HIGHEST) + bias
        chosen = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        losses = jax.nn.logsumexp(logits, axis=1) - chosen
        return factors @ losses + strength / 2 * jnp.sum(kernel**2)

    def fit(start: np.ndarray, strength: float) -> np.ndarray:
        def flat(vector: np.ndarray):
            parameters = vector.reshape(start.shape).astype(np.float32)
            value, gradient = objective(parameters, inputs, targets, factors, strength)
            return float(value), np.asarray(gradient, np.float64).ravel()

        options = {"maxiter": max_iterations, "gtol": 1e-5}
        found = minimize(flat, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(start.shape)

    return fit


def _judge(probe: LinearProbe, features: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the mean cross-entropy and the accuracy."""
    logits, labels = probe(features).astype(np.float64), np.asarray(labels)
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return float(losses.mean()), float(np.mean(logits.argmax(1) == labels))


def _check_classes(features: np.ndarray, labels: np.ndarray, num_classes: int | None) -> int:
    if features.ndim != 2:
        raise InputError(f"`features` {features.shape} must be [N, D]")
    _check_finite("features", features)
    count = class_count(labels, len(features), num_classes)
    empty = np.flatnonzero(np.bincount(labels, minlength=count) == 0)
    if len(empty):
        raise InputError(
            f"`labels` hold no image of class {empty[0]} and of {len(empty) - 1} more: each class "
            "needs at least one"
        )
    return count


def _check_finite(name: str, features: np.ndarray) -> None:
    finite = np.isfinite(features)
    if not finite.all():
        raise InputError(
            f"`{name}` of image {np.argwhere(~finite)[0][0]} are not finite: leave the image out, "
            "or compute them with other weights"
        )


def _ordered(
    strengths: Sequence[float] | None, validation: tuple[ArrayLike, ArrayLike] | None
) -> list[float]:
    if strengths is None:
        strengths = STRENGTHS if validation is not None else (DEFAULT_STRENGTH,)
    if not strengths or not all(0 < strength < np.inf for strength in strengths):
        raise InputError(f"`strengths` (={strengths}) must be numbers above 0, at least one")
    if validation is None and len(strengths) > 1:
        raise InputError(
            f"`strengths` (={strengths}) are {len(strengths)}, to choose from by validation "
            "features: give these (`validation`), or one strength"
        )
    return sorted(strengths, reverse=True)
