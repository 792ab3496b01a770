"""The kernels made by hand answer what their names promise."""

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.reference import FILTERS, box_blur, convolution2d, gaussian_blur

EDGES = [
    "vertical",
    "horizontal",
    "diagonal",
    "antidiagonal",
    "sobel_vertical",
    "sobel_horizontal",
    "prewitt_vertical",
    "prewitt_horizontal",
    "laplacian",
]
KEEP_BRIGHTNESS = ["identity", "box_blur", "gaussian_blur", "sharpen", "emboss"]


def test_every_filter_is_tested_here():
    assert sorted(FILTERS) == sorted(EDGES + KEEP_BRIGHTNESS)


@pytest.mark.parametrize("name", EDGES)
def test_edges_answer_zero_where_the_image_is_flat(name):
    np.testing.assert_array_equal(convolution2d(np.full((5, 5), 7.0), FILTERS[name]), 0)


@pytest.mark.parametrize("name", KEEP_BRIGHTNESS)
def test_the_others_keep_the_brightness(name):
    np.testing.assert_allclose(convolution2d(np.full((5, 5), 7.0), FILTERS[name]), 7)


@pytest.mark.parametrize("family", ["", "sobel_", "prewitt_"])
def test_an_edge_answers_its_own_filter_only(family):
    left_bright = np.tile([1.0, 1.0, 0.0, 0.0], (4, 1))
    vertical, horizontal = FILTERS[f"{family}vertical"], FILTERS[f"{family}horizontal"]
    assert convolution2d(left_bright, vertical).min() > 0
    assert convolution2d(left_bright[:, ::-1], vertical).max() < 0
    assert not convolution2d(left_bright, horizontal).any()
    assert convolution2d(left_bright.T, horizontal).min() > 0
    np.testing.assert_array_equal(horizontal, vertical.T)


def test_diagonals_answer_the_edge_along_them():
    below = np.tril(np.ones((3, 3)), -1) + 0.5 * np.eye(3)
    assert convolution2d(below, FILTERS["diagonal"])[0, 0] == 3
    assert convolution2d(below, FILTERS["antidiagonal"])[0, 0] == 0
    assert convolution2d(below[:, ::-1], FILTERS["antidiagonal"])[0, 0] == -3


def test_blurs_add_up_to_one_and_fall_off_from_the_centre():
    for kernel in (box_blur(4), gaussian_blur(7, sigma=1.5)):
        assert kernel.sum() == pytest.approx(1)
    bell = gaussian_blur(7, sigma=1.5)
    assert bell[3, 4] / bell[3, 3] == pytest.approx(np.exp(-1 / (2 * 1.5**2)))
    np.testing.assert_array_equal(bell, bell.T)


def test_the_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        FILTERS["vertical"][0, 0] = 5
    with pytest.raises(TypeError):
        FILTERS["mine"] = np.eye(3)


def test_impossible_blurs_are_named():
    with pytest.raises(InputError, match=r"`size` \(=4\) must be odd"):
        gaussian_blur(4, sigma=1.0)
    with pytest.raises(InputError, match=r"`sigma` \(=0.0\) must be positive"):
        gaussian_blur(3, sigma=0.0)
    with pytest.raises(InputError, match=r"`size` \(=0\) must be at least 1"):
        box_blur(0)
