"""Rotation, translation and affine maps: against torchvision and Pillow, and what their draws are.

Interpolation agrees to 2e-5 (bilinear); for the nearest pixel, a place that is halfway between two
may be rounded to either, which 0.4 % of the pixels are granted.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from cnn_jax import augment
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.parity import torch, torchvision

MODES = torchvision.transforms.InterpolationMode


@jax.jit
def both(image, options, fill):
    """Both interpolations at once, since compiling is what takes the time."""
    return {
        name: augment.affine(image, **options, interpolation=name, fill=fill)
        for name in ("nearest", "bilinear")
    }


@pytest.mark.parametrize("fill", [0.0, 0.7])
@pytest.mark.parametrize(
    ("degrees", "translation", "scale", "shear"),
    [
        (10.0, (0, 0), 1.0, (0.0, 0.0)),
        (-77.0, (0, 0), 1.0, (0.0, 0.0)),
        (0.0, (3, -2), 1.0, (0.0, 0.0)),
        (0.0, (0, 0), 1.37, (0.0, 0.0)),
        (0.0, (0, 0), 0.6, (0.0, 0.0)),
        (0.0, (0, 0), 1.0, (17.0, 0.0)),
        (0.0, (0, 0), 1.0, (0.0, 17.0)),
        (33.0, (2, 5), 1.2, (9.0, -14.0)),
    ],
)
def test_affine_is_torchvisions(degrees, translation, scale, shear, fill):
    image = photograph(25, 32)
    options = {"degrees": degrees, "translation": translation, "scale": scale, "shear": shear}
    results = both(image, options, fill)
    for name, mode in (("nearest", MODES.NEAREST), ("bilinear", MODES.BILINEAR)):
        # torchvision's affine turns clockwise (its rotate does not), and its filling is blended
        # in twice at the edge unless it is the default, zero.
        expected = torchvision.transforms.functional.affine(
            torch.tensor(image - fill).permute(2, 0, 1),
            angle=-degrees,
            translate=list(translation),
            scale=scale,
            shear=list(shear),
            interpolation=mode,
        ).permute(1, 2, 0)
        difference = abs(np.asarray(results[name]) - expected.numpy() - fill)
        if name == "bilinear":
            assert difference.max() < 2e-5
        else:
            assert (difference > 1e-6).mean() <= 0.004


@pytest.mark.parametrize("degrees", [30.0, -5.0, 90.0, 180.0])
def test_rotation_is_pillows(degrees):
    image = photograph(24, 24)
    results = both(image, {"degrees": degrees}, 0.0)
    inside = both(np.ones_like(image), {"degrees": degrees}, 0.0)["bilinear"] == 1
    picture = Image.fromarray(np.uint8(np.round(255 * image)))
    for name, mode in (("bilinear", Image.BILINEAR), ("nearest", Image.NEAREST)):
        expected = np.asarray(picture.rotate(degrees, mode)) / 255
        difference = abs(np.asarray(results[name]) - expected)[inside]
        # Pillow rounds to bytes, and steps along a row in fixed-point numbers.
        assert (difference > 1.01 / 255).mean() <= 0.004


def spot(x, y, *, size=64):
    """A soft spot in an image, whose middle of mass is where it is moved to."""
    columns, rows = np.arange(size), np.arange(size)[:, None]
    return np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8)[:, :, None].astype(np.float32)


@partial(jax.jit, static_argnums=2)
def middles(keys, image, operation):
    """The middle of mass (x, y) of each augmented image, [N, 2]."""

    def middle(key):
        moved = operation(key, image)[:, :, 0]
        columns, rows = jnp.arange(moved.shape[1]), jnp.arange(moved.shape[0])
        return (
            jnp.array([(moved.sum(0) * columns).sum(), (moved.sum(1) * rows).sum()]) / moved.sum()
        )

    return jax.lax.map(middle, keys, batch_size=100)


def is_uniform(values, low, high):
    """No value outside, and no sign against evenness: Kolmogorov-Smirnov, fixed keys."""
    assert low <= min(values)
    assert max(values) <= high
    return scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.01


KEYS = jax.random.split(jax.random.key(7), 600)


def test_angles_are_even_in_their_range():
    x, y = middles(
        KEYS, spot(51.5, 31.5), partial(augment.random_rotation, degrees=10)
    ).T  # 20 pixels right of the middle
    angles = np.rad2deg(np.arctan2(31.5 - y, x - 31.5))
    assert is_uniform(angles, -10.01, 10.01)


def test_ways_are_even_in_their_range_and_independent():
    operation = partial(augment.random_translation, fraction=(0.1, 0.2))
    x, y = middles(KEYS, spot(31, 30), operation).T
    assert is_uniform(x - 31, -6.401, 6.401)
    assert is_uniform(y - 30, -12.801, 12.801)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.12


def test_nearest_translation_moves_by_whole_pixels():
    image = photograph(20, 20)
    move = partial(augment.random_translation, fraction=0.1, interpolation="nearest", fill=2.0)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), constant_values=2.0)
    moves = {
        padded[2 - y : 22 - y, 2 - x : 22 - x].tobytes(): (x, y)
        for x in range(-2, 3)
        for y in range(-2, 3)
    }
    moved = np.asarray(jax.jit(jax.vmap(move, (0, None)))(KEYS[:100], image))
    assert len({moves[each.tobytes()] for each in moved}) > 20


def test_scales_and_shears_are_even_in_their_range():
    image = spot(41.5, 41.5)
    x, y = middles(KEYS, image, partial(augment.random_affine, scale=(0.5, 1.5))).T
    np.testing.assert_allclose(x, y, atol=1e-3)
    assert is_uniform((x - 31.5) / 10, 0.499, 1.501)
    x, y = middles(KEYS, image, partial(augment.random_affine, shear=(20, 10))).T
    # The verticals lean first, and take the spot's column along.
    rise = np.rad2deg(np.arctan2(41.5 - y, x - 31.5))
    lean = np.rad2deg(np.arctan2(41.5 - x, 10))
    assert is_uniform(rise, -10.01, 10.01)
    assert is_uniform(lean, -20.02, 20.02)


@pytest.mark.parametrize(
    ("operation", "options", "words"),
    [
        (
            augment.random_rotation,
            {"degrees": -3},
            r"`degrees` \(=-3\) must not be negative: it re",
        ),
        (
            augment.random_rotation,
            {"degrees": (5, -5)},
            r"`degrees` \(=\(5, -5\)\) must be the low",
        ),
        (augment.random_translation, {"fraction": -0.1}, r"`fraction` \(=-0.1\) must not be neg"),
        (
            augment.random_translation,
            {"fraction": (0.1,) * 3},
            r"`fraction` .* must be a number, or",
        ),
        (augment.random_affine, {"scale": 0.5}, r"`scale` \(=0.5\) must be the lowest and the hi"),
        (augment.random_affine, {"scale": (0, 1)}, r"`scale` \(=0\) must be positive: raise"),
        (
            augment.random_rotation,
            {"degrees": 10, "interpolation": "cubic"},
            r"`interpolation` \(=cubic\) must be nearest or bilinear: choose one",
        ),
    ],
)
def test_bad_options_are_named(operation, options, words):
    with pytest.raises(InputError, match=words):
        operation(KEYS[0], jnp.zeros((8, 8, 3)), **options)
