"""Answers averaged over views that NumPy has cut out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.ensembles import shifted
from cnn_jax.errors import InputError
from cnn_jax.evaluate.views import mirror_views, over_views, six_views

IMAGES = np.random.default_rng(0).random((2, 5, 6, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).standard_normal((5, 6, 3, 4)).astype(np.float32)


def answer(images):
    return jnp.tanh(jnp.einsum("nhwc,hwck->nk", images, WEIGHTS))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 2), (-2, 1), (2, -1), (-1, -1)])
def test_shifting_brings_in_the_mirrored_edge(down, right):
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    expected = padded[:, 2 - down : 7 - down, 2 - right : 8 - right]
    found = shifted(jnp.array(IMAGES), down=down, right=right, mode="reflect")
    np.testing.assert_array_equal(found, expected)


def test_six_views_are_those_of_the_record():
    """Half for the image in its place, a quarter for each diagonal; sides alike."""
    padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")

    def both_sides(images):
        return (answer(images) + answer(images[:, :, ::-1])) / 2

    down_right, up_left = padded[:, :-2, :-2], padded[:, 2:, 2:]
    expected = both_sides(IMAGES) / 2 + both_sides(down_right) / 4 + both_sides(up_left) / 4
    found = over_views(answer, jnp.array(IMAGES), views=six_views())
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_two_views_do_not_tell_sides_apart():
    found = over_views(answer, jnp.array(IMAGES), views=mirror_views())
    mirrored = over_views(answer, jnp.array(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(found, mirrored, atol=1e-6)
    assert np.abs(found - answer(IMAGES)).max() > 0.01


def test_no_views_are_refused():
    with pytest.raises(InputError, match=r"`views` \(=\(\)\) must not be empty"):
        over_views(answer, jnp.array(IMAGES), views=())
