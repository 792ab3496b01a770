"""The training and evaluation steps: pure functions of (state, batch)."""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.dynamic_scale import DynamicScaleResult

from cnn_jax import losses
from cnn_jax.augment import Augmentation, augment_batch
from cnn_jax.frozen import Trained, frozen_evaluating, moving_part, put_back, trained_part
from cnn_jax.layers.mapped import (
    averaged_over_devices,
    joined_over_devices,
    mapped_axis,
    own_part,
)
from cnn_jax.metrics import top1
from cnn_jax.state import TrainState

Metrics = dict[str, jax.Array]
Loss = Callable[..., jax.Array]
Correct = Callable[[jax.Array, jax.Array], jax.Array]
Teacher = Callable[[jax.Array], jax.Array]
Mix = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
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


def shown(
    key: jax.Array,
    step: int | jax.Array,
    batch: dict,
    *,
    augment: Sequence[Augmentation] = (),
    mix: Mix | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Make what a training step shows to the network, before `preprocess`.

    Args:
        key: the key of the training state.
        step: steps taken before.
        batch: as of `make_train_step`; `id` and `epoch` for `augment` alone.
        augment: as there.
        mix: as there.

    Returns:
        The images, float32 [N, H, W, C] between 0 and 1, and their labels.
    """
    # The first two of the state's keys; the first is for dropout.
    _, augment_root = jax.random.split(key)
    images, labels = to_float(batch["image"]), batch["label"]
    if augment:
        epochs, identities = batch["epoch"], batch["id"]
        images = augment_batch(
            augment_root, images, epochs=epochs, identities=identities, operations=augment
        )
    if mix is not None:
        mix_key = jax.random.fold_in(jax.random.fold_in(key, 2), step)
        # Of the whole batch, since it is for the mixer to say which images have to do with which.
        mixed = mix(mix_key, *joined_over_devices((images, labels)))
        images, labels = own_part(mixed)
    return images, labels


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation | Callable[[jax.Array], optax.GradientTransformation],
    *,
    loss: Loss = losses.cross_entropy,
    correct: Correct = top1,
    preprocess: Preprocess = lambda images: images,
    augment: Sequence[Augmentation] = (),
    mix: Mix | None = None,
    teacher: Teacher | None = None,
    auxiliary_weight: float = 0.3,
    trained: Trained | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """Make the training step.

    Args:
        model: the network.
        tx: the optimizer, or a function of the state's `rate` that gives it.
        loss: (logits, labels) -> losses [N]; with a teacher (logits, labels, its logits).
        correct: (logits, labels) -> bool [N].
        preprocess: what follows the augmentation, such as normalisation; of [N, H, W, C].
        augment: functions `(key, image) -> image` of float images between 0 and 1, for
            `augment.augment_batch`.
        mix: (key, images, labels) -> (images, labels) of the augmented batch, before
            `preprocess`; such as Mixup, which makes soft labels. It sees all of the batch under
            `jax.pmap` as well.
        teacher: preprocessed images -> logits to learn from; no gradient reaches it.
        auxiliary_weight: weight of the loss of each auxiliary head, of networks that have any
            (0.3: Szegedy et al. 2015, section 5).
        trained: the part of the network to train, which alone has gradients and is what `tx` gets;
            None for all of it.

    Returns:
        `(state, batch) -> (state, metrics)`. A batch has `image` [N, H, W, C], `label` (int32 [N],
        or what the loss takes) and int32 [N] each: `id`, `epoch`. The metrics are `loss` (float32,
        summed over the batch), `correct` and `count` (int32), `finite` (bool [N], whether the loss
        of each image is), and the norms of the whole gradient and of the whole change of the
        parameters, `gradient_norm` and `update_norm` (float32). Pure, to be jit-compiled with the
        state donated.

        With a `loss_scale` in the state (float16), a step whose gradients overflow changes nothing
        but the scale and the count of steps, and its loss, `correct` and `count` are 0; once the
        scale is at its minimum, an overflow is no longer excused, and the loss is NaN.
    """

    def train_step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        images, labels = shown(state.key, state.step, batch, augment=augment, mix=mix)
        images = preprocess(images)
        dropout_key = jax.random.fold_in(jax.random.split(state.key)[0], state.step)
        taught = () if teacher is None else (jax.lax.stop_gradient(teacher(images)),)

        def mean_loss(params):
            with frozen_evaluating(trained):
                logits, updates = model.apply(
                    {**state.variables, "params": put_back(state.params, params)},
                    images,
                    train=True,
                    mutable=["batch_stats", "auxiliary"],
                    rngs={"dropout": dropout_key},
                )
            each = loss(logits, labels, *taught)
            value = each.mean()
            for head in jax.tree.leaves(updates.get("auxiliary", {})):
                value += auxiliary_weight * loss(head, labels, *taught).mean()
            return value, (logits, each, moving_part(updates.get("batch_stats", {}), trained))

        scaled: list[DynamicScaleResult] = []  # at each point asked for

        def value_and_grad(params):
            if state.loss_scale is None:
                value, grads = jax.value_and_grad(mean_loss, has_aux=True)(params)
                return value, averaged_over_devices(grads)
            at = state.loss_scale.value_and_grad(mean_loss, has_aux=True, axis_name=mapped_axis())
            scaled.append(at(params))
            return scaled[-1].aux, scaled[-1].grad

        params = trained_part(state.params, trained)
        (value, (logits, each, batch_stats)), grads = value_and_grad(params)
        optimizer = optax.with_extra_args_support(tx(state.rate) if callable(tx) else tx)
        updates, opt_state = optimizer.update(
            grads,
            state.opt_state,
            params,
            # For optimizers that want the gradient of other points as well.
            grad_fn=lambda params, _: value_and_grad(params)[1],
        )
        right, finite = joined_over_devices((correct(logits, labels), jnp.isfinite(each)))
        count = jnp.int32(len(finite))
        metrics = {
            "loss": averaged_over_devices(value) * count,
            "correct": jnp.sum(right),
            "count": count,
            "finite": finite,
            "gradient_norm": optax.tree.norm(grads),
            "update_norm": optax.tree.norm(updates),
        }
        after = state.replace(
            step=state.step + 1,
            params=put_back(state.params, optax.apply_updates(params, updates)),
            batch_stats=put_back(state.batch_stats, averaged_over_devices(batch_stats)),
            opt_state=opt_state,
        )
        if state.loss_scale is None:
            return after, metrics
        return _unless_overflown(scaled, state, after, metrics)

    return train_step


def skipping_nonfinite(
    train_step: Callable[[TrainState, dict], tuple[TrainState, Metrics]],
) -> Callable[[TrainState, dict], tuple[TrainState, Metrics]]:
    """Have a training step change nothing where its loss or its gradient is not finite.

    Args:
        train_step: of `make_train_step`.

    Returns:
        The same, but for such a step: it counts, and that is all. The metrics are those of the
        step, and `skipped` (bool). An overflow that lowers the loss scale is none of these.
    """

    def step(state: TrainState, batch: dict) -> tuple[TrainState, Metrics]:
        after, metrics = train_step(state, batch)
        sound = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["gradient_norm"])
        sound |= metrics["count"] == 0  # excused: the loss scale falls, and what was learnt is back
        return _only_where(sound, after, state), {**metrics, "skipped": ~sound}

    return step


def make_eval_step(
    model: nn.Module,
    *,
    loss: Loss = losses.cross_entropy,
    correct: Correct = top1,
    preprocess: Preprocess = lambda images: images,
) -> Callable[[dict, dict], Metrics]:
    """Make the evaluation step.

    Args:
        model: the network.
        loss: (logits, labels) -> losses [N].
        correct: (logits, labels) -> bool [N].
        preprocess: as for training.

    Returns:
        `(variables, batch) -> metrics`, with `state.variables` of a training state for instance.
        A batch has `image` [N, H, W, C], `label` int32 [N] and `mask` bool [N]. The metrics are
        `loss`, `correct` and `count` as of a training step, over the images with a true mask, and
        `logits` [N, classes] of every image.
    """

    def eval_step(variables: dict, batch: dict) -> Metrics:
        logits = model.apply(variables, preprocess(to_float(batch["image"])))
        mask = batch["mask"]
        return {
            # `where`, since a product would let a NaN of the padding through.
            "loss": jnp.where(mask, loss(logits, batch["label"]), 0).sum(),
            "correct": jnp.sum(mask & correct(logits, batch["label"])),
            "count": jnp.sum(mask),
            "logits": logits,
        }

    return eval_step


def _unless_overflown(
    scaled: list[DynamicScaleResult], state: TrainState, after: TrainState, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    """Take back a step of which a gradient was not finite, and have it count for nothing."""
    finite = jnp.stack([each.finite for each in scaled])
    # That of the first that overflowed; of none, they are all the same.
    new_scale = jax.tree.map(
        lambda *values: jnp.stack(values)[jnp.argmin(finite)],
        *(each.dynamic_scale for each in scaled),
    )
    finite = finite.all()
    after = _only_where(finite, after, state)
    excused = ~finite & (state.loss_scale.scale > state.loss_scale.minimum_scale)
    # Of a lower scale there is no hope: what ends a run is its loss, be it finite or not.
    metrics = {**metrics, "loss": jnp.where(finite, metrics["loss"], jnp.nan)}
    return after.replace(loss_scale=new_scale), {
        **metrics,
        **{name: jnp.where(excused, 0, metrics[name]) for name in ("loss", "correct", "count")},
        "finite": excused | metrics["finite"],
        "loss_scale": new_scale.scale,
    }


def _only_where(sound: jax.Array, after: TrainState, before: TrainState) -> TrainState:
    """Take back what a step has learnt, unless it is sound."""
    kept = {
        name: jax.tree.map(partial(jnp.where, sound), getattr(after, name), getattr(before, name))
        for name in ("params", "batch_stats", "opt_state")
    }
    return after.replace(**kept)
