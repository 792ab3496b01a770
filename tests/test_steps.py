"""The steps: what they compute, of what, and how often they are compiled."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import augment, layers, models
from cnn_jax.state import init_state
from cnn_jax.steps import make_eval_step, make_train_step, normalize, shown, to_float
from tests.conftest import scans

MODEL = models.create_model("mlp", num_classes=3, widths=(8,))


def batch_of(count, *, seed=0):
    images, labels = scans(count, seed=seed)
    return {
        "image": images,
        "label": labels.astype(np.int32),
        "id": np.arange(count, dtype=np.int32),
        "epoch": np.zeros(count, np.int32),
        "mask": np.ones(count, bool),
    }


def state_of(model, tx, *, seed=0):
    return init_state(model, tx, jax.random.key(seed), image_shape=(8, 8, 1))


class TestTrainStep(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_one_step_of_plain_descent(self):
        """Loss, accuracy and gradient of a linear model, worked out in NumPy."""
        model, tx = models.create_model("mlp", num_classes=3, widths=()), optax.sgd(0.5)
        state, batch = state_of(model, tx), batch_of(12)
        after, metrics = self.variant(make_train_step(model, tx))(state, batch)

        x = batch["image"].reshape(12, -1).astype(np.float64) / 255
        weights = np.asarray(state.params["fc1"]["kernel"], np.float64)
        logits = x @ weights
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        truth = np.eye(3)[batch["label"]]
        gradient = x.T @ (chances - truth) / 12
        np.testing.assert_allclose(
            after.params["fc1"]["kernel"], weights - 0.5 * gradient, atol=2e-6
        )
        loss = -np.log((chances * truth).sum(1)).sum()
        np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)
        assert metrics["correct"] == (logits.argmax(1) == batch["label"]).sum()
        assert metrics["count"] == 12
        assert after.step == 1
        chex.assert_trees_all_equal(after.key, state.key)


@pytest.mark.parametrize("step", [0, 5])
def test_dropout_differs_between_steps_and_repeats_within_one(step):
    class Dropped(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = images.reshape(len(images), -1)
            return nn.Dense(3)(layers.Dropout(0.5, deterministic=not train)(x))

    tx = optax.sgd(0.0)  # so that nothing but the dropout mask can differ
    state = state_of(Dropped(), tx).replace(step=jnp.int32(step))
    train_step = jax.jit(make_train_step(Dropped(), tx))
    after, first = train_step(state, batch_of(12))
    _, again = train_step(state, batch_of(12))
    _, following = train_step(after, batch_of(12))
    assert first["loss"] == again["loss"] != following["loss"]


def test_augmentation_depends_on_epoch_and_image_and_not_on_the_step():
    seen = []

    def record(key, image):
        jax.debug.callback(lambda key: seen.append(key.tobytes()), jax.random.key_data(key))
        return image

    tx = optax.sgd(0.0)
    train_step = jax.jit(make_train_step(MODEL, tx, augment=(record,)))
    batch, state = batch_of(4), state_of(MODEL, tx)

    def keys(state, batch):
        seen.clear()
        jax.block_until_ready(train_step(state, batch))
        jax.effects_barrier()
        return set(seen)

    first = keys(state, batch)
    assert len(first) == 4
    assert keys(state.replace(step=jnp.int32(9)), batch) == first
    assert not keys(state, {**batch, "epoch": batch["epoch"] + 1}) & first
    assert keys(state, {**batch, "id": batch["id"] + 2}) & first  # images 2 and 3 are in both


def test_masked_images_count_for_nothing_even_when_they_are_nan():
    state = state_of(MODEL, optax.sgd(0.1))
    eval_step = jax.jit(make_eval_step(MODEL))
    whole = eval_step(state.variables, batch_of(5))
    padded = batch_of(8)
    padded["image"] = padded["image"].astype(np.float32) / 255
    padded["image"][:5] = batch_of(5)["image"] / np.float32(255)
    padded["label"][:5] = batch_of(5)["label"]
    padded["image"][5:] = np.nan
    padded["mask"] = np.arange(8) < 5
    masked = eval_step(state.variables, padded)
    assert masked["count"] == whole["count"] == 5
    assert masked["correct"] == whole["correct"]
    np.testing.assert_allclose(masked["loss"], whole["loss"], rtol=1e-6)
    np.testing.assert_array_equal(masked["logits"][:5].argmax(-1), whole["logits"].argmax(-1))


def test_batch_statistics_move_by_a_tenth_towards_the_batch():
    model, tx = models.create_model("simple_cnn", num_classes=3, widths=(4,)), optax.sgd(0.1)
    state, batch = state_of(model, tx), batch_of(16)
    after, _ = jax.jit(make_train_step(model, tx))(state, batch)
    kernel, bias = state.params["conv1"]["kernel"], state.params["conv1"]["bias"]
    images = to_float(batch["image"])
    maps = jax.lax.conv_general_dilated(
        images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    mean = (maps + bias).mean((0, 1, 2))
    np.testing.assert_allclose(after.batch_stats["bn1"]["mean"], 0.1 * mean, atol=1e-6)


def test_auxiliary_heads_add_their_weighted_loss():
    class TwoHeads(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = images.reshape(len(images), -1)
            auxiliary = nn.Dense(3, name="auxiliary_head", kernel_init=nn.initializers.zeros)(x)
            if train:
                self.sow("auxiliary", "logits", auxiliary)
            return nn.Dense(3, name="head", kernel_init=nn.initializers.zeros)(x)

    tx = optax.sgd(1.0)
    state = state_of(TwoHeads(), tx)
    step = make_train_step(TwoHeads(), tx, auxiliary_weight=0.25)
    after, metrics = jax.jit(step)(state, batch_of(12))
    np.testing.assert_allclose(metrics["loss"] / 12, 1.25 * np.log(3), rtol=1e-6)
    # Both heads see the same input and zero weights, so their gradients are as their weights.
    np.testing.assert_allclose(
        after.params["auxiliary_head"]["kernel"], 0.25 * after.params["head"]["kernel"], atol=1e-6
    )


def test_normalisation_is_that_of_the_channels():
    images = jnp.ones((2, 4, 4, 3)) * jnp.array([0.2, 0.5, 0.8])
    normalized = normalize(images, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.4))
    np.testing.assert_allclose(normalized[0, 0, 0], [0, 0.5, 0.5], atol=1e-6)


def test_the_batch_is_mixed_after_augmentation_with_a_key_for_each_step():
    """A mixer that turns the labels round: the loss is that of the turned labels."""
    keys = []

    def turned(key, images, labels):
        keys.append(jax.random.key_data(key).tolist())
        return images, labels[::-1]

    tx = optax.sgd(0.0)
    state, batch = state_of(MODEL, tx), batch_of(7)
    step = make_train_step(MODEL, tx, mix=turned)
    _, mixed = step(state, batch)
    _, plain = make_train_step(MODEL, tx)(state, {**batch, "label": batch["label"][::-1]})
    np.testing.assert_allclose(mixed["loss"], plain["loss"], rtol=1e-6)
    step(state, batch)
    step(state.replace(step=jnp.int32(1)), batch)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("mixer", "axis"), [(augment.mixup, "replica"), (augment.cutmix, "data")])
def test_devices_mix_what_one_would(mixer, axis):
    """Each image with the one before it in the whole batch, at the share drawn for it there."""
    batch = {name: batch_of(6)[name] for name in ("image", "label")}
    batch["label"] = np.eye(3, dtype=np.float32)[batch["label"]]
    mixed = partial(shown, jax.random.key(0), 5, mix=mixer)
    apart = jax.tree.map(lambda array: array.reshape(3, 2, *array.shape[1:]), batch)
    images, labels = jax.jit(jax.vmap(mixed, axis_name=axis))(apart)
    expected_images, expected_labels = jax.jit(mixed)(batch)
    np.testing.assert_allclose(images.reshape(6, 8, 8, 1), expected_images, atol=1e-6)
    np.testing.assert_allclose(labels.reshape(6, 3), expected_labels, atol=1e-6)


def test_augment_is_traced_into_the_step():
    """The flip of the step is the flip of the function, with the step's own keys."""
    tx = optax.sgd(0.0)
    always = partial(augment.random_flip, probability=1.0)
    state, batch = state_of(MODEL, tx), batch_of(6)
    _, flipped = make_train_step(MODEL, tx, augment=(always,))(state, batch)
    _, plain = make_train_step(MODEL, tx)(state, {**batch, "image": batch["image"][:, :, ::-1]})
    np.testing.assert_allclose(flipped["loss"], plain["loss"], rtol=1e-6)
