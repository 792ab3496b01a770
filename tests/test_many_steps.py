"""Several steps in one dispatch: the same steps, with the same images."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from cnn_jax import augment, layers, make_train_step, optim
from cnn_jax.data.batches import train_batch
from cnn_jax.data.source import ArraySource
from cnn_jax.errors import InputError
from cnn_jax.many_steps import (
    chosen_positions,
    many_steps,
    many_steps_on_device,
    shuffled_positions,
)
from cnn_jax.state import init_state

STEPS, BATCH = 3, 4


class Network(nn.Module):
    """What steps could get wrong: gradients of convolutions, running statistics, dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(layers.BatchNorm()(layers.Conv(4, padding=1)(x), train=train))
        x = layers.Dropout(0.5, deterministic=not train)(layers.Conv(3, stride=2)(x))
        return x.mean((1, 2))


@pytest.fixture(scope="module")
def ready():
    """A network with BatchNorm and dropout, ten images, and the states after single steps."""
    model = Network()
    tx = optim.sgd(0.1, momentum=0.9)
    step = make_train_step(model, tx, augment=(augment.random_flip,))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 8, 8, 3), np.uint8)
    source = ArraySource(images, rng.integers(0, 3, 10, np.int32))
    state = jax.jit(partial(init_state, model, tx, image_shape=(8, 8, 3)))(jax.random.key(0))
    batches = [train_batch(source, 7, number, batch_size=BATCH) for number in range(STEPS)]
    single, after, metrics = jax.jit(step), state, []
    for batch in batches:
        after, found = single(after, batch)
        metrics.append(found)
    together = jax.tree.map(lambda *each: np.stack(each), *metrics)
    return step, source, state, batches, (after, together)


def check(actual, expected):
    def near(a, b):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    jax.tree.map(near, actual, expected)


def test_steps_in_a_loop_are_single_steps(ready):
    step, _, state, batches, expected = ready
    stacked = jax.tree.map(lambda *each: np.stack(each), *batches)
    loop = jax.jit(many_steps(step), donate_argnums=0)
    check(loop(jax.tree.map(lambda leaf: leaf.copy(), state), stacked), expected)


def test_and_so_they_are_with_the_images_on_the_device(ready):
    step, source, state, _, expected = ready
    data = jax.device_put({"image": source.images, "label": source.labels})
    chosen = chosen_positions(7, range(STEPS), batch_size=BATCH, size=len(source))
    check(jax.jit(many_steps_on_device(step))(state, data, chosen), expected)


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
