"""Batches as functions of (seed, step): nothing lost, nothing twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import data
from cnn_jax.data.batches import (
    batch_positions,
    epochs_done,
    eval_batches,
    total_steps,
    train_batch,
)
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.errors import InputError
from tests.conftest import scans

sizes = st.integers(1, 200)


@given(seed=st.integers(0, 2**32 - 1), size=sizes, data_=st.data(), epochs=st.integers(1, 4))
def test_each_epoch_shows_each_image_once(seed, size, data_, epochs):
    batch_size = data_.draw(st.integers(1, size))
    steps = total_steps(epochs, batch_size=batch_size, size=size)
    parts = [batch_positions(seed, k, batch_size=batch_size, size=size) for k in range(steps)]
    positions, owners = (np.concatenate(part) for part in zip(*parts, strict=True))
    for epoch in range(epochs):
        assert sorted(positions[owners == epoch]) == list(range(size))
    assert epochs_done(steps, batch_size=batch_size, size=size) == epochs
    assert epochs_done(steps - 1, batch_size=batch_size, size=size) < epochs


def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else():
    def order(seed, epoch):
        return batch_positions(seed, epoch, batch_size=50, size=50)[0].tolist()

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1, 2) for epoch in (0, 1, 2)}) == 9


def test_a_training_batch_holds_what_its_positions_say():
    source = data.array_source(*scans(20), name="a")
    batch = train_batch(source, 3, 7, batch_size=6)
    positions, epochs = batch_positions(3, 7, batch_size=6, size=20)
    np.testing.assert_array_equal(batch["id"], positions)
    np.testing.assert_array_equal(batch["epoch"], epochs)
    np.testing.assert_array_equal(batch["image"], source.images[positions])
    np.testing.assert_array_equal(batch["label"], source.labels[positions])
    assert set(epochs) == {2}


def test_processes_read_a_batch_between_them():
    source = data.array_source(*scans(20), name="a")
    whole = train_batch(source, 3, 3, batch_size=6)  # the end of an epoch, the start of another
    parts = [train_batch(source, 3, 3, batch_size=6, part=(k, 3)) for k in range(3)]
    for name, array in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), array)
    with pytest.raises(InputError, match=r"`batch_size` \(=6\) must be divisible by the 4 proc"):
        train_batch(source, 3, 3, batch_size=6, part=(0, 4))


@given(size=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_evaluation_shows_each_image_once_in_order(size, batch_size):
    images = np.arange(size, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    source = data.array_source(images, np.arange(size), name="a")
    batches = list(eval_batches(source, batch_size=batch_size))
    assert {batch["image"].shape for batch in batches} == {(batch_size, 2, 2, 1)}
    shown = np.concatenate([batch["label"][batch["mask"]] for batch in batches])
    np.testing.assert_array_equal(shown, np.arange(size))


def test_channel_statistics_are_numpy_s():
    images = np.random.default_rng(0).integers(0, 256, (500, 6, 5, 3)).astype(np.uint8)
    images[..., 2] = 51
    measured = channel_statistics(data.array_source(images, np.arange(500), name="a"))
    pixels = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(measured.mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(measured.std[:2], pixels.std(0)[:2], atol=1e-6)
    assert measured.mean[2] == 0.2
    assert measured.std[2] == 1.0  # of a constant channel, so that nothing is divided by zero
