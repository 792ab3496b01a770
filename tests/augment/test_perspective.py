"""Perspective: against scikit-image and torchvision, and how far its corners move."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import skimage.transform

from cnn_jax import augment
from cnn_jax.augment.perspective import draw_corners
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.parity import torch, torchvision

KEYS = jax.random.split(jax.random.key(11), 1000)
CORNERS = [
    [[0, 0], [31, 0], [31, 24], [0, 24]],
    [[3, 2], [29, 5], [25, 20], [1, 22]],
    [[-4, 1], [36, -3], [30, 30], [2, 20]],
]


@pytest.mark.parametrize("corners", CORNERS)
def test_the_matrix_is_scikit_images(corners):
    matrix = augment.perspective_matrix((25, 32, 3), jnp.array(corners))
    old = np.array([[0, 0], [31, 0], [31, 24], [0, 24]])
    expected = skimage.transform.ProjectiveTransform.from_estimate(np.array(corners), old)
    np.testing.assert_allclose(matrix, expected.params, atol=2e-5)


@jax.jit
def perspectives(image, corners):
    return {
        name: augment.perspective(image, corners, interpolation=name, fill=0.3)
        for name in ("nearest", "bilinear")
    }


@pytest.mark.parametrize("corners", CORNERS)
def test_perspective_is_scikit_images(corners):
    image = photograph(25, 32)
    seen = perspectives(image, jnp.array(corners))
    matrix = np.asarray(augment.perspective_matrix(image.shape, jnp.array(corners)), np.float64)
    for name, order in (("nearest", 0), ("bilinear", 1)):
        theirs = skimage.transform.warp(image, matrix, order=order, cval=0.3)
        # Places are computed in float32; scikit-image blends no filling in beyond the edge.
        inside = skimage.transform.warp(np.ones_like(image), matrix, order=1) == 1
        assert (abs(seen[name] - theirs)[inside] > 2e-4).mean() <= (0.004 if order == 0 else 0)


def test_a_projective_warp_is_torchvisions():
    image = photograph(25, 32)
    warp = jax.jit(augment.warp)
    for corners in CORNERS[1:]:
        start = [[0, 0], [31, 0], [31, 24], [0, 24]]
        perspective = torchvision.transforms.functional
        entries = perspective._get_perspective_coeffs(start, corners)
        expected = perspective.perspective(
            torch.tensor(image).permute(2, 0, 1),
            start,
            corners,
            perspective.InterpolationMode.BILINEAR,
        )
        # torchvision counts from the outer corner of a pixel, not from its middle.
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        matrix = np.linalg.inv(half) @ np.reshape([*entries, 1], (3, 3)) @ half
        warped = warp(image, matrix.astype(np.float32))
        np.testing.assert_allclose(warped, expected.permute(1, 2, 0), atol=1e-4)


def test_what_lies_behind_the_eye_is_filled():
    matrix = jnp.array([[1.0, 0, 0], [0, 1, 0], [0, -1, 4.5]])
    warped = jax.jit(partial(augment.warp, fill=7))(jnp.ones((9, 9, 1)), matrix)
    assert (warped[5:] == 7).all()
    assert (warped[0, 0] == 1).all()


def test_corners_move_evenly_inwards_as_often_as_asked():
    draw = partial(draw_corners, shape=(41, 101), distortion=0.4, probability=0.7)
    corners = np.asarray(jax.jit(jax.vmap(draw))(KEYS))
    ways = abs(corners - np.array([[0, 0], [100, 0], [100, 40], [0, 40]]))
    moved = ways.any((1, 2))
    assert abs(moved.mean() - 0.7) < 4 * np.sqrt(0.7 * 0.3 / len(KEYS))
    for way in ways[moved].reshape(-1, 8).T / np.tile([20, 8], 4)[:, None]:
        assert scipy.stats.kstest(way, "uniform").pvalue > 0.01
    assert (corners >= 0).all()
    assert (corners <= [100, 40]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"distortion": 1}, r"`distortion` \(=1\) must be at least 0 and below 1: 0.5 is usual"),
        ({"probability": -1}, r"`probability` \(=-1\) must be at least 0 and at most 1"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(InputError, match=words):
        augment.random_perspective(KEYS[0], jnp.zeros((8, 8, 1)), **options)
