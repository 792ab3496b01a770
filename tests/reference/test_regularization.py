"""Dropout with given masks, by hand."""

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.reference import channel_dropout, dropout


def test_what_is_kept_grows():
    output = dropout([[1.0, 2.0], [3.0, 4.0]], [[True, False], [False, True]], rate=0.75)
    np.testing.assert_array_equal(output, [[4, 0], [0, 16]])


def test_the_expected_value_stays():
    mask = np.random.default_rng(0).random(100_000) >= 0.3
    assert dropout(np.ones(100_000), mask, rate=0.3).mean() == pytest.approx(1, abs=0.01)


def test_channels_fall_whole_and_image_by_image():
    images = np.ones((2, 3, 3, 2))
    output = channel_dropout(images, [[True, False], [False, True]], rate=0.5)
    np.testing.assert_array_equal(output[0, :, :, 0], np.full((3, 3), 2))
    np.testing.assert_array_equal(output[0, :, :, 1], np.zeros((3, 3)))
    np.testing.assert_array_equal(output[1, :, :, 0], np.zeros((3, 3)))
    one = channel_dropout(images[0], [True, False], rate=0.5)
    np.testing.assert_array_equal(one, output[0])


def test_wrong_rates_and_masks_are_named():
    with pytest.raises(InputError, match=r"`rate` \(=1.0\) must be at least 0 and below 1"):
        dropout([1.0], [True], rate=1.0)
    with pytest.raises(InputError, match=r"`mask` \(of shape \(1,\)\) .* the shape \(2,\)"):
        dropout([1.0, 2.0], [True], rate=0.5)
    with pytest.raises(InputError, match=r"`mask` \(of shape \(2, 2\)\) .* the shape \(2,\)"):
        channel_dropout(np.ones((2, 2, 2)), np.ones((2, 2), bool), rate=0.5)
