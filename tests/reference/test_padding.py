"""Padding against hand-drawn rows and numpy.pad."""

import numpy as np
import pytest

from cnn_jax.reference import pad

NUMPY_MODES = {"zero": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("zero", [0, 0, 1, 2, 3, 4, 0, 0]),
        ("reflect", [3, 2, 1, 2, 3, 4, 3, 2]),
        ("edge", [1, 1, 1, 2, 3, 4, 4, 4]),
        ("wrap", [3, 4, 1, 2, 3, 4, 1, 2]),
    ],
)
def test_a_row_by_hand(mode, expected):
    padded = pad([[1.0, 2.0, 3.0, 4.0]], ((0, 0), (2, 2)), mode=mode)
    np.testing.assert_array_equal(padded, [expected])


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("padding", [0, 3, (1, 2), ((0, 3), (2, 1))])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_agrees_with_numpy(mode, padding, shape):
    image = np.random.default_rng(0).normal(size=shape)
    rows, columns = np.broadcast_to(
        np.reshape(padding, (-1, 1)) if np.ndim(padding) == 1 else padding, (2, 2)
    )
    expected = np.pad(image, (rows, columns, (0, 0))[: len(shape)], mode=NUMPY_MODES[mode])
    np.testing.assert_array_equal(pad(image, padding, mode=mode), expected)


def test_the_image_is_left_alone():
    image = np.ones((3, 3))
    pad(image, 0)[0, 0] = 7
    assert image[0, 0] == 1
