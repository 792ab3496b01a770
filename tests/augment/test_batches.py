"""Operations in order, and the pixels of an image: of the run, the epoch and the image alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import augment, parallel
from cnn_jax.data import array_source
from cnn_jax.data.batches import train_batch
from tests.conftest import ROOT, python

RECIPE = (
    augment.alternating_flip,
    partial(augment.shifted_crop, padding=2),
    partial(augment.random_rotation, degrees=20),
    partial(augment.color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    augment.rand_augment,
    partial(augment.cutout, size=4),
)
KEY = jax.random.key(11)
COUNT = 320


def source():
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 12, 12, 3), np.uint8)
    return array_source(images, np.arange(COUNT) % 3, name="noise")


def pixels_shown(*, batch_size, steps, key=KEY):
    """The augmented pixels of each (epoch, image) that the steps show, on all devices there are."""
    split = parallel.split(parallel.data_mesh(batch_size))

    @jax.jit
    def augmented(images, epochs, identities):
        return augment.augment_batch(
            key,
            images / np.float32(255),
            epochs=epochs,
            identities=identities,
            operations=RECIPE,
        )

    shown = {}
    for step in steps:
        batch = jax.device_put(train_batch(source(), 0, step, batch_size=batch_size), split)
        images = augmented(batch["image"], batch["epoch"], batch["id"])
        assert images.sharding == split
        places = (np.asarray(batch[name]).tolist() for name in ("epoch", "id"))
        shown |= zip(zip(*places, strict=True), np.asarray(images), strict=True)
    return shown


def assert_bitwise(some, others):
    assert some
    assert set(some) <= set(others)
    for place, image in some.items():
        np.testing.assert_array_equal(image, others[place])


def test_pixels_do_not_depend_on_the_batch_size_or_on_where_one_begins():
    """640 images are two epochs; the same pixels in other batches, and in the last ones alone."""
    small = pixels_shown(batch_size=32, steps=range(20))
    assert len(small) == 2 * COUNT
    assert_bitwise(pixels_shown(batch_size=128, steps=range(5)), small)
    assert_bitwise(pixels_shown(batch_size=32, steps=range(17, 20)), small)
    first, second = (np.stack([small[epoch, i] for i in range(COUNT)]) for epoch in range(2))
    assert ((first != second).any((1, 2, 3))).mean() > 0.95
    other_run = pixels_shown(batch_size=32, steps=[0], key=jax.random.key(12))
    assert np.mean([(small[place] != other_run[place]).any() for place in other_run]) > 0.95


def test_pixels_are_the_same_on_eight_devices(tmp_path):
    program = """
import sys
import jax, numpy as np
from tests.augment.test_batches import pixels_shown
assert jax.device_count() == 8
shown = pixels_shown(batch_size=128, steps=range(5))
np.savez(sys.argv[1], places=list(shown), images=list(shown.values()))
"""
    done = python(
        "-c",
        program,
        tmp_path / "shown.npz",
        cwd=ROOT,
        xla_flags="--xla_force_host_platform_device_count=8",
        JAX_PLATFORMS="cpu",
    )
    assert done.returncode == 0, done.stderr
    shown = np.load(tmp_path / "shown.npz")
    on_eight = dict(zip(map(tuple, shown["places"].tolist()), shown["images"], strict=True))
    assert_bitwise(pixels_shown(batch_size=32, steps=range(20)), on_eight)


def batch(operations):
    numbers = jnp.arange(2)
    return augment.augment_batch(
        KEY, jnp.ones((2, 2, 2, 1)), epochs=numbers, identities=numbers, operations=operations
    )


def test_each_operation_has_a_key_of_its_own():
    def noise(key, image):
        return image + jax.random.normal(key)

    once, twice = batch([noise]) - 1, batch([noise, noise]) - 1
    assert (jnp.abs(twice - 2 * once) > 1e-3).all()


def test_an_image_is_another_in_each_epoch():
    def noise(key, image):
        return image + jax.random.normal(key)

    shown = augment.augment_batch(
        KEY, jnp.zeros((6, 1, 1, 1)), epochs=jnp.arange(6) // 2, identities=jnp.arange(6) % 2,
        operations=[noise],
    )  # fmt: skip
    assert len(np.unique(shown)) == 6


def test_the_order_of_operations_is_that_of_the_tuple():
    double, add = (lambda key, image: 2 * image), (lambda key, image: image + 1)
    np.testing.assert_array_equal(batch([double, add]), 3)
    np.testing.assert_array_equal(batch([add, double]), 4)
    np.testing.assert_array_equal(batch([]), 1)


def test_a_recipe_may_show_images_from_both_sides_in_turn():
    images = np.random.default_rng(0).uniform(size=(50, 2, 4, 1)).astype(np.float32)
    shown = [
        augment.augment_batch(
            KEY,
            images,
            epochs=np.full(50, epoch),
            identities=np.arange(50),
            operations=(augment.alternating_flip,),
        )
        for epoch in range(3)
    ]
    np.testing.assert_array_equal(shown[1], shown[0][:, :, ::-1])
    np.testing.assert_array_equal(shown[2], shown[0])
    mirrored = (shown[0] != images).any((1, 2, 3))
    assert 10 < mirrored.sum() < 40
