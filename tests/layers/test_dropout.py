"""Dropout: its arithmetic is the reference's, its randomness is the key's."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import layers, reference
from cnn_jax.errors import InputError

SHAPE = (6, 5, 4, 8)
# Axes along which one decision holds for all.
TOGETHER = {"dropout": (), "channel_dropout": (1, 2), "drop_path": (1, 2, 3)}
LOOPS = {"dropout": reference.dropout, "channel_dropout": reference.channel_dropout}

seeds = st.integers(0, 2**32 - 1)
rates = st.floats(0, 0.95)
each = pytest.mark.parametrize("name", TOGETHER)


def _images(seed: int) -> np.ndarray:
    """Positive values, so that a zero has been dropped."""
    return np.random.default_rng(seed).uniform(0.1, 2, SHAPE).astype(np.float32)


def _mask(name: str, output) -> np.ndarray:
    """Read off which were kept, once it is known that what goes together went together."""
    kept = np.asarray(output) != 0
    some, every = (f(kept, axis=TOGETHER[name]) for f in (np.any, np.all))
    assert (some == every).all()
    return kept if name == "dropout" else every


@each
def test_arithmetic_is_the_reference_s(name):
    @given(seeds, rates)
    def holds(seed, rate):
        images = _images(seed)
        output = getattr(layers, name)(jax.random.key(seed), images, rate=rate)
        mask = _mask(name, output)
        if name in LOOPS:
            expected = LOOPS[name](images, mask, rate=rate)
        else:
            expected = images * mask[:, None, None, None] / (1 - rate)
        np.testing.assert_allclose(output, expected, rtol=2e-5)
        assert output.dtype == jnp.float32

    holds()


@each
def test_the_share_dropped_is_the_rate(name):
    """Of 10,000 decisions, within 5 standard deviations."""
    shape = {"dropout": (10, 10, 10, 10), "channel_dropout": (100, 1, 1, 100)}
    ones = jnp.ones(shape.get(name, (10_000, 1, 1, 1)))
    for seed, rate in enumerate((0.05, 0.3, 0.5, 0.9)):
        output = getattr(layers, name)(jax.random.key(seed), ones, rate=rate)
        dropped = float((output == 0).mean())
        assert abs(dropped - rate) < 5 * (rate * (1 - rate) / 10_000) ** 0.5


@each
def test_rate_zero_changes_nothing(name):
    images = _images(0)
    output = getattr(layers, name)(jax.random.key(0), images, rate=0)
    np.testing.assert_array_equal(output, images)


@each
def test_same_key_same_mask_and_another_key_another_mask(name):
    ones = jnp.ones((64, 3, 3, 64))
    drop = jax.jit(partial(getattr(layers, name), rate=0.5))

    @given(seeds)
    def holds(seed):
        one, other = jax.random.split(jax.random.key(seed))
        np.testing.assert_array_equal(drop(one, ones), drop(one, ones))
        assert (np.asarray(drop(one, ones)) != np.asarray(drop(other, ones))).any()

    holds()


class TwoDropouts(nn.Module):
    """Two layers of the same width and rate, as in a model; the outputs show the masks."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        first = layers.Dropout(0.5, deterministic=not train)(x)
        second = layers.Dropout(0.5, deterministic=not train)(x)
        return first, second


@given(seeds)
def test_masks_of_two_layers_are_never_the_same(seed):
    """In a model each layer folds its own path into the key."""
    first, second = TwoDropouts().apply(
        {}, jnp.ones((4, 64)), train=True, rngs={"dropout": jax.random.key(seed)}
    )
    assert (np.asarray(first) != np.asarray(second)).any()


@given(seeds, st.integers(0, 10_000))
def test_masks_of_two_steps_are_never_the_same(seed, step):
    key = jax.random.key(seed)
    now, later = (
        TwoDropouts().apply(
            {}, jnp.ones((4, 64)), train=True, rngs={"dropout": jax.random.fold_in(key, when)}
        )[0]
        for when in (step, step + 1)
    )
    assert (np.asarray(now) != np.asarray(later)).any()


def test_evaluation_drops_nothing_and_needs_no_key():
    for output in TwoDropouts().apply({}, jnp.ones((4, 64))):
        np.testing.assert_array_equal(output, np.ones((4, 64)))


def test_axes_are_counted_from_the_end_too():
    x, rngs = jnp.ones((3, 4, 5, 16)), {"dropout": jax.random.key(0)}

    def dropped(*axes):
        return layers.Dropout(0.5, broadcast_dims=axes).apply({}, x, rngs=rngs)

    np.testing.assert_array_equal(dropped(-3, -2), dropped(1, 2))
    for axis in (4, -5):
        with pytest.raises(InputError, match=rf"`broadcast_dims` \(=\({axis},\)\) .* from -4 to 3"):
            dropped(axis)
