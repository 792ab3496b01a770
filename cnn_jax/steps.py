"""The training and evaluation steps: pure functions of (state, batch)."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cnn_jax import losses
from cnn_jax.augment import Augmentation, compose
from cnn_jax.state import TrainState

Metrics = dict[str, jax.Array]
Loss = Callable[[jax.Array, jax.Array], jax.Array]
Preprocess = Callable[[jax.Array], jax.Array]


def to_float(images: jax.Array) -> jax.Array:
    """Bring images to float32 between 0 and 1; uint8 is divided by 255."""
    if images.dtype == jnp.uint8:
        return images.astype(jnp.float32) / 255
    return images.astype(jnp.float32)


def normalize(images: jax.Array, *, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """Subtract the mean of each channel and divide by its deviation.

    Args:
        images: float32 [..., C], 0 to 1.
        mean: C numbers.
        std: C numbers.

    Returns:
        float32 [..., C].

    >>> normalize(jnp.full((1, 1, 1, 1), 0.75), mean=(0.5,), std=(0.25,)).item()
    1.0
    """
    return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    *,
    loss: Loss = losses.cross_entropy,
    preprocess: Preprocess = lambda images: images,
    augment: Sequence[Augmentation] = (),
    auxiliary_weight: float = 0.3,
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """Make the training step.

    Args:
        model: the network.
        tx: the optimizer.
        loss: (logits, labels) -> losses [N].
        preprocess: what follows the augmentation, such as normalisation; of [N, H, W, C].
        augment: functions `(key, image) -> image` of float images between 0 and 1. An image's
            key depends on the run, the epoch and the image, and on nothing else.
        auxiliary_weight: weight of the loss of each auxiliary head, of networks that have any
            (0.3: Szegedy et al. 2015, section 5).

    Returns:
        `(state, batch) -> (state, metrics)`. A batch has `image` [N, H, W, C], and int32 [N]
        each: `label`, `id`, `epoch`. The metrics are `loss` (float32, summed over the batch),
        `correct` and `count` (int32). Pure, to be jit-compiled with the state donated.
    """
    augmented = jax.vmap(compose(augment))

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        dropout_root, augment_root = jax.random.split(state.key)
        images = to_float(batch["image"])
        if augment:
            keys = _image_keys(augment_root, batch["epoch"], batch["id"])
            images = augmented(keys, images)
        images = preprocess(images)
        dropout_key = jax.random.fold_in(dropout_root, state.step)

        def mean_loss(params):
            logits, updates = model.apply(
                {**state.variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats", "auxiliary"],
                rngs={"dropout": dropout_key},
            )
            value = loss(logits, batch["label"]).mean()
            for head in jax.tree.leaves(updates.get("auxiliary", {})):
                value += auxiliary_weight * loss(head, batch["label"]).mean()
            return value, (logits, updates.get("batch_stats", {}))

        gradient = jax.value_and_grad(mean_loss, has_aux=True)
        (value, (logits, batch_stats)), grads = gradient(state.params)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        count = jnp.int32(len(images))
        metrics = {
            "loss": value * count,
            "correct": jnp.sum(logits.argmax(-1) == batch["label"]),
            "count": count,
        }
        state = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
        )
        return state, metrics

    return train_step


def make_eval_step(
    model: nn.Module,
    *,
    loss: Loss = losses.cross_entropy,
    preprocess: Preprocess = lambda images: images,
) -> Callable[[dict, dict], Metrics]:
    """Make the evaluation step.

    Args:
        model: the network.
        loss: (logits, labels) -> losses [N].
        preprocess: as for training.

    Returns:
        `(variables, batch) -> metrics`, with `state.variables` of a training state for instance.
        A batch has `image` [N, H, W, C], `label` int32 [N] and `mask` bool [N]. The metrics are
        `loss`, `correct` and `count` as of a training step, over the images with a true mask, and
        for each image `prediction` (int32 [N], the most probable class) and `confidence` (float32
        [N], its probability).
    """

    def eval_step(variables: dict, batch: dict) -> Metrics:
        logits = model.apply(variables, preprocess(to_float(batch["image"])))
        mask, prediction = batch["mask"], logits.argmax(-1).astype(jnp.int32)
        return {
            # `where`, since a product would let a NaN of the padding through.
            "loss": jnp.where(mask, loss(logits, batch["label"]), 0).sum(),
            "correct": jnp.sum(mask & (prediction == batch["label"])),
            "count": jnp.sum(mask),
            "prediction": prediction,
            "confidence": jax.nn.softmax(logits.astype(jnp.float32)).max(-1),
        }

    return eval_step


def _image_keys(root: jax.Array, epochs: jax.Array, ids: jax.Array) -> jax.Array:
    fold_in = jax.random.fold_in
    return jax.vmap(lambda epoch, id_: fold_in(fold_in(root, epoch), id_))(epochs, ids)
