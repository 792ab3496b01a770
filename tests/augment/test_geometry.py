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
from cnn_jax.augment.geometry import draw_affine
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


@jax.jit
def rotated(image, degrees):
    return {
        name: augment.rotate(image, degrees, interpolation=name) for name in ("nearest", "bilinear")
    }


@pytest.mark.parametrize("degrees", [30.0, -5.0, 90.0, 180.0])
def test_rotation_is_pillows(degrees):
    image = photograph(24, 24)
    results = rotated(image, degrees)
    inside = rotated(np.ones_like(image), degrees)["bilinear"] == 1
    picture = Image.fromarray(np.uint8(np.round(255 * image)))
    for name, mode in (("bilinear", Image.BILINEAR), ("nearest", Image.NEAREST)):
        expected = np.asarray(picture.rotate(degrees, mode)) / 255
        difference = abs(np.asarray(results[name]) - expected)[inside]
        # Pillow rounds to bytes, and steps along a row in fixed-point numbers.
        assert (difference > 1.01 / 255).mean() <= 0.004


KEYS = jax.random.split(jax.random.key(7), 1000)


def test_every_number_is_drawn_evenly_from_its_range():
    draw = partial(
        draw_affine,
        shape=(50, 40),
        degrees=(-5, 30),
        translation=(0.1, 0.2),
        scale=(0.5, 1.5),
        shear=(20, 10),
    )
    drawn = jax.jit(jax.vmap(draw))(KEYS)
    columns = np.column_stack(
        [drawn[name] for name in ("degrees", "translation", "scale", "shear")]
    )
    ranges = [(-5, 30), (-4, 4), (-10, 10), (0.5, 1.5), (-20, 20), (-10, 10)]
    for values, (low, high) in zip(columns.T, ranges, strict=True):
        assert low <= values.min()
        assert values.max() <= high
        assert scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.01
    assert abs(np.corrcoef(columns.T) - np.eye(6)).max() < 0.12


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        (partial(augment.random_rotation, degrees=10), {"degrees": 10}),
        (partial(augment.random_translation, fraction=0.1), {"translation": (0.1, 0.1)}),
        (
            partial(augment.random_affine, degrees=10, translation=0.1, scale=(0.9, 1.2), shear=5),
            {"degrees": (-10, 10), "translation": (0.1, 0.1), "scale": (0.9, 1.2), "shear": (5, 0)},
        ),
    ],
)
def test_a_random_map_is_the_one_that_is_drawn(operation, options):
    image = photograph(25, 32)

    @jax.jit
    def both_ways(key):
        drawn = draw_affine(key, image.shape, **options)
        return operation(key, image), augment.affine(image, **drawn)

    ours, expected = both_ways(KEYS[0])
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    assert abs(ours - image).max() > 0.1


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
