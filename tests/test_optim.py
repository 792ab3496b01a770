"""Optimizers against their definitions and against PyTorch's."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from cnn_jax import optim
from cnn_jax.errors import InputError
from cnn_jax.muon import muon, muon_of_fixed_norm, orthogonalized
from cnn_jax.one_cycle import one_cycle, one_cycle_momentum

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


STEPS = 50
RNG = np.random.default_rng(0)
START = {"bias": RNG.standard_normal(4), "kernel": RNG.standard_normal((3, 4))}
NOISE = {
    "bias": RNG.standard_normal((STEPS, 4)),
    "kernel": RNG.standard_normal((STEPS, 3, 4)),
}


def fifty_steps(tx):
    """Every parameter after each step; gradients are noise and a pull towards 0."""
    start = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), START)

    def one(carry, noise):
        params, state = carry
        gradients = jax.tree.map(lambda p, n: 0.5 * p + n, params, noise)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    noise = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), NOISE)
    return jax.jit(lambda: jax.lax.scan(one, (start, tx.init(start)), noise)[1])()


def torch_fifty_steps(make, *, weight_decay=0.0, schedule=None):
    """The same with PyTorch in double precision; the kernel alone decays."""
    params = {k: torch.nn.Parameter(torch.tensor(v)) for k, v in START.items()}
    optimizer = make(
        [
            {"params": [params["kernel"]], "weight_decay": weight_decay},
            {"params": [params["bias"]], "weight_decay": 0.0},
        ]
    )
    scheduler, history = schedule and schedule(optimizer), {k: [] for k in params}
    for step in range(STEPS):
        for name, param in params.items():
            param.grad = 0.5 * param.detach() + torch.tensor(NOISE[name][step])
        optimizer.step()
        if scheduler:
            scheduler.step()
        for name, param in params.items():
            history[name].append(param.detach().numpy().copy())
    return jax.tree.map(np.stack, history, is_leaf=lambda node: isinstance(node, list))


PAIRS = {
    "sgd": (partial(optim.sgd, 0.1, momentum=0.0), partial(torch.optim.SGD, lr=0.1)),
    "momentum": (optim.sgd, partial(torch.optim.SGD, lr=0.03, momentum=0.9)),
    "nesterov": (
        partial(optim.sgd, nesterov=True),
        partial(torch.optim.SGD, lr=0.03, momentum=0.9, nesterov=True),
    ),
    "adam": (optim.adam, partial(torch.optim.Adam, lr=0.03)),
    "adam with other betas": (
        partial(optim.adam, b1=0.8, b2=0.9, epsilon=1e-3),
        partial(torch.optim.Adam, lr=0.03, betas=(0.8, 0.9), eps=1e-3),
    ),
    "adamw": (optim.adamw, partial(torch.optim.AdamW, lr=0.03)),
    "rmsprop": (
        partial(optim.rmsprop, decay=0.99),
        partial(torch.optim.RMSprop, lr=0.03),
    ),
    "rmsprop with momentum": (
        partial(optim.rmsprop, momentum=0.9, epsilon=1e-3),
        partial(torch.optim.RMSprop, lr=0.03, alpha=0.9, momentum=0.9, eps=1e-3),
    ),
}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", PAIRS)
def test_fifty_steps_are_pytorchs(name, weight_decay):
    ours, theirs = PAIRS[name]
    if name != "sgd":
        ours = partial(ours, 0.03)
    found = fifty_steps(ours(weight_decay=weight_decay))
    expected = torch_fifty_steps(theirs, weight_decay=weight_decay)
    for leaf in START:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-5, atol=1e-5)


def test_one_cycle_with_its_momentum_is_pytorchs():
    tx = optim.sgd(one_cycle(STEPS, learning_rate=0.1), momentum=one_cycle_momentum(STEPS))
    expected = torch_fifty_steps(
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        schedule=partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=STEPS + 1),
    )
    found = fifty_steps(tx)
    # A run of one step more, as PyTorch's scheduler steps once after the last step.
    tx = optim.sgd(one_cycle(STEPS + 1, learning_rate=0.1), momentum=one_cycle_momentum(STEPS + 1))
    found = fifty_steps(tx)
    for leaf in START:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=1e-5, atol=1e-5)


def test_rmsprop_as_tensorflow_computes_it():
    """ms = 0.9 ms + 0.1 g^2 from 1; mom = 0.5 mom + lr g / sqrt(ms + eps); w -= mom."""
    rate = lambda step: 0.1 / (1.0 + step)  # noqa: E731
    tx = optim.rmsprop(
        rate, momentum=0.5, epsilon=0.01, epsilon_in_root=True, initial=1.0, rate_in_momentum=True
    )
    params = walk(tx, 4)
    for name, gradient in GRADS.items():
        square, momentum, value = 1.0, 0.0, np.array(PARAMS[name], np.float64)
        for step in range(4):
            square = 0.9 * square + 0.1 * np.array(gradient, np.float64) ** 2
            momentum = 0.5 * momentum + rate(step) * gradient / np.sqrt(square + 0.01)
            value = value - np.array(momentum)
        np.testing.assert_allclose(params[name], value, rtol=1e-5)


def test_lamb_steps_as_far_as_the_norm_of_each_array():
    params = walk(optim.lamb(0.1, weight_decay=0.0), 1)
    for name, value in PARAMS.items():
        moved = np.linalg.norm(np.array(params[name] - value))
        np.testing.assert_allclose(moved, 0.1 * np.linalg.norm(np.array(value)), rtol=1e-5)


def test_lion_steps_by_the_sign_of_its_momentum():
    """c = sign(0.9 m + 0.1 g); w -= lr (c + wd w); m = 0.99 m + 0.01 g."""
    params = walk(optim.lion(0.1, weight_decay=0.5), 1)
    np.testing.assert_allclose(params["kernel"], [[2 - 0.1 - 0.1, -1 - 0.1 + 0.05]], rtol=1e-6)
    np.testing.assert_allclose(params["bias"], [3.1], rtol=1e-6)


def orthogonalised(matrix):
    """Five of Newton and Schulz's steps with Jordan's coefficients."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x


def test_muon_makes_the_steps_of_filters_orthogonal_and_leaves_the_rest_to_another():
    rng = np.random.default_rng(0)
    params = {
        "conv": {"kernel": rng.standard_normal((3, 3, 2, 6)), "bias": rng.standard_normal(6)},
        "fc": {"kernel": rng.standard_normal((6, 3))},
    }
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params)
    gradients = jax.tree.map(lambda leaf: leaf**2 - 0.3, params)
    rest = partial(optim.sgd, momentum=0.0)
    tx = muon(lambda step: 0.1, rest=rest, rest_factor=3.0, weight_decay=0.5)
    updates, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
    matrix = np.array(gradients["conv"]["kernel"], np.float64).reshape(18, 6)
    step = -0.1 * (
        orthogonalised(matrix.T).T + 0.5 * np.array(params["conv"]["kernel"]).reshape(18, 6)
    )
    np.testing.assert_allclose(updates["conv"]["kernel"].reshape(18, 6), step, atol=1e-5)
    spread = np.linalg.svd(orthogonalised(matrix.T), compute_uv=False)
    assert (spread.min() > 0.5) & (spread.max() < 1.3)
    for name, leaf in [("conv", "bias"), ("fc", "kernel")]:
        np.testing.assert_allclose(updates[name][leaf], -0.3 * gradients[name][leaf], rtol=1e-6)


@pytest.mark.parametrize("shape", [(18, 6), (6, 18), (5, 5)])
def test_the_iteration_is_that_of_numpy(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    wide = matrix.T if shape[0] > shape[1] else matrix
    expected = orthogonalised(wide).T if shape[0] > shape[1] else orthogonalised(wide)
    np.testing.assert_allclose(orthogonalized(jnp.array(matrix)), expected, atol=1e-5)


def test_muon_of_fixed_norm_steps_from_filters_of_that_norm():
    """Two steps by hand: a momentum that nothing corrects, and Nesterov's look ahead."""
    rng = np.random.default_rng(0)
    filters, *gradients = (rng.standard_normal((3, 3, 2, 6)).astype(np.float32) for _ in range(3))
    tx = muon_of_fixed_norm(lambda step: 0.1 * (1 + step), momentum=0.6, iterations=5)
    update = jax.jit(tx.update)
    state, found, total, expected = tx.init(filters), filters, 0.0, filters.astype(np.float64)
    for rate, gradient in zip((0.1, 0.2), gradients, strict=True):
        steps, state = update(gradient, state, found)
        found = found + steps
        total = 0.6 * total + gradient
        matrix = (gradient + 0.6 * total).reshape(18, 6)
        step = orthogonalised(matrix.T).T.reshape(filters.shape)
        expected = expected * np.sqrt(6) / np.linalg.norm(expected) - rate * step
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(optim.sgd, -0.1), r"`learning_rate` \(=-0.1\) must not be negative"),
        (partial(optim.sgd, 0.1, momentum=1.0), r"`momentum` \(=1.0\) must be at least 0 and"),
        (partial(optim.adam, 0.1, b1=-1), r"`b1` \(=-1\) must be at least 0 and below 1"),
        (partial(optim.adamw, 0.1, weight_decay=-1), r"`weight_decay` \(=-1\) must not be neg"),
        (partial(optim.rmsprop, 0.1, decay=9), r"`decay` \(=9\) must be at least 0 and below 1"),
        (partial(optim.lamb, 0.1, b2=1), r"`b2` \(=1\) must be at least 0 and below 1"),
        (partial(optim.lion, float("nan")), r"`learning_rate` \(=nan\) must not be negative"),
        (partial(muon, 0.1, rest_factor=0), r"`rest_factor` \(=0\) must be positive"),
        (partial(muon_of_fixed_norm, 0.1, iterations=0), r"`iterations` \(=0\)"),
        (partial(muon_of_fixed_norm, 0.1, momentum=1), r"`momentum` \(=1\) must be at least 0"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
