"""Colours, tones and sharpness: against Pillow and torchvision, and what is drawn.

torchvision computes in floats, as we do: equal to 2e-6, but for the weights of red, green and blue
(0.2989 there, 0.299 here, as in Pillow: 3e-4). Pillow rounds to bytes: equal to a byte.
"""

from functools import partial
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import skimage.filters
from PIL import Image, ImageEnhance, ImageOps

from cnn_jax import augment
from cnn_jax.augment.color import apply_jitter, draw_jitter
from cnn_jax.augment.sharpness import smooth
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.parity import torch, torchvision

FUNCTIONAL = torchvision.transforms.functional
KEYS = jax.random.split(jax.random.key(2), 1200)
BYTE = 1 / 255

ADJUSTMENTS = {
    "brightness": (augment.adjust_brightness, FUNCTIONAL.adjust_brightness),
    "contrast": (augment.adjust_contrast, FUNCTIONAL.adjust_contrast),
    "saturation": (augment.adjust_saturation, FUNCTIONAL.adjust_saturation),
    "sharpness": (augment.adjust_sharpness, FUNCTIONAL.adjust_sharpness),
    "hue": (augment.adjust_hue, FUNCTIONAL.adjust_hue),
}
ENHANCEMENTS = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
    "sharpness": ImageEnhance.Sharpness,
}


def torchs(function, image, *arguments):
    """What a torchvision function makes of an image, with the channels last."""
    result = function(torch.tensor(image).permute(2, 0, 1), *arguments)
    return result.permute(1, 2, 0).numpy()


def picture(image):
    return Image.fromarray(np.uint8(np.round(255 * image)))


@jax.jit
def adjusted(image, factors):
    """Every adjustment by every factor, in one compilation."""
    return {
        name: jax.vmap(ours, (None, 0))(image, factors) for name, (ours, _) in ADJUSTMENTS.items()
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_adjustments_are_torchvisions_and_pillows(channels):
    image = photograph(20, 23, channels=channels)
    factors = np.array([0.0, 0.35, 1.0, 1.9, -0.5, 0.5], np.float32)
    results = adjusted(image, factors)
    for name, (_, theirs) in ADJUSTMENTS.items():
        amounts = factors[:4] if name != "hue" else factors[[0, 1, 4, 5]]
        for amount in amounts:
            ours = results[name][int(np.flatnonzero(factors == amount)[0])]
            expected = torchs(theirs, image, float(amount))
            np.testing.assert_allclose(ours, expected, atol=3e-4, err_msg=name)
            if name in ENHANCEMENTS and channels == 3:
                pillows = ENHANCEMENTS[name](picture(image)).enhance(float(amount))
                difference = abs(ours - np.asarray(pillows) / 255).max()
                assert difference < (1 + amount) * 1.01 * BYTE, name
    np.testing.assert_array_equal(results["hue"][0], image)
    for name in ENHANCEMENTS:
        np.testing.assert_array_equal(results[name][2], image)


def test_hues_all_round_the_circle():
    colours = np.random.default_rng(0).integers(0, 4, (40, 40, 3)).astype(np.float32) / 3
    shifts = np.linspace(-0.5, 0.5, 7).astype(np.float32)
    turned = jax.jit(jax.vmap(augment.adjust_hue, (None, 0)))(colours, shifts)
    for shift, ours in zip(shifts, turned, strict=True):
        theirs = torchs(FUNCTIONAL.adjust_hue, colours, float(shift))
        np.testing.assert_allclose(ours, theirs, atol=3e-6)


def test_grey_is_pillows():
    image = photograph(20, 23)
    pillows = np.asarray(picture(image).convert("L"))[:, :, None] / 255
    grey = np.asarray(augment.grayscale(image))
    np.testing.assert_allclose(grey, np.broadcast_to(pillows, grey.shape), atol=0.51 * BYTE)
    one_channel = photograph(20, 23, channels=1)
    np.testing.assert_array_equal(augment.grayscale(one_channel), one_channel)


@jax.jit
def toned(image):
    return {
        "invert": augment.invert(image),
        "autocontrast": augment.autocontrast(image),
        "equalize": augment.equalize(image),
        **{f"solarize {t}": augment.solarize(image, t / 255) for t in (0, 100, 255, 256)},
        **{f"posterize {bits}": augment.posterize(image, bits) for bits in range(9)},
    }


@pytest.mark.parametrize("kind", ["dark photograph", "noise", "flat", "two values"])
def test_tones_are_pillows(kind):
    draw = np.random.default_rng(0).integers
    image = {
        "dark photograph": np.round(photograph(20, 23) * 100) / np.float32(255)
        + np.float32(20 / 255),
        "noise": draw(0, 256, (20, 23, 3)) / np.float32(255),
        "flat": np.full((20, 23, 3), 77) / np.float32(255),
        "two values": draw(3, 5, (20, 23, 3)) / np.float32(255),
    }[kind].astype(np.float32)
    results = toned(image)
    bytes_ = picture(image)
    expected = {
        "invert": ImageOps.invert(bytes_),
        "autocontrast": ImageOps.autocontrast(bytes_),
        "equalize": ImageOps.equalize(bytes_),
        **{f"solarize {t}": ImageOps.solarize(bytes_, t) for t in (0, 100, 255, 256)},
        **{f"posterize {bits}": ImageOps.posterize(bytes_, bits) for bits in range(1, 9)},
        "posterize 0": Image.new("RGB", bytes_.size),
    }
    for name, picture_ in expected.items():
        # Autocontrast does not round to bytes; Pillow does, downwards.
        tolerance = 1.01 * BYTE if name == "autocontrast" else 1e-6
        theirs = np.asarray(picture_) / 255
        np.testing.assert_allclose(results[name], theirs, atol=tolerance, err_msg=name)
    theirs = torchs(FUNCTIONAL.autocontrast, image)
    np.testing.assert_allclose(results["autocontrast"], theirs, atol=2e-6)
    np.testing.assert_array_equal(results["posterize 8"], image)


def test_equalizing_looks_at_each_channel_alone():
    image = photograph(20, 23)
    each = [toned(image[:, :, i : i + 1])["equalize"] for i in range(3)]
    np.testing.assert_array_equal(toned(image)["equalize"], np.concatenate(each, 2))


@pytest.mark.parametrize(("size", "deviation"), [(3, 0.8), (9, 2.0), (5, 0.0)])
def test_blur_is_torchvisions(size, deviation):
    image = photograph(20, 23)
    blurred = jax.jit(partial(augment.gaussian_blur, size=size))(image, deviation)
    if not deviation:
        np.testing.assert_array_equal(blurred, image)
        return
    theirs = torchs(FUNCTIONAL.gaussian_blur, image, [size, size], [deviation, deviation])
    np.testing.assert_allclose(blurred, theirs, atol=2e-6)
    full = skimage.filters.gaussian(image, deviation, mode="mirror", channel_axis=2)
    if size > 4 * deviation:
        np.testing.assert_allclose(blurred, full, atol=0.01)


def test_a_small_image_has_no_inside_to_smooth():
    image = photograph(2, 9)
    np.testing.assert_array_equal(smooth(image), image)


def test_jitter_in_each_of_the_24_orders_is_torchvisions():
    image = photograph(12, 13)
    factors, shift = np.array([1.6, 0.5, 1.7], np.float32), 0.13
    orders = np.array(list(permutations(range(4))))
    jittered = jax.jit(jax.vmap(apply_jitter, (None, 0, None, None)))
    names = ("brightness", "contrast", "saturation", "hue")
    for order, ours in zip(orders, jittered(image, orders, factors, shift), strict=True):
        expected = torch.tensor(image).permute(2, 0, 1)
        for kind in order:
            amount = shift if kind == 3 else float(factors[kind])
            expected = ADJUSTMENTS[names[kind]][1](expected, amount)
        np.testing.assert_allclose(ours, expected.permute(1, 2, 0), atol=2e-3)


def test_jitter_is_drawn_evenly():
    draw = partial(draw_jitter, brightness=0.4, contrast=(0.5, 3.0), saturation=1.2, hue=0.1)
    orders, factors, shifts = map(np.asarray, jax.jit(jax.vmap(draw))(KEYS))
    ranges = [(0.6, 1.4), (0.5, 3.0), (0.0, 2.2), (-0.1, 0.1)]
    for values, (low, high) in zip([*factors.T, shifts], ranges, strict=True):
        assert scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.01
    kinds, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(kinds) == 24
    assert scipy.stats.chisquare(counts).pvalue > 0.01


def test_a_jitter_is_the_one_that_is_drawn():
    image = photograph(12, 13)
    options = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}

    @jax.jit
    def both_ways(key):
        jittered = augment.color_jitter(key, image, **options)
        return jittered, apply_jitter(image, *draw_jitter(key, **options))

    np.testing.assert_array_equal(*both_ways(KEYS[0]))


def test_how_often_images_turn_grey_or_blurred():
    image = jnp.asarray(photograph(7, 7))

    def changed(key):
        grey = augment.random_grayscale(key, image, probability=0.3)
        blurred = augment.random_blur(key, image, size=3, probability=0.7)
        return (grey != image).any(), (blurred != image).any()

    for found, chance in zip(jax.jit(jax.vmap(changed))(KEYS), (0.3, 0.7), strict=True):
        assert abs(found.mean() - chance) < 4 * np.sqrt(0.21 / len(KEYS))


def test_the_deviation_of_a_blur_is_even_in_its_range():
    # A bright pixel alone: what it keeps tells the deviation.
    image = jnp.zeros((31, 31, 1)).at[15, 15].set(1)
    blur = partial(augment.random_blur, size=31, deviation=(0.5, 3.0), probability=1)
    kept = jax.jit(lambda keys: jax.lax.map(lambda key: blur(key, image)[15, 15, 0], keys))
    deviations = np.linspace(0.5, 3.0, 2001)
    weights = np.exp(-0.5 * (np.arange(-15, 16) / deviations[:, None]) ** 2).sum(1) ** -2.0
    found = np.interp(-kept(KEYS[:500]), -weights, deviations)
    assert scipy.stats.kstest(found, "uniform", (0.5, 2.5)).pvalue > 0.01


def test_noise_is_gaussian_and_clipped():
    noisy = augment.gaussian_noise(KEYS[0], jnp.full((50, 50, 1), 0.5), deviation=0.1)
    assert scipy.stats.kstest(np.ravel(noisy), "norm", (0.5, 0.1)).pvalue > 0.01
    noisy = augment.gaussian_noise(KEYS[0], jnp.ones((50, 50, 1)), deviation=0.1)
    assert noisy.max() == 1


IMAGE = jnp.zeros((6, 6, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(augment.color_jitter, brightness=-1), r"`brightness` \(=-1\) must not be negati"),
        (partial(augment.color_jitter, contrast=(2, 1)), r"`contrast` .* lowest and the highest"),
        (partial(augment.color_jitter, saturation=(-1, 1)), r"`saturation` .* must not go below 0"),
        (partial(augment.color_jitter, hue=0.6), r"`hue` \(=0.6\) must be between -0.5 and 0.5"),
        (partial(augment.random_grayscale, probability=2), r"`probability` \(=2\) must be at lea"),
        (partial(augment.random_blur, size=4), r"`size` \(=4\) must be odd, .*: choose 5"),
        (partial(augment.random_blur, size=13), r"`size` \(=13\) must be at most 11: so far can"),
        (partial(augment.random_blur, size=3, deviation=(-1, 1)), r"`deviation` .* below 0: raise"),
        (partial(augment.gaussian_noise, deviation=-1), r"`deviation` \(=-1\) must not be negati"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call(KEYS[0], IMAGE)


def test_two_channels_have_no_colour():
    with pytest.raises(InputError, match=r"`image` \(of shape 6x6x2\) must have 1 channel or red"):
        augment.grayscale(IMAGE[:, :, :2])
