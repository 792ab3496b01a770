"""What excites channels: planted patterns, and the same as by looking at everything at once."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import create_model, explain
from cnn_jax.data import array_source
from cnn_jax.errors import InputError
from cnn_jax.explain.exciting import Exciting, crops, most_exciting
from cnn_jax.inspect.stage_fields import stage_field
from cnn_jax.models.features import extract_features, mark
from cnn_jax.steps import normalize, to_float

RNG = np.random.default_rng(0)
NOISE = RNG.integers(100, 140, (23, 12, 10, 1), dtype=np.uint8)
SOURCE = array_source(NOISE, np.zeros(23, int), name="noise")


class Filters(nn.Module):
    """Two filters of 3x3: an upright edge, and a spot."""

    @nn.compact
    def __call__(self, images, *, train=False):
        edge = jnp.array([[-1.0, 0, 1]] * 3)
        spot = jnp.full((3, 3), -1 / 8).at[1, 1].set(1.0)
        kernel = jnp.stack([edge, spot], -1)[:, :, None]
        dimensions = ("NHWC", "HWIO", "NHWC")
        maps = jax.lax.conv_general_dilated(
            images, kernel, (1, 1), "SAME", dimension_numbers=dimensions
        )
        return mark(self, "maps", maps).mean((1, 2))


def test_planted_patterns_are_found():
    """The edge in the images 20 (stronger) and 3, the spot in image 7; batches of 8, 8 and 7."""
    images = NOISE.copy()
    for number, height in ((20, 100), (3, 70)):
        images[number, 4:7, 2:5] = np.array([120 - height, 120, 120 + height])[:, None]
    images[7, 9, 6] = 255
    source = array_source(images, SOURCE.labels, name="planted")
    found = most_exciting(
        Filters(), {}, source, stage="maps", channels=(1, 0), count=2, batch_size=8,
        preprocess=partial(normalize, mean=(0.47,), std=(1.0,)),
    )  # fmt: skip
    assert found.positions[:, 0].tolist() == [7, 20]
    assert found.positions[1, 1] == 3
    assert found.places[0, 0].tolist() == [9, 6]
    assert found.places[1].tolist() == [[5, 3], [5, 3]]
    np.testing.assert_allclose(found.values[1], [3 * 200 / 255, 3 * 140 / 255], rtol=1e-5)

    cut = crops(create_model("simple_cnn", in_channels=1), source, found, stage="conv1")
    assert cut.shape == (2, 2, 3, 3, 1) and cut.dtype == np.uint8
    np.testing.assert_array_equal(cut[1, 0, :, :, 0], [[20, 120, 220]] * 3)
    assert cut[0, 0, 1, 1, 0] == 255


@pytest.mark.parametrize("batch_size", [4, 64])
def test_equal_to_looking_at_everything_at_once(batch_size):
    model = create_model("lenet5", num_classes=3, image_size=16)
    images = RNG.integers(0, 255, (23, 16, 16, 1), dtype=np.uint8)
    source = array_source(images, np.zeros(23, int), name="noise")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
    channels = (3, 0, 15)
    maps = np.asarray(extract_features(model, variables, to_float(jnp.asarray(images)))["conv2"])
    flat = maps.reshape(23, -1, maps.shape[-1])[..., channels]
    order = np.argsort(-flat.max(1), axis=0, kind="stable")[:5].T
    found = most_exciting(
        model, variables, source, stage="conv2", channels=channels, count=5, batch_size=batch_size
    )
    np.testing.assert_array_equal(found.positions, order)
    for row, channel in enumerate(channels):
        for number, (top, left) in zip(order[row], found.places[row], strict=True):
            assert maps[number, top, left, channel] == maps[number, ..., channel].max()
    np.testing.assert_allclose(found.values, np.take_along_axis(flat.max(1).T, order, 1), rtol=1e-5)


def test_the_earlier_of_equal_images_and_no_more_than_there_are():
    source = array_source(np.full((5, 4, 4, 1), 9, np.uint8), np.zeros(5, int), name="grey")
    found = most_exciting(Filters(), {}, source, stage="maps", channels=[0], count=9, batch_size=2)
    assert found.positions.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("name", "options", "stage"),
    [
        ("resnet20_cifar", {"depth": 1}, "layer2"),
        ("lenet5", {}, "conv2"),
    ],
)
def test_the_field_of_a_stage_is_where_its_gradient_is(name, options, stage):
    """Of one place, by the pixels: nothing outside the field, something on its border."""
    model = create_model(name, **options)
    images = jax.random.normal(jax.random.key(0), (1, 24, 20, model.in_channels))
    model = model.clone(image_size=20) if name == "lenet5" else model
    images = images[:, :20] if name == "lenet5" else images
    variables = jax.jit(model.init)(jax.random.key(1), images)
    place = (3, 4)

    @jax.jit
    @jax.grad
    def gradient(images):
        return extract_features(model, variables, images)[stage][0, place[0], place[1]].sum()

    # Of several images, since ReLUs close some ways.
    noisy = jax.random.normal(jax.random.key(2), (16, *images.shape))
    seen = sum(np.abs(gradient(one)).sum((0, 3)) for one in noisy) > 0
    rows, columns = stage_field(model, images.shape[1:], stage=stage)
    for track, at, side, there in zip(
        (rows, columns), place, images.shape[1:3], (seen.any(1), seen.any(0)), strict=True
    ):
        low, high = track.jump * at + track.low, track.jump * at + track.high
        expected = [max(low, 0), min(high, side - 1)]
        assert np.flatnonzero(there)[[0, -1]].tolist() == expected


def test_crops_reach_beyond_the_image_or_are_all_of_it():
    model = create_model("simple_cnn", in_channels=1)
    found = Exciting(np.array([[4]]), np.array([[[0, 9]]]), np.zeros((1, 1), np.float32))
    cut = crops(model, SOURCE, found, stage="conv1")[0, 0, ..., 0]
    expected = np.zeros((3, 3), np.uint8)
    expected[1:, :2] = NOISE[4, :2, 8:, 0]
    np.testing.assert_array_equal(cut, expected)
    vit = create_model("vit_tiny_patch16", in_channels=1, depth=1, patch_size=5, image_size=10)
    whole = crops(
        vit, array_source(NOISE[:, :10], SOURCE.labels, name="x"), found, stage="blocks.0"
    )
    np.testing.assert_array_equal(whole[0, 0], NOISE[4, :10])


BAD = {
    "stage": ({"stage": "map"}, "`stage` .*'map'.* is no stage: did you mean 'maps'"),
    "channel": ({"channels": [2]}, r"`channels` \(=\[2\]\) must be from 0 to 1, the 2 channels"),
    "none": ({"channels": []}, "and at least one"),
    "count": ({"count": 0}, r"`count` \(=0\) must be a whole number"),
    "batch": ({"batch_size": 0}, r"`batch_size` \(=0\) must be a whole number"),
    "finite": ({"preprocess": lambda images: images * jnp.nan}, "are not finite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    given, words = BAD[name]
    with pytest.raises(InputError, match=words):
        most_exciting(Filters(), {}, SOURCE, **{"stage": "maps", "channels": [0], **given})


def test_feature_maps_are_tiles():
    """Each channel between its own lowest and highest value, in the order of the channels."""
    images = to_float(jnp.asarray(NOISE[:2]))
    maps = np.asarray(extract_features(Filters(), {}, images)["maps"])
    (picture,) = explain.feature_maps(Filters(), {}, images).values()
    assert picture.shape == (2, 12 + 2, 2 * 10 + 3, 3) and picture.dtype == np.uint8
    yellow, blue = [253, 231, 37], [68, 1, 84]
    for image, channel in np.ndindex(2, 2):
        tile = picture[image, 1:13, 1 + 11 * channel : 11 + 11 * channel]
        one = maps[image, ..., channel]
        assert tile[np.unravel_index(one.argmax(), one.shape)].tolist() == yellow
        assert tile[np.unravel_index(one.argmin(), one.shape)].tolist() == blue
    assert (picture[:, 0] == 255).all() and (picture[:, :, 11] == 255).all()
    first = explain.feature_maps(Filters(), {}, images, channels=1)["maps"]
    np.testing.assert_array_equal(first[:, 1:13, 1:11], picture[:, 1:13, 1:11])
    flat = explain.feature_maps(Filters(), {}, jnp.zeros((1, 4, 4, 1)))["maps"]
    assert flat[0, 1, 1].tolist() == blue
    with pytest.raises(InputError, match=r"`channels` \(=0\) must be a whole number"):
        explain.feature_maps(Filters(), {}, images, channels=0)


def test_stages_without_places_are_not_drawn():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            return mark(self, "flat", images.mean((1, 2)))

    with pytest.raises(InputError, match=r"Flat.* has no stage with places in an image"):
        explain.feature_maps(Flat(), {}, jnp.zeros((1, 4, 4, 2)))
    found = most_exciting(Flat(), {}, SOURCE, stage="flat", channels=[0], count=1)
    assert found.positions[0, 0] == NOISE.mean((1, 2, 3)).argmax()
    assert found.places.tolist() == [[[0, 0]]]
