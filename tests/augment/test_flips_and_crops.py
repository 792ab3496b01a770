"""Augmentation: against NumPy, for random shapes, under vmap and jit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import augment


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), padding=st.integers(0, 4), channels=st.sampled_from([1, 3]))
def test_a_shifted_crop_is_one_of_the_shifts(seed, padding, channels):
    image = jax.random.uniform(jax.random.key(seed), (5, 6, channels), minval=0.1)
    cropped = augment.shifted_crop(jax.random.key(seed + 1), image, padding=padding)
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    matches = [
        (row, column)
        for row in range(2 * padding + 1)
        for column in range(2 * padding + 1)
        if np.array_equal(padded[row : row + 5, column : column + 6], cropped)
    ]
    assert len(matches) == 1


def test_every_shift_is_equally_likely():
    image = jnp.arange(1.0, 26).reshape(5, 5, 1)
    keys = jax.random.split(jax.random.key(0), 9000)
    crop = jax.jit(jax.vmap(lambda key: augment.shifted_crop(key, image, padding=1)))
    centres, counts = np.unique(crop(keys)[:, 2, 2, 0], return_counts=True)
    assert centres.tolist() == [7, 8, 9, 12, 13, 14, 17, 18, 19]
    assert (abs(counts - 1000) < 5 * np.sqrt(1000)).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_flips_are_as_frequent_as_asked(probability):
    image = jnp.arange(12.0).reshape(3, 4, 1)
    keys = jax.random.split(jax.random.key(0), 2000)
    flip = partial(augment.random_flip, probability=probability)
    images = jax.jit(jax.vmap(flip, (0, None)))(keys, image)
    flipped = (images == image[:, ::-1]).all((1, 2, 3))
    assert ((images == image).all((1, 2, 3)) ^ flipped).all()
    deviation = np.sqrt(probability * (1 - probability) / 2000)
    assert abs(flipped.mean() - probability) <= 5 * deviation


def test_the_alternating_flip_is_random_at_first_and_then_turns_every_image_each_epoch():
    image = jnp.arange(12.0).reshape(3, 4, 1)

    def flipped(epoch, identity):
        shown = augment.alternating_flip(jax.random.key(0), image, epoch=epoch, identity=identity)
        return (shown == image[:, ::-1]).all(), (shown == image).all()

    every = jax.vmap(jax.vmap(flipped, (None, 0)), (0, None))
    turned, straight = map(np.asarray, jax.jit(every)(jnp.arange(5), jnp.arange(1000)))
    assert (turned ^ straight).all()
    assert (turned[1:] ^ turned[:-1]).all()
    assert abs(turned[0].mean() - 0.5) < 4 * np.sqrt(0.25 / 1000)
    others = jax.vmap(
        lambda identity: (
            augment.alternating_flip(jax.random.key(1), image, epoch=0, identity=identity)[0, 0, 0]
            == 3
        )
    )(jnp.arange(1000))
    assert 400 < (others == turned[0]).sum() < 600
