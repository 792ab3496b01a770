"""Corruptions against Pillow, SciPy and scikit-image, and what all of them promise."""

import io
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.color
import skimage.measure
from PIL import Image
from scipy import ndimage, stats

from cnn_jax.errors import InputError
from cnn_jax.evaluate import blur, digital, noise, weather
from cnn_jax.evaluate.corruptions import CORRUPTIONS, corrupt, corruption_names
from cnn_jax.evaluate.random_fields import clouds
from tests.augment.cases import photograph

KEY = jax.random.key(0)


def compiled(function, *arguments, **options):
    """Call a function as one program: its operations one by one take longer to compile."""
    return np.asarray(jax.jit(partial(function, **options))(*arguments))


PHOTOGRAPH = jnp.asarray(photograph(32, 32))
CASES = [
    *((name, (32, 32), 3) for name in CORRUPTIONS),
    # Grey, and of an odd shape.
    *((name, (28, 37), 1) for name in ("jpeg", "snow", "motion_blur")),
    # What depends on the size.
    *((name, (224, 224), 3) for name in ("defocus_blur", "fog")),
]


@pytest.mark.parametrize(
    ("name", "size", "channels"), CASES, ids=[f"{n}-{s[0]}x{s[1]}x{c}" for n, s, c in CASES]
)
def test_a_corruption_grows_from_nothing(name, size, channels):
    """And leaves images between 0 and 1, each spoilt in a way of its own, whatever the batch."""
    images = jnp.stack([jnp.asarray(photograph(*size, channels=channels))] * 2)
    spoil, order = jax.jit(partial(corrupt, KEY, name=name)), jnp.arange(2)
    versions = [
        np.asarray(spoil(images, severity=jnp.int32(severity), identities=order))
        for severity in range(6)
    ]
    np.testing.assert_array_equal(versions[0], images)
    distances = [np.abs(version - images).mean() for version in versions]
    assert all(low < high for low, high in itertools.pairwise(distances))
    assert distances[5] > 0.01
    for version in versions:
        assert version.dtype == np.float32 and version.min() >= 0 and version.max() <= 1
    random = name not in (
        "gaussian_blur", "defocus_blur", "zoom_blur", "brightness", "contrast", "saturation",
        "pixelation", "jpeg",
    )  # fmt: skip
    assert bool(np.abs(versions[3][0] - versions[3][1]).max() > 1e-3) is random
    swapped = spoil(images, severity=jnp.int32(3), identities=order[::-1])
    np.testing.assert_allclose(swapped[::-1], versions[3], atol=1e-6)
    assert spoil._cache_size() == 1  # one program for all severities


def test_grey_images_have_no_colour_to_change():
    grey = jnp.asarray(photograph(32, 32, channels=1))[None]
    np.testing.assert_array_equal(corrupt(KEY, grey, "saturation", severity=5), grey)
    assert set(CORRUPTIONS) - set(corruption_names(1)) == {"saturation"}
    assert corruption_names(3) == tuple(CORRUPTIONS)


def test_every_corruption_listed_takes_such_images():
    images = jax.ShapeDtypeStruct((1, 32, 32, 2), jnp.float32)
    for name in corruption_names(2):
        spoil = partial(corrupt, KEY, name=name, severity=jnp.int32(1))
        assert jax.eval_shape(spoil, images).shape == images.shape
    assert set(CORRUPTIONS) - set(corruption_names(2)) == {"contrast", "saturation", "jpeg"}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [7, 25, 80])
def test_jpeg_is_pillows(quality, channels):
    """But for the few waves that lie in the middle of two steps, which Pillow finds in integers."""
    image = photograph(37, 44, channels=channels)
    pixels = np.round(255 * image).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(file, "jpeg", quality=quality, subsampling=0)
    expected = np.asarray(Image.open(file), np.float32).reshape(pixels.shape)
    found = 255 * compiled(digital.jpeg, KEY, jnp.asarray(image), quality=float(quality))
    lost = np.abs(expected - pixels).mean()
    assert np.abs(found - expected).mean() < 0.15 * lost
    assert lost > 0.5


def test_products_are_exact_on_every_device():
    """Where a device would multiply in fewer bits unless told."""
    program = str(jax.make_jaxpr(partial(digital.jpeg, KEY, quality=25.0))(PHOTOGRAPH))
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST") == 6


def test_filters_are_scipys():
    kernel = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    found = compiled(blur.convolved, PHOTOGRAPH, jnp.asarray(kernel))
    for channel in range(3):
        expected = ndimage.convolve(PHOTOGRAPH[..., channel], kernel / kernel.sum(), mode="reflect")
        np.testing.assert_allclose(found[..., channel], expected, atol=2e-6)
    blurred = compiled(blur.gaussian_blur, KEY, PHOTOGRAPH, deviation=1 / 32)
    expected = ndimage.gaussian_filter(PHOTOGRAPH, (1, 1, 0), mode="mirror", truncate=3.5)
    np.testing.assert_allclose(blurred, expected, atol=2e-3)


def test_lines_and_disks_by_hand():
    """A point becomes what the filter is: a line of the length and direction, a disk."""
    point = jnp.zeros((33, 33, 1)).at[16, 16].set(1)
    disk = compiled(blur.defocus_blur, KEY, point, radius=1 / 33)
    corner = 2 - np.sqrt(2)  # of the window, partly covered
    np.testing.assert_allclose(
        disk[15:18, 15:18, 0] * (1 + 4 + 4 * corner),
        [[corner, 1, corner], [1, 1, 1], [corner, 1, corner]], atol=1e-5,
    )  # fmt: skip
    drawn = compiled(blur.line, angle=np.pi / 2, length=4.0, largest=6.0)
    assert drawn[:, drawn.shape[1] // 2].round(3).tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]
    streak = compiled(blur.motion_blur, KEY, point, length=0.2)[..., 0]
    y, x = np.nonzero(streak > 1e-4)
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(x, y, aweights=streak[y, x])))
    assert spread[1] > 4 * spread[0]  # longer than wide
    assert streak.sum() == pytest.approx(1, abs=1e-3)


def test_zooming_keeps_the_middle_and_spreads_the_rest_outwards():
    point = jnp.zeros((33, 33, 1)).at[16, 16].set(1).at[16, 26].set(1)
    zoomed = compiled(blur.zoom_blur, KEY, point, factor=1.4)[16, :, 0]
    assert zoomed[16] > 0.9
    assert np.flatnonzero(zoomed[20:] > 0.01).tolist() == list(range(6, 12))  # to 16 + 14


def test_pixels_become_blocks():
    found = compiled(digital.pixelation, KEY, PHOTOGRAPH, fraction=0.25)
    means = skimage.measure.block_reduce(np.asarray(PHOTOGRAPH), (4, 4, 1), np.mean)
    np.testing.assert_allclose(found, means.repeat(4, 0).repeat(4, 1), atol=1e-6)
    np.testing.assert_array_equal(digital.pixelation(KEY, PHOTOGRAPH, fraction=1.0), PHOTOGRAPH)


def test_photons_are_counted_as_poisson_says():
    grey = jnp.full((100, 100, 1), 0.25)
    for photons in (3.0, 60.0):
        drawn = photons * compiled(noise.shot_noise, KEY, grey, photons=photons)
        counts = np.bincount(np.round(drawn).astype(int).ravel(), minlength=60) / 10_000
        expected = stats.poisson(0.25 * photons).pmf(np.arange(len(counts)))
        if photons == 3:
            expected[3], expected[4:] = expected[3:].sum(), 0  # clipped at white
        np.testing.assert_allclose(counts, expected, atol=0.015)
        np.testing.assert_allclose(drawn, np.round(drawn), atol=1e-4)


def test_speckle_is_in_proportion():
    levels = jnp.broadcast_to(jnp.array([0.2, 0.4])[:, None, None], (2, 20_000, 1))
    noisy = compiled(noise.speckle_noise, KEY, levels, deviation=0.2)
    np.testing.assert_allclose(noisy.std(1).ravel(), [0.04, 0.08], rtol=0.03)


def test_brightness_is_a_step_of_the_value():
    hsv = skimage.color.rgb2hsv(np.asarray(PHOTOGRAPH))
    hsv[..., 2] = np.minimum(hsv[..., 2] + 0.3, 1)
    found = compiled(weather.brightness, KEY, PHOTOGRAPH, amount=0.3)
    np.testing.assert_allclose(found, skimage.color.hsv2rgb(hsv), atol=1e-5)
    black = weather.brightness(KEY, jnp.zeros((1, 1, 3)), amount=0.3)
    np.testing.assert_allclose(black, 0.3)


def test_fog_and_snow_hide_the_image():
    """A checkerboard keeps 1 / (1 + density) of its contrast in fog; snow only brightens."""
    board = (jnp.indices((64, 64)).sum(0) % 2)[..., None].astype(jnp.float32)
    foggy = compiled(weather.fog, KEY, board, density=3.0)
    steps = np.abs(np.diff(foggy[..., 0], axis=1)).mean()
    assert steps == pytest.approx(0.25, rel=0.05)
    layer = compiled(clouds, KEY, height=64, width=64)
    assert (layer.min(), layer.max()) == (0, 1)
    assert np.abs(np.diff(layer)).mean() < 0.1  # neighbours are alike
    snowy = compiled(weather.snow, KEY, PHOTOGRAPH, threshold=0.5, whiteness=0.3)
    assert (snowy >= PHOTOGRAPH - 1e-6).all()


def test_elastic_displacements_are_as_large_as_said():
    """Measured on a ramp, whose values are places, away from its ends."""
    ramp = jnp.broadcast_to(jnp.arange(96.0)[None, :, None] / 95, (96, 96, 1))
    keys = jax.random.split(KEY, 60)
    bent = compiled(jax.vmap(partial(digital.elastic, image=ramp, reach=0.02)), keys)
    moved = 95 * (bent - np.asarray(ramp))[:, :, 8:-8, 0]
    # Between the numbers of the grid the field varies less than at them.
    assert 0.6 * 0.02 * 96 < moved.std() < 0.02 * 96
    assert np.abs(np.diff(moved, axis=2)).mean() < 0.3 * moved.std()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(corrupt, KEY, PHOTOGRAPH[None], "frog", severity=1), "did you mean 'fog'"),
        (partial(corrupt, KEY, PHOTOGRAPH[None], "fog", severity=6), r"`severity` \(=6\) must be"),
        (partial(corrupt, KEY, PHOTOGRAPH[None], "fog", severity=-1), r"`severity` \(=-1\) must"),
        (partial(corrupt, KEY, PHOTOGRAPH, "fog", severity=1), "must be .height, width, channels"),
        (
            partial(corrupt, KEY, jnp.ones((1, 8, 8, 3), jnp.uint8), "jpeg", severity=1),
            "must be of floats between 0 and 1",
        ),
    ],
)
def test_bad_input_is_told(call, words):
    with pytest.raises(InputError, match=words):
        call()
