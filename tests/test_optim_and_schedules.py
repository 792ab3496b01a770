"""Optimizers and schedules against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import losses, optim, schedules
from cnn_jax.errors import InputError

PARAMS = {"kernel": jnp.array([[2.0, -1.0]]), "bias": jnp.array([3.0])}
GRADS = {"kernel": jnp.array([[0.5, 0.25]]), "bias": jnp.array([-1.0])}


def walk(tx, steps):
    params, state = PARAMS, tx.init(PARAMS)
    for _ in range(steps):
        updates, state = tx.update(GRADS, state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_and_decay_by_hand(nesterov):
    """The recursion of PyTorch's SGD: v = m v + g + wd w; w -= lr v (or g + m v)."""
    params = walk(optim.sgd(0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.01), 3)
    kernel, bias = np.array([[2.0, -1.0]]), np.array([3.0])
    velocities = [np.zeros((1, 2)), np.zeros(1)]
    for _ in range(3):
        for index, (value, gradient, decay) in enumerate(
            [(kernel, np.array([[0.5, 0.25]]), 0.01), (bias, np.array([-1.0]), 0.0)]
        ):
            total = gradient + decay * value
            velocities[index] = 0.9 * velocities[index] + total
            value -= 0.1 * (total + 0.9 * velocities[index] if nesterov else velocities[index])
    np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-6)
    np.testing.assert_allclose(params["bias"], bias, rtol=1e-6)


def test_the_first_step_of_adam_is_the_learning_rate():
    params = walk(optim.adam(0.1), 1)
    np.testing.assert_allclose(params["kernel"], [[1.9, -1.1]], rtol=1e-5)
    np.testing.assert_allclose(params["bias"], [3.1], rtol=1e-5)


def test_adamw_decays_kernels_apart_from_the_gradient():
    params = walk(optim.adamw(0.1, weight_decay=0.5), 1)
    np.testing.assert_allclose(params["kernel"], [[1.9 - 0.1, -1.1 + 0.05]], rtol=1e-5)
    np.testing.assert_allclose(params["bias"], [3.1], rtol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(100, learning_rate=0.2), {0: 0.2, 99: 0.2}),
        (schedules.cosine(100, learning_rate=0.2), {0: 0.2, 25: 0.170711, 50: 0.1, 100: 0}),
        (schedules.cosine(100, learning_rate=0.2, floor=0.1), {0: 0.2, 50: 0.11, 100: 0.02}),
        (schedules.step(90, learning_rate=1.0), {29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 89: 0.01}),
        (schedules.step(100, learning_rate=1.0, drops=1, factor=0.5), {49: 1, 50: 0.5}),
    ],
)
def test_schedules(schedule, expected):
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, atol=1e-6)


@pytest.mark.parametrize("function", [schedules.constant, schedules.cosine, schedules.step])
def test_learning_rates_are_positive(function):
    with pytest.raises(InputError, match=r"`learning_rate` \(=-0.1\) must be positive"):
        function(10, learning_rate=-0.1)


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
