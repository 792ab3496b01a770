"""Losses against PyTorch's, and torchvision's definition of the focal loss; gradients too."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cnn_jax import losses
from cnn_jax.errors import InputError
from cnn_jax.labels import check_class_labels

N, CLASSES = 40, 7
RNG = np.random.default_rng(0)
LOGITS = (4 * RNG.standard_normal((N, CLASSES))).astype(np.float32)
TEACHER = (4 * RNG.standard_normal((N, CLASSES))).astype(np.float32)
INTEGERS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES, dtype=np.float32)[INTEGERS]
SOFT = RNG.dirichlet(np.ones(CLASSES), N).astype(np.float32)
MULTI = RNG.integers(0, 2, (N, CLASSES)).astype(np.float32)
WEIGHTS = RNG.uniform(0.2, 3, CLASSES).astype(np.float32)
ALPHAS = RNG.uniform(0, 1, CLASSES).astype(np.float32)


def torch_cross_entropy(logits, labels, **options):
    if "weight" in options:
        options["weight"] = torch.tensor(options["weight"], dtype=logits.dtype)
    return F.cross_entropy(logits, torch.tensor(labels), reduction="none", **options)


def torch_focal(logits, labels, *, gamma, alpha):
    """Lin et al., equation 5, on the softmax."""
    log_chances = F.log_softmax(logits, -1)
    chances = torch.tensor(labels if labels.ndim > 1 else np.eye(CLASSES)[labels])
    terms = -torch.tensor(alpha) * (1 - log_chances.exp()) ** gamma * log_chances
    return (chances * terms).sum(-1)


def torch_bce(logits, labels, **options):
    options = {key: torch.tensor(value) for key, value in options.items()}
    terms = F.binary_cross_entropy_with_logits(
        logits, torch.tensor(labels, dtype=logits.dtype), reduction="none", **options
    )
    return terms.mean(-1)


def torch_binary_focal(logits, labels, *, gamma, alpha):
    """torchvision.ops.sigmoid_focal_loss, as its documentation defines it."""
    labels = torch.tensor(labels, dtype=logits.dtype)
    chance = torch.sigmoid(logits)
    terms = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    terms = terms * (1 - (chance * labels + (1 - chance) * (1 - labels))) ** gamma
    if alpha is not None:
        alpha = torch.tensor(alpha)
        terms = terms * (alpha * labels + (1 - alpha) * (1 - labels))
    return terms.mean(-1)


def torch_distillation(logits, labels, *, temperature, alpha):
    student = F.log_softmax(logits / temperature, -1)
    teacher = F.softmax(torch.tensor(TEACHER, dtype=logits.dtype) / temperature, -1)
    soft = F.kl_div(student, teacher, reduction="none").sum(-1) * temperature**2
    return alpha * soft + (1 - alpha) * torch_cross_entropy(logits, labels)


# Our loss, its labels, and PyTorch's on the same ones.
PAIRS = {
    "integers": (losses.cross_entropy, INTEGERS, torch_cross_entropy),
    "one-hot": (losses.cross_entropy, ONE_HOT, torch_cross_entropy),
    "soft": (losses.cross_entropy, SOFT, torch_cross_entropy),
    **{
        f"{name}, smoothed, weighted": (
            partial(losses.cross_entropy, smoothing=0.1, class_weights=WEIGHTS),
            labels,
            partial(torch_cross_entropy, label_smoothing=0.1, weight=WEIGHTS),
        )
        for name, labels in [("integers", INTEGERS), ("soft", SOFT)]
    },
    "integers, weighted": (
        partial(losses.cross_entropy, class_weights=tuple(map(float, WEIGHTS))),
        INTEGERS,
        partial(torch_cross_entropy, weight=WEIGHTS),
    ),
    "integers, smoothed": (
        partial(losses.cross_entropy, smoothing=0.2),
        INTEGERS,
        partial(torch_cross_entropy, label_smoothing=0.2),
    ),
    "focal": (losses.focal, INTEGERS, partial(torch_focal, gamma=2.0, alpha=1.0)),
    "focal, one alpha": (
        partial(losses.focal, gamma=0.5, alpha=0.25),
        ONE_HOT,
        partial(torch_focal, gamma=0.5, alpha=0.25),
    ),
    "focal, an alpha a class": (
        partial(losses.focal, gamma=3.0, alpha=ALPHAS),
        INTEGERS,
        partial(torch_focal, gamma=3.0, alpha=ALPHAS),
    ),
    "focal, soft": (losses.focal, SOFT, partial(torch_focal, gamma=2.0, alpha=1.0)),
    "binary": (losses.binary_cross_entropy, MULTI, torch_bce),
    "binary, soft": (losses.binary_cross_entropy, SOFT, torch_bce),
    "binary, weighted": (
        partial(losses.binary_cross_entropy, class_weights=WEIGHTS, positive_weights=ALPHAS),
        MULTI,
        partial(torch_bce, weight=WEIGHTS, pos_weight=ALPHAS),
    ),
    "binary focal": (
        losses.binary_focal,
        MULTI,
        partial(torch_binary_focal, gamma=2.0, alpha=0.25),
    ),
    "binary focal, unweighted": (
        partial(losses.binary_focal, gamma=1.5, alpha=None),
        MULTI,
        partial(torch_binary_focal, gamma=1.5, alpha=None),
    ),
    "binary focal, an alpha a class": (
        partial(losses.binary_focal, gamma=1.0, alpha=ALPHAS),
        MULTI,
        partial(torch_binary_focal, gamma=1.0, alpha=ALPHAS),
    ),
    "distillation": (
        lambda logits, labels: losses.distillation(
            logits, labels, jnp.array(TEACHER), temperature=3.0, alpha=0.7
        ),
        INTEGERS,
        partial(torch_distillation, temperature=3.0, alpha=0.7),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_pytorchs(name):
    ours, labels, theirs = PAIRS[name]
    logits = torch.tensor(LOGITS, dtype=torch.float64, requires_grad=True)
    expected = theirs(logits, labels)
    factors = np.linspace(0.5, 2, N)  # so that no example's gradient stands in for another's
    (expected * torch.tensor(factors)).sum().backward()

    def total(logits):
        values = ours(logits, jnp.array(labels))
        return (values * factors).sum(), values

    gradient, values = jax.jit(jax.grad(total, has_aux=True))(jnp.array(LOGITS))
    assert values.shape == (N,)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected.detach(), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(gradient, logits.grad, rtol=1e-5, atol=1e-5)


def test_binary_focal_is_torchvisions():
    from tests.parity import torchvision

    focal_loss = torchvision.ops.sigmoid_focal_loss
    expected = focal_loss(torch.tensor(LOGITS), torch.tensor(MULTI), alpha=0.3, gamma=2.5)
    values = losses.binary_focal(jnp.array(LOGITS), jnp.array(MULTI), alpha=0.3, gamma=2.5)
    np.testing.assert_allclose(values, expected.mean(-1), rtol=1e-6, atol=1e-6)


def test_cross_entropy_is_per_example_and_in_float32():
    logits = jnp.array([[0.0, 0.0], [jnp.log(3.0), 0.0]], jnp.bfloat16)
    values = losses.cross_entropy(logits, jnp.array([0, 1]))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, [np.log(2), np.log(4)], rtol=1e-2)
    huge = losses.cross_entropy(jnp.array([[1e4, 0.0]]), jnp.array([1]))
    np.testing.assert_allclose(huge, [1e4], rtol=1e-6)
    assert jnp.isfinite(
        jax.grad(lambda x: losses.cross_entropy(x, jnp.array([1])).sum())(jnp.array([[1e4, 0.0]]))
    ).all()


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_certain_and_uniform_logits_have_finite_losses_and_gradients(name, scale):
    ours, labels, _ = PAIRS[name]
    labels = jnp.array(labels)
    for sign in (1, -1):
        logits = jnp.array(sign * scale * ONE_HOT)
        value, gradient = jax.value_and_grad(lambda x, y=labels: ours(x, y).sum())(logits)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("name", PAIRS)
def test_half_precision_logits_lose_no_more_than_their_own_rounding(name):
    ours, labels, _ = PAIRS[name]
    half = jnp.array(LOGITS, jnp.bfloat16)
    exact = ours(half.astype(jnp.float32), jnp.array(labels))
    np.testing.assert_array_equal(ours(half, jnp.array(labels)), exact)


def test_no_gradient_reaches_the_teacher():
    def total(teacher):
        return losses.distillation(jnp.array(LOGITS), jnp.array(INTEGERS), teacher).sum()

    assert (jax.grad(total)(jnp.array(TEACHER)) == 0).all()


def test_a_class_outside_is_never_silent():
    """Where labels are known it is an error; under jit the loss is NaN, so that the run stops."""
    labels = jnp.array([CLASSES] * N)
    for loss in (losses.cross_entropy, partial(losses.cross_entropy, smoothing=0.1), losses.focal):
        assert jnp.isnan(jax.jit(loss)(jnp.array(LOGITS), labels)).all()
        with pytest.raises(InputError, match=r"`labels` \(from 7 to 7\) must lie between 0 and 6"):
            loss(jnp.array(LOGITS), labels)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda x: losses.cross_entropy(x, jnp.array(SOFT * 2)),
            r"soft `labels` must not be negative and must sum to 1 for each example, and row 0",
        ),
        (
            lambda x: losses.focal(x, jnp.array(ONE_HOT).at[3].set(0.0)),
            r"row 3 sums to 0: divide each row by its sum",
        ),
        (
            lambda x: losses.cross_entropy(x, jnp.array(INTEGERS, jnp.float32)),
            r"`labels` \(float32 of shape \(40,\)\) must be integers of shape \(40,\), or chances",
        ),
        (
            lambda x: losses.cross_entropy(x, jnp.array(INTEGERS)[:, None]),
            r"`labels` \(int\d+ of shape \(40, 1\)\) must be integers of shape \(40,\)",
        ),
        (
            lambda x: losses.cross_entropy(x, jnp.array(INTEGERS), class_weights=[1.0] * 6),
            r"`class_weights` \(of shape \(6,\)\) must have one value for each of the 7 classes",
        ),
        (
            lambda x: losses.cross_entropy(x, jnp.array(INTEGERS), class_weights=[-1.0] * 7),
            r"`class_weights` \(=\[-1.0.*\]\) must not be negative",
        ),
        (
            lambda x: losses.cross_entropy(x, jnp.array(INTEGERS), smoothing=1.5),
            r"`smoothing` \(=1.5\) must be at least 0 and at most 1",
        ),
        (
            lambda x: losses.focal(x, jnp.array(INTEGERS), gamma=-1),
            r"`gamma` \(=-1\) must not be negative",
        ),
        (
            lambda x: losses.focal(x, jnp.array(INTEGERS), alpha=[0.1, 0.2]),
            r"`alpha` \(of shape \(2,\)\) must have one value for each of the 7 classes",
        ),
        (
            lambda x: losses.binary_cross_entropy(x, jnp.array(INTEGERS)),
            r"`labels` \(of shape \(40,\)\) must have the shape \(40, 7\) of the logits",
        ),
        (
            lambda x: losses.binary_cross_entropy(x, jnp.array(MULTI * 3)),
            r"`labels` \(from 0.0 to 3.0\) must lie between 0 and 1",
        ),
        (
            lambda x: losses.binary_focal(x, jnp.array(MULTI), alpha=2.0),
            r"`alpha` \(=2.0\) must be between 0 and 1",
        ),
        (
            lambda x: losses.distillation(x, jnp.array(INTEGERS), jnp.zeros((N, 3))),
            r"`teacher_logits` \(of shape \(40, 3\)\) must have the shape of `logits`, \(40, 7\)",
        ),
        (
            lambda x: losses.distillation(x, jnp.array(INTEGERS), x, temperature=0),
            r"`temperature` \(=0\) must be positive",
        ),
        (
            lambda x: check_class_labels(ONE_HOT, shape=x.shape, soft=False),
            r"`labels` \(of shape \(40, 7\)\) are one-hot or soft where integers of shape \(40,\)",
        ),
    ],
)
def test_bad_input_is_named_in_one_sentence(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call(jnp.array(LOGITS))
    assert "\n" not in str(caught.value)
    assert ": " in str(caught.value)
