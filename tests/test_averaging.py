"""Averages of the parameters against their closed forms."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import optim
from cnn_jax.averaging import averaged, ema, lookahead
from cnn_jax.errors import InputError

START = jnp.array([1.0, -2.0])
GRADIENTS = np.random.default_rng(0).standard_normal((23, 2)).astype(np.float32)
PLAIN = partial(optim.sgd, momentum=0.0)


def walk(tx):
    """Parameters, and those to evaluate with, from the start and after each step."""

    def one(carry, gradient):
        params, state = carry
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, averaged(params, state))

    def whole():
        return jax.lax.scan(one, (START, tx.init(START)), jnp.array(GRADIENTS))[1]

    return [np.concatenate([START[None], part]) for part in jax.jit(whole)()]


def test_an_exponential_average_is_its_closed_form():
    """d^T p_0 + (1 - d) sum of d^(T - t) p_t, t = 1 to T."""
    plain, _ = walk(optim.adam(0.1))
    trained, average = walk(ema(0.1, optimizer=optim.adam, decay=0.8))
    np.testing.assert_allclose(trained, plain, rtol=1e-6)
    for last in range(len(average)):
        weights = np.array([0.8**last] + [0.2 * 0.8 ** (last - t) for t in range(1, last + 1)])
        assert weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(average[last], weights @ plain[: last + 1], rtol=1e-6, atol=1e-6)


def test_lookahead_goes_back_part_of_the_way_every_few_steps():
    fast, slow = walk(lookahead(0.1, optimizer=PLAIN, steps=5, pull=0.3))
    expected_slow = expected_fast = np.array(START, np.float64)
    for step, gradient in enumerate(GRADIENTS, start=1):
        expected_fast = expected_fast - 0.1 * gradient
        if step % 5 == 0:
            expected_slow = expected_slow + 0.3 * (expected_fast - expected_slow)
            expected_fast = expected_slow
        np.testing.assert_allclose(fast[step], expected_fast, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(slow[step], expected_slow, rtol=1e-5, atol=1e-6)


def test_without_an_average_the_parameters_are_their_own():
    tx = optim.adam(0.1)
    assert averaged(START, tx.init(START)) is START


def test_the_outermost_average_counts():
    tx = ema(1.0, optimizer=partial(lookahead, optimizer=PLAIN, steps=1), decay=0.75)
    _, state = tx.update(jnp.ones(2), tx.init(START), START)
    np.testing.assert_allclose(averaged(START, state), START - 0.5 * 0.25)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(ema, 0.1, optimizer=PLAIN, decay=1.0), r"`decay` \(=1.0\) must be at least 0"),
        (partial(lookahead, 0.1, optimizer=PLAIN, steps=0), r"`steps` \(=0\) must be a whole"),
        (partial(lookahead, 0.1, optimizer=PLAIN, pull=0), r"`pull` \(=0\) must be positive"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
