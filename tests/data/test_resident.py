"""Images that lie on the device are those of the source, and a run is the same with them."""

from dataclasses import replace

import chex
import jax
import numpy as np

from cnn_jax import data, train
from cnn_jax.data import resident
from cnn_jax.data.batches import train_batch
from cnn_jax.data.resident import ResidentImages, kept_on_device
from tests.conftest import scans


def test_images_arrive_whole_whatever_the_blocks(monkeypatch):
    source = data.array_source(*scans(100), name="scans")
    for block in (7, 50, 4096):
        monkeypatch.setattr(resident, "_BLOCK", block)
        kept = kept_on_device(source, bytes_free=10**9)
        assert isinstance(kept, ResidentImages)
        assert isinstance(kept.images, jax.Array)
        ours, theirs = (train_batch(each, 0, 2, batch_size=32) for each in (kept, source))
        assert isinstance(ours["image"], jax.Array)
        chex.assert_trees_all_equal(jax.device_get(ours), theirs)
        assert (len(kept), kept.image_shape) == (100, source.image_shape)
        assert kept.fingerprint == source.fingerprint


def test_floats_stay_floats():
    images = np.random.default_rng(0).uniform(size=(5, 3, 3, 1)).astype(np.float32)
    source = data.array_source(images, np.arange(5), name="floats")
    kept = kept_on_device(source, bytes_free=10**9)
    np.testing.assert_array_equal(kept.read(np.array([4, 0])), images[[4, 0]])


def test_a_cpu_keeps_nothing():
    source = data.array_source(*scans(10), name="scans")
    assert kept_on_device(source) is source


def test_a_run_is_the_same_with_images_on_the_device(recipe, tmp_path, monkeypatch):
    recipe = replace(recipe, epochs=1)
    streamed = train.run(recipe, tmp_path / "streamed", quiet=True)
    used = []

    def keep(source):
        used.append(kept_on_device(source, bytes_free=10**9))
        return used[-1]

    monkeypatch.setattr(train, "kept_on_device", keep)
    kept = train.run(recipe, tmp_path / "kept", quiet=True)
    assert isinstance(used[0], ResidentImages)
    chex.assert_trees_all_equal(kept.state.params, streamed.state.params)
