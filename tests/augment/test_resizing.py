"""Resizing, cropping and random resized crops: against torchvision and Pillow."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from PIL import Image

from cnn_jax import augment
from cnn_jax.augment.crops import draw_box
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.parity import torch, torchvision

FUNCTIONAL = torchvision.transforms.functional
KEYS = jax.random.split(jax.random.key(5), 1500)


def torchs(function, image, *arguments, **options):
    result = function(torch.tensor(np.asarray(image)).permute(2, 0, 1), *arguments, **options)
    return result.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", [(17, 40), (60, 11), 14])
def test_resizing_is_torchvisions_and_pillows(size):
    image = photograph(31, 24)
    resized = jax.jit(partial(augment.resize, size=size))(image)
    theirs = torchs(FUNCTIONAL.resize, image, size, antialias=True)
    np.testing.assert_allclose(resized, theirs, atol=2e-6)
    picture = Image.fromarray(np.uint8(np.round(255 * image)))
    pillows = picture.resize((resized.shape[1], resized.shape[0]), Image.BILINEAR)
    # Pillow rounds to bytes, after each of its two passes.
    np.testing.assert_allclose(resized, np.asarray(pillows) / 255, atol=1.01 / 255)


@pytest.mark.parametrize(("shape", "size"), [((9, 12), (4, 5)), ((9, 12), (9, 12)), ((6, 7), 5)])
def test_centre_crop_is_torchvisions(shape, size):
    image = photograph(*shape)
    expected = torchs(FUNCTIONAL.center_crop, image, size)
    np.testing.assert_array_equal(augment.centre_crop(image, size), expected)


def test_a_cropped_part_is_resized_without_what_lies_around_it():
    image = photograph(40, 50)
    cropped = jax.jit(partial(augment.resize_crop, size=(16, 20)))
    for box in ((0, 0, 40, 50), (5, 7, 30, 20), (39, 0, 1, 50), (12, 30, 8, 9), (24, 30, 16, 20)):
        theirs = torchs(FUNCTIONAL.resized_crop, image, *box, (16, 20), antialias=True)
        np.testing.assert_allclose(cropped(image, *box), theirs, atol=2e-6)


def test_a_crop_of_all_is_the_image():
    image = photograph(12, 13)
    whole = partial(augment.random_resized_crop, scale=(1, 1), ratio=(13 / 12, 13 / 12))
    np.testing.assert_array_equal(jax.jit(whole)(KEYS[0], image), image)


def test_boxes_are_drawn_as_torchvision_draws_them():
    draw = torchvision.transforms.RandomResizedCrop.get_params
    torch.manual_seed(0)
    image = torch.zeros(3, 120, 160)
    theirs = np.array([draw(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(1500)])
    ours = np.array(jax.jit(jax.vmap(partial(draw_box, shape=(120, 160))))(KEYS))
    figures = {"top": 0, "left": 1, "height": 2, "width": 3}
    for name, column in figures.items():
        both = ours[:, column], theirs[:, column]
        assert scipy.stats.ks_2samp(*both).pvalue > 0.01, name
    areas = (boxes[:, 2] * boxes[:, 3] for boxes in (ours, theirs))
    assert scipy.stats.ks_2samp(*areas).pvalue > 0.01
    ratios = (boxes[:, 3] / boxes[:, 2] for boxes in (ours, theirs))
    assert scipy.stats.ks_2samp(*ratios).pvalue > 0.01
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= (120, 160)).all()


@pytest.mark.parametrize(
    ("shape", "ratio"), [((40, 200), (0.75, 1.33)), ((200, 40), (0.75, 1.33)), ((50, 50), (1, 2))]
)
def test_where_no_box_fits_it_is_the_middle_of_the_image(shape, ratio):
    box = draw_box(KEYS[0], shape, scale=(2.0, 2.0), ratio=ratio)
    draw = torchvision.transforms.RandomResizedCrop.get_params
    assert tuple(box.tolist()) == draw(torch.zeros(3, *shape), [2.0, 2.0], list(ratio))


def test_a_random_resized_crop_is_its_box_resized():
    image = photograph(40, 50)
    crop = jax.jit(partial(augment.random_resized_crop, size=(16, 20)))
    for key in KEYS[:5]:
        box = draw_box(key, image.shape).tolist()
        theirs = torchs(FUNCTIONAL.resized_crop, image, *box, (16, 20), antialias=True)
        np.testing.assert_allclose(crop(key, image), theirs, atol=2e-6)


def test_a_crop_shifted_over_a_mirrored_edge():
    image = photograph(6, 7)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
    places = {
        padded[row : row + 6, column : column + 7].tobytes()
        for row in range(9)
        for column in range(9)
    }
    crop = partial(augment.shifted_crop, padding=4, mode="reflect")
    found = np.asarray(jax.jit(jax.vmap(crop, (0, None)))(KEYS, image))
    assert {each.tobytes() for each in found} == places


IMAGE = jnp.zeros((6, 6, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(augment.resize, IMAGE, 0), r"`size` \(=0\) must be a whole number of at least 1"),
        (partial(augment.resize, IMAGE, (4, 4, 3)), r"`size` .* must be a height and a width"),
        (partial(augment.resize, IMAGE[0], 4), r"`image` \(of shape 6x3\) must be \[height, wid"),
        (
            partial(augment.resize, IMAGE.astype(jnp.uint8), 4),
            r"`image` \(of uint8\) must be of floats between 0 and 1: divide bytes by 255",
        ),
        (partial(augment.centre_crop, IMAGE, 7), r"`size` \(=7x7\) must be at most the image's"),
        (
            partial(augment.random_resized_crop, KEYS[0], IMAGE, scale=(0, 1)),
            r"`scale` \(=0\) must be positive: raise the lowest value",
        ),
        (
            partial(augment.random_resized_crop, KEYS[0], IMAGE, ratio=(2, 1)),
            r"`ratio` \(=\(2, 1\)\) must be the lowest and the highest value: .* \(1, 2\)",
        ),
        (
            partial(augment.shifted_crop, KEYS[0], IMAGE, padding=1.5),
            r"`padding` \(=1.5\) must be a whole number of at least 0: 4 is usual",
        ),
        (
            partial(augment.shifted_crop, KEYS[0], IMAGE, padding=1, mode="wrap"),
            r"`mode` \(=wrap\) must be zero or reflect: choose one",
        ),
        (
            partial(augment.shifted_crop, KEYS[0], IMAGE, padding=6, mode="reflect"),
            r"`padding` \(=6\) must be below the image's size \(6x6\): only so far can",
        ),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
