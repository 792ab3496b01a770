"""The nearest images by features, against all cosines at once."""

import numpy as np
import pytest

from cnn_jax import neighbours
from cnn_jax.errors import InputError
from cnn_jax.neighbours import nearest_images


def test_equal_to_all_cosines_in_blocks_that_do_not_divide(monkeypatch):
    rng = np.random.default_rng(0)
    train, asked = rng.normal(size=(31, 6)), rng.normal(size=(13, 6))
    monkeypatch.setattr(neighbours, "_AT_ONCE", 5 * 31)
    positions, cosines = nearest_images(train, asked, count=4)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (asked, train)]
    expected = unit[0] @ unit[1].T
    np.testing.assert_array_equal(positions, np.argsort(-expected, axis=1)[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-expected, axis=1)[:, :4], atol=1e-6)
    assert positions.dtype == np.int64 and cosines.dtype == np.float32


def test_an_image_is_nearest_to_itself_however_bright_and_to_its_copies():
    train = np.array([[1.0, 0], [3, 4], [0, 2], [6, 8]])
    positions, cosines = nearest_images(train, 10 * train[1:2], count=9)
    assert positions.tolist() == [[1, 3, 2, 0]]
    np.testing.assert_allclose(cosines, [[1, 1, 0.8, 0.6]], atol=1e-6)


def test_bad_input_is_told():
    with pytest.raises(InputError, match=r"`features` \(1, 3\) must be \[M, D\] and \[N, D\]"):
        nearest_images(np.eye(2), np.ones((1, 3)))
    with pytest.raises(InputError, match="of one image at least"):
        nearest_images(np.ones((0, 3)), np.ones((1, 3)))
    with pytest.raises(InputError, match=r"`count` \(=0\) must be a whole number"):
        nearest_images(np.eye(2), np.eye(2), count=0)
