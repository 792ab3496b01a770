"""Whitened patches are uncorrelated and equally strong: by NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.layers import convolution
from cnn_jax.whitening import patches, whitening_kernel


def smooth_images(count=50, side=9):
    """Images whose neighbouring pixels and channels are alike, as photographs' are."""
    noise = np.random.default_rng(0).standard_normal((count, side + 2, side, 3))
    noise[..., 1] += noise[..., 0]
    return (noise[:, 2:] + noise[:, 1:-1] + 0.5).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_patches_are_those_of_a_sliding_window(size):
    images = smooth_images(3)
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    expected = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], -1)
    np.testing.assert_array_equal(patches(jnp.array(images), size=size), expected)


def test_the_answers_of_the_layer_have_unit_covariance():
    images = jnp.array(smooth_images())
    kernel = whitening_kernel(images, epsilon=0.0)
    answers = np.asarray(convolution(images, kernel), np.float64).reshape(-1, 24)
    np.testing.assert_array_equal(answers[:, 12:], -answers[:, :12])
    moments = answers[:, :12].T @ answers[:, :12] / len(answers)
    np.testing.assert_allclose(moments, np.eye(12), atol=2e-3)


def test_epsilon_dims_what_is_weak():
    """By the eigenvalues l, the mean squares are l / (l + epsilon)."""
    images = smooth_images()
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    seen = windows.reshape(-1, 12).astype(np.float64)
    strengths = np.linalg.eigvalsh(seen.T @ seen / len(seen))
    kernel = whitening_kernel(jnp.array(images), epsilon=0.3)[..., :12]
    squares = jnp.square(convolution(jnp.array(images), kernel)).mean((0, 1, 2))
    np.testing.assert_allclose(squares, strengths / (strengths + 0.3), rtol=1e-3)


def test_bad_options_are_named():
    with pytest.raises(InputError, match=r"`epsilon` \(=-1\) must not be negative"):
        whitening_kernel(jnp.zeros((1, 4, 4, 3)), epsilon=-1)
    with pytest.raises(InputError, match=r"`size` \(=0\)"):
        whitening_kernel(jnp.zeros((1, 4, 4, 3)), size=0)
