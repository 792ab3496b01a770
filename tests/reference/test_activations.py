"""Activations against scipy.special and values worked by hand."""

import math

import numpy as np
import pytest
from scipy import special

from cnn_jax.errors import InputError
from cnn_jax.reference import elu, gelu, hard_swish, leaky_relu, relu, silu, softmax

POINTS = np.concatenate([np.linspace(-6, 6, 49), [-800.0, 800.0]]).reshape(3, 17)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        (relu, np.where(POINTS > 0, POINTS, 0)),
        (leaky_relu, np.where(POINTS > 0, POINTS, POINTS / 100)),
        (elu, np.where(POINTS > 0, POINTS, np.exp(np.minimum(POINTS, 0)) - 1)),
        (gelu, POINTS * special.ndtr(POINTS)),
        (silu, POINTS * special.expit(POINTS)),
        (softmax, special.softmax(POINTS, axis=-1)),
    ],
)
def test_agrees_with_scipy(activation, expected):
    np.testing.assert_allclose(activation(POINTS), expected, rtol=1e-12, atol=1e-12)


def test_the_tanh_gelu_stays_close_to_the_exact_one():
    assert 1e-5 < np.abs(gelu(POINTS, approximate=True) - gelu(POINTS)).max() < 1e-3
    expected = 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))
    assert gelu([1.0], approximate=True)[0] == pytest.approx(expected)


def test_hard_swish_by_hand():
    x = [-4.0, -3.0, -1.5, 0.0, 3.0, 5.0]
    np.testing.assert_allclose(hard_swish(x), [0, 0, -0.375, 0, 3, 5])


def test_slopes_and_depths_are_options():
    np.testing.assert_allclose(leaky_relu([-2.0, 2.0], negative_slope=0.3), [-0.6, 2])
    np.testing.assert_allclose(elu([-1.0, 2.0], alpha=2.0), [2 / math.e - 2, 2])


def test_softmax_along_any_axis_adds_up_to_one():
    np.testing.assert_allclose(softmax(POINTS, axis=0).sum(0), np.ones(17))
    with pytest.raises(InputError, match=r"`axis` \(=2\) .* choose from -2 to 1"):
        softmax(POINTS, axis=2)
