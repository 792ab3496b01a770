"""Normalisation against worked values and NumPy's own moments."""

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.reference import (
    batch_norm,
    batch_norm_eval,
    batch_norm_statistics,
    layer_norm,
    local_response_norm,
)


def test_batch_norm_by_hand():
    images = np.array([[1.0, 10.0], [3.0, 30.0]]).reshape(2, 1, 1, 2)
    output, mean, var = batch_norm(images, [2.0, 1.0], [0.0, 5.0], epsilon=0.0)
    np.testing.assert_array_equal(output.reshape(2, 2), [[-2, 4], [2, 6]])
    np.testing.assert_array_equal(mean, [2, 20])
    np.testing.assert_array_equal(var, [1, 100])


def test_batch_norm_agrees_with_numpy():
    images = np.random.default_rng(0).normal(3, 2, size=(4, 5, 6, 3))
    scale, bias = np.array([1.0, 2.0, 3.0]), np.array([0.0, -1.0, 1.0])
    output, mean, var = batch_norm(images, scale, bias, epsilon=1e-3)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)))
    np.testing.assert_allclose(var, images.var((0, 1, 2)))
    expected = (images - images.mean((0, 1, 2))) / np.sqrt(images.var((0, 1, 2)) + 1e-3)
    np.testing.assert_allclose(output, expected * scale + bias)


def test_evaluation_uses_the_given_statistics_for_each_image_alone():
    images = np.random.default_rng(0).normal(size=(4, 2, 2, 1))
    together = batch_norm_eval(images, [2.0], [1.0], [0.5], [4.0], epsilon=0.0)
    np.testing.assert_allclose(together, (images - 0.5) / 2 * 2 + 1)
    alone = batch_norm_eval(images[:1], [2.0], [1.0], [0.5], [4.0], epsilon=0.0)
    np.testing.assert_array_equal(alone, together[:1])


def test_momentum_is_the_share_of_the_old_value():
    mean, var = batch_norm_statistics([1.0], [2.0], [11.0], [12.0], momentum=0.9)
    np.testing.assert_allclose([mean[0], var[0]], [0.9 + 1.1, 1.8 + 1.2])


def test_a_count_makes_the_variance_unbiased():
    values = np.random.default_rng(0).normal(size=(7, 1))
    _, mean, var = batch_norm(values, [1.0], [0.0])
    _, moved = batch_norm_statistics([0.0], [0.0], mean, var, momentum=0.0, count=7)
    np.testing.assert_allclose(moved, values.var(axis=0, ddof=1))


def test_layer_norm_normalises_each_position():
    x = np.random.default_rng(0).normal(3, 2, size=(2, 3, 3, 8))
    output = layer_norm(x, np.ones(8), np.zeros(8), epsilon=0.0)
    np.testing.assert_allclose(output.mean(-1), np.zeros((2, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(output.var(-1), np.ones((2, 3, 3)))
    shifted = layer_norm(x, np.full(8, 2.0), np.arange(8.0), epsilon=0.0)
    np.testing.assert_allclose(shifted, 2 * output + np.arange(8))


def test_local_response_norm_by_hand():
    # Around the middle channel 1 + 4 + 9 = 14; at the ends one neighbour is missing.
    output = local_response_norm([[1.0, 2.0, 3.0]], size=3, alpha=0.5, beta=2.0, k=1.0)
    np.testing.assert_allclose(output, [[1 / 3.5**2, 2 / 8**2, 3 / 7.5**2]])


def test_local_response_norm_defaults_are_the_papers():
    x = np.array([[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]])
    squares = 100 + 400 + 900 + 1600 + 2500
    assert local_response_norm(x)[0, 2] == pytest.approx(30 / (2 + 1e-4 * squares) ** 0.75)


def test_wrong_lengths_are_named():
    with pytest.raises(InputError, match=r"`var` \(of shape \(2,\)\) .* give it the shape \(3,\)"):
        batch_norm_eval(np.ones((1, 3)), *[np.ones(3)] * 3, np.ones(2))
    with pytest.raises(InputError, match=r"`scale` \(of shape \(1, 3\)\)"):
        layer_norm(np.ones((1, 3)), np.ones((1, 3)), np.ones(3))


def test_impossible_options_are_named():
    with pytest.raises(InputError, match=r"`momentum` \(=1.5\) must be from 0 to 1"):
        batch_norm_statistics([0.0], [1.0], [0.0], [1.0], momentum=1.5)
    with pytest.raises(InputError, match=r"`count` \(=1\) must be at least 2"):
        batch_norm_statistics([0.0], [1.0], [0.0], [1.0], count=1)
    with pytest.raises(InputError, match=r"`size` \(=4\) must be odd.*choose 3 or 5"):
        local_response_norm([[1.0]], size=4)
