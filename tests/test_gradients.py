"""Clipping's bounds, accumulation's equality, sharpness-aware minimisation's two gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import models, optim, schedules
from cnn_jax.averaging import ema
from cnn_jax.errors import InputError
from cnn_jax.gradients import accumulated, clipped, sam
from cnn_jax.parameter_rules import Rule, by_path
from cnn_jax.state import init_state
from cnn_jax.steps import make_train_step
from tests.conftest import scans

PLAIN = partial(optim.sgd, momentum=0.0)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 1e3]),
    bound=st.sampled_from([1e-3, 0.5, 10.0]),
)
def test_bounds_hold_for_random_trees(seed, scale, bound):
    rng = np.random.default_rng(seed)
    shapes = [(3,), (4, 2), (3, 3, 2, 5), ()][: rng.integers(1, 5)]
    params = {str(k): jnp.array(rng.standard_normal(s), jnp.float32) for k, s in enumerate(shapes)}
    gradients = {k: scale * jnp.array(rng.standard_normal(v.shape)) for k, v in params.items()}

    def through(**bounds):
        tx = clipped(1.0, optimizer=PLAIN, **bounds)
        return jax.tree.map(jnp.negative, tx.update(gradients, tx.init(params), params)[0])

    def close(found, expected):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-12), found, expected)

    close(through(value=bound), jax.tree.map(lambda g: jnp.clip(g, -bound, bound), gradients))

    norm = float(optax.tree.norm(gradients))
    by_norm = through(norm=bound)
    assert float(optax.tree.norm(by_norm)) <= bound * (1 + 1e-5)
    factor = min(1.0, bound / norm) if norm else 1.0
    close(by_norm, jax.tree.map(lambda g: g * factor, gradients))

    def length(x):  # of each output unit; of all for vectors and scalars
        x = np.asarray(x, np.float64)
        return np.sqrt((x**2).sum(tuple(range(x.ndim - 1)) if x.ndim > 1 else None))

    for name, gradient in through(adaptive=bound).items():
        most = bound * np.maximum(length(params[name]), 1e-3)
        assert (length(gradient) <= most * (1 + 1e-5)).all()
        small = length(gradients[name]) < most * (1 - 1e-5)
        same = np.isclose(gradient, gradients[name], rtol=1e-6)
        assert (same | ~small).all()


def batch_of(images, labels):
    count = len(labels)
    return {
        "image": images,
        "label": labels.astype(np.int32),
        "id": np.arange(count, dtype=np.int32),
        "epoch": np.zeros(count, np.int32),
    }


@pytest.mark.parametrize("rate", [0.5, schedules.linear(8, learning_rate=0.5)], ids=["0.5", "line"])
def test_four_batches_of_32_are_one_of_128(rate):
    """Two large steps; the schedule counts small ones."""
    model = models.create_model("mlp", num_classes=3, widths=(8,))
    images, labels = scans(256)
    inner = partial(optim.sgd, momentum=0.9, weight_decay=1e-2)
    small = accumulated(rate, optimizer=inner, steps=4)
    large = inner(rate if not callable(rate) else lambda step: rate(4 * step))
    states = {}
    for tx, size in [(small, 32), (large, 128)]:
        state = init_state(model, tx, jax.random.key(0), image_shape=(8, 8, 1))
        step = jax.jit(make_train_step(model, tx))
        for start in range(0, 256, size):
            part = slice(start, start + size)
            state, _ = step(state, batch_of(images[part], labels[part]))
        states[size] = state.params
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6), *states.values())


def test_parameters_rest_between_accumulated_steps():
    tx, params = accumulated(1.0, optimizer=PLAIN, steps=3), jnp.ones(2)
    state, moves = tx.init(params), []
    for gradient in (1.0, 2.0, 6.0, 5.0):
        updates, state = tx.update(jnp.full(2, gradient), state, params)
        moves.append(float(updates[0]))
    np.testing.assert_allclose(moves, [0, 0, -3, 0], rtol=1e-6)


def test_sam_descends_by_the_gradient_further_up():
    matrix = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    gradient = jax.grad(lambda x: 0.5 * x @ matrix @ x + jnp.sin(x).sum())
    inner = partial(optim.sgd, momentum=0.9)
    tx, plain = sam(0.1, optimizer=inner, radius=0.2), inner(0.1)
    x = y = jnp.array([1.0, -2.0])
    state, plain_state = tx.init(x), plain.init(y)
    for _ in range(3):
        updates, state = tx.update(gradient(x), state, x, grad_fn=lambda p, _: gradient(p))
        x = optax.apply_updates(x, updates)
        up = y + 0.2 * gradient(y) / jnp.linalg.norm(gradient(y))
        updates, plain_state = plain.update(gradient(up), plain_state, y)
        y = optax.apply_updates(y, updates)
    np.testing.assert_allclose(x, y, rtol=1e-5)


FREEZING = partial(by_path, optimizer=PLAIN, rules=(Rule("frozen/*", frozen=True),))


@pytest.mark.parametrize(
    "around",
    [
        partial(clipped, norm=1.0),
        partial(sam, radius=0.2),
        partial(sam, radius=0.2, optimizer=partial(clipped, norm=1.0)),
        partial(ema, optimizer=partial(accumulated, steps=1, optimizer=partial(clipped, norm=1.0))),
    ],
    ids=["clipped", "sam", "sam of clipped", "accumulated"],
)
def test_what_is_frozen_counts_nowhere(around):
    """A step is that of the other parameters, with the frozen ones as constants of the loss."""

    def nested(optimizer, around):
        inside = around.keywords.get("optimizer")
        return partial(around, optimizer=nested(optimizer, inside) if inside else optimizer)

    def loss(tree):
        x, y = tree["x"], tree["frozen"]["y"]
        return (x**4).sum() + 5 * (x * y).sum() + (y**3).sum()

    x, y = jnp.array([1.0, -2.0]), jnp.array([3.0, 0.5])
    params, alone = {"x": x, "frozen": {"y": y}}, {"x": x}
    tx, plain = nested(FREEZING, around)(0.1), nested(PLAIN, around)(0.1)

    def gradient(tree, _=None):
        return jax.grad(loss)(tree)

    def gradient_alone(tree, _=None):
        return jax.grad(lambda tree: loss({**tree, "frozen": {"y": y}}))(tree)

    found, _ = tx.update(gradient(params), tx.init(params), params, grad_fn=gradient)
    one, _ = plain.update(gradient_alone(alone), plain.init(alone), alone, grad_fn=gradient_alone)
    np.testing.assert_allclose(found["x"], one["x"], rtol=1e-6)
    assert not found["frozen"]["y"].any()


def test_optax_may_be_told_by_a_tree_what_decays():
    params = {"x": jnp.ones(2), "y": jnp.ones(2)}
    adamw = partial(optax.adamw, weight_decay=1.0, mask={"x": True, "y": False})
    tx = clipped(0.1, optimizer=adamw, norm=1.0)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["x"], -0.1, rtol=1e-6)
    np.testing.assert_array_equal(updates["y"], 0)


def test_sam_stands_still_where_there_is_no_gradient_and_passes_through_an_average():
    tx = ema(0.1, optimizer=partial(sam, optimizer=PLAIN))
    zero = jnp.zeros(2)
    updates, _ = tx.update(zero, tx.init(zero), zero, grad_fn=lambda p, _: 2 * p)
    np.testing.assert_array_equal(updates, zero)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(clipped, 0.1, optimizer=PLAIN), r"one of `value`, `norm`, `adaptive` \(=None\)"),
        (partial(clipped, 0.1, optimizer=PLAIN, norm=0), r"`norm` \(=0\) must be positive"),
        (partial(accumulated, 0.1, optimizer=PLAIN, steps=0), r"`steps` \(=0\) must be a whole"),
        (partial(sam, 0.1, optimizer=PLAIN, radius=-1), r"`radius` \(=-1\) must be positive"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
