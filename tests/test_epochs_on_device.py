"""Epochs on the device: their order, and that their steps are single steps."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.epochs_on_device import many_steps_on_device, shuffled_positions
from cnn_jax.errors import InputError


def test_positions_drawn_on_the_device():
    """No image twice an epoch, each epoch in another order, and alike for any part of the run."""
    draw = jax.jit(partial(shuffled_positions, batch_size=3, size=11), static_argnames="epochs")
    whole = draw(jax.random.key(0), epochs=range(4))
    assert whole["id"].shape == whole["epoch"].shape == (12, 3)
    orders = [tuple(whole["id"][3 * epoch : 3 * epoch + 3].ravel().tolist()) for epoch in range(4)]
    assert all(len(set(order)) == 9 and set(order) <= set(range(11)) for order in orders)
    assert len(set(orders)) == 4
    assert whole["epoch"][:, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    rest = draw(jax.random.key(0), epochs=range(1, 4))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[3:], b), whole, rest)
    with pytest.raises(InputError, match=r"`batch_size` \(=12\) must not exceed the 11 images"):
        shuffled_positions(jax.random.key(0), range(1), batch_size=12, size=11)


def test_a_step_sees_the_images_it_was_told():
    """A step that keeps what it is given, and a rule by which it depends on the steps before."""
    data = {"image": jnp.arange(24.0).reshape(6, 2, 2, 1), "label": jnp.arange(6)}
    chosen = shuffled_positions(jax.random.key(1), range(2), batch_size=2, size=6)

    def step(state, batch):
        return 2 * state + batch["label"].sum(), {**batch, "state": state}

    state, seen = jax.jit(many_steps_on_device(step))(jnp.int32(1), data, chosen)
    expected = 1
    for number, positions in enumerate(np.asarray(chosen["id"])):
        assert seen["state"][number] == expected
        expected = 2 * expected + positions.sum()
        np.testing.assert_array_equal(seen["image"][number], data["image"][positions])
    assert state == expected
    np.testing.assert_array_equal(seen["label"], chosen["id"])
    np.testing.assert_array_equal(seen["epoch"], chosen["epoch"])
