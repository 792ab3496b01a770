"""Cutout and random erasing: what is blotted out, how often, how large and where."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cnn_jax import augment
from cnn_jax.augment.erasing import draw_rectangle
from cnn_jax.errors import InputError
from tests.parity import torch, torchvision

KEYS = jax.random.split(jax.random.key(3), 2000)


def holes(operation, shape):
    """Blot out ones with twos by every key: bool [N, H, W], where."""
    image = jnp.ones((*shape, 1))
    found = jax.jit(jax.vmap(lambda key: operation(key, image, fill=2.0)[:, :, 0] == 2))(KEYS)
    return np.asarray(found)


def test_erasing_is_torchvisions():
    image = np.linspace(0, 1, 8 * 9 * 3, dtype=np.float32).reshape(8, 9, 3)
    values = np.array([0.1, 0.5, 0.9], np.float32)
    ours = augment.erase(image, 2, 3, 4, 5, fill=values)
    channels_first = torch.tensor(image).permute(2, 0, 1)
    theirs = torchvision.transforms.functional.erase(
        channels_first, 2, 3, 4, 5, torch.tensor(values)[:, None, None]
    )
    np.testing.assert_array_equal(ours, theirs.permute(1, 2, 0))


@pytest.mark.parametrize("size", [0, 4, 5])
def test_cutout_is_a_square_around_every_pixel_as_often(size):
    found = holes(partial(augment.cutout, size=size), (6, 7))
    expected = np.zeros((6, 7, 6, 7), bool)
    for row in range(6):
        for column in range(7):
            top, left = max(row - size // 2, 0), max(column - size // 2, 0)
            bottom, right = row - size // 2 + size, column - size // 2 + size
            expected[row, column, top:bottom, left:right] = True
    expected = expected.reshape(42, 6, 7)
    kinds, counts = np.unique(expected, axis=0, return_counts=True)
    matches = (found[:, None] == kinds).all((2, 3)).sum(0)
    assert matches.sum() == len(KEYS)
    if size:
        assert scipy.stats.chisquare(matches, counts / 42 * len(KEYS)).pvalue > 0.01


def test_random_erasing_draws_as_the_paper_says():
    draw = partial(
        draw_rectangle, shape=(64, 48), probability=0.8, scale=(0.1, 0.3), ratio=(0.5, 2.0)
    )
    drawn = np.asarray(jax.jit(jax.vmap(draw))(KEYS))
    happened = drawn[:, 2] > 0
    assert abs(happened.mean() - 0.8) < 4 * np.sqrt(0.8 * 0.2 / len(KEYS))
    tops, lefts, heights, widths = drawn[happened].T
    # Sizes are rounded to whole pixels: noise makes them even again.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (3, len(tops)))
    areas = (heights + noise[0]) * (widths + noise[1]) / (64 * 48)
    assert scipy.stats.kstest(areas, "uniform", (0.1, 0.2)).pvalue > 0.01
    logarithms = np.log2((heights + noise[0]) / (widths + noise[1]))
    assert scipy.stats.kstest(logarithms, "uniform", (-1, 2)).pvalue > 0.01
    for starts, room in ((tops, 64 - heights), (lefts, 48 - widths)):
        places = (starts + 0.5 + noise[2]) / (room + 1)
        assert scipy.stats.kstest(places, "uniform").pvalue > 0.01


def test_where_no_rectangle_fits_nothing_is_erased():
    draw = partial(draw_rectangle, shape=(8, 8), probability=1, ratio=(50, 60))
    assert not jax.jit(jax.vmap(draw))(KEYS)[:, 2].any()


def test_noise_is_even_and_the_rest_untouched():
    image = jnp.full((64, 64, 3), 2.0)
    erase = partial(augment.random_erasing, probability=1.0, scale=(0.3, 0.3), ratio=(1, 1))
    erased = np.asarray(jax.jit(erase)(KEYS[0], image))
    noise = erased[erased != 2]
    assert len(noise) == 35 * 35 * 3
    assert scipy.stats.kstest(noise, "uniform").pvalue > 0.01


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(augment.cutout, size=-1), r"`size` \(=-1\) must be a whole number of at least 0"),
        (partial(augment.random_erasing, probability=2), r"`probability` \(=2\) must be at lea"),
        (partial(augment.random_erasing, scale=(-1, 1)), r"`scale` \(=\(-1, 1\)\) must not go b"),
        (partial(augment.random_erasing, ratio=(0, 1)), r"`ratio` \(=0\) must be positive: raise"),
        (partial(augment.random_erasing, fill="mean"), r"`fill` \(=mean\) must be noise or a num"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call(KEYS[0], jnp.ones((4, 4, 1)))
