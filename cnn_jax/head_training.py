"""Training a head alone, on features that were computed once: seconds instead of minutes."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from cnn_jax import losses, optim, schedules
from cnn_jax.data.batches import batch_positions
from cnn_jax.errors import InputError
from cnn_jax.steps import Loss


class TrainedHead(NamedTuple):
    """What a head has learnt.

    Attributes:
        params: those of the best epoch by the validation features, or of the last without any.
        epoch: that epoch, from 1.
        accuracy: on the validation features then; None where there were none.
    """

    params: dict
    epoch: int
    accuracy: float | None


def train_head(
    head: nn.Module,
    params: dict,
    features: ArrayLike,
    labels: ArrayLike,
    *,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optim.adamw,
    schedule: Callable[[int], optax.Schedule] = partial(schedules.cosine, learning_rate=1e-3),
    loss: Loss = losses.cross_entropy,
    epochs: int = 50,
    batch_size: int = 64,
    seed: int = 0,
) -> TrainedHead:
    """Train a head as a run would with all else frozen and without augmentation.

    Args:
        head: of `cnn_jax.models.heads.feature_head`.
        params: its parameters, of `get_head`.
        features: float [N, D], of `cnn_jax.embeddings.embeddings`.
        labels: int [N].
        validation: features [n, D] and labels [n], which the best epoch is chosen by.
        optimizer: learning-rate schedule -> Optax transformation.
        schedule: number of steps -> Optax schedule.
        loss: (logits [N, K], labels [N]) -> losses [N].
        epochs: how often each feature is shown.
        batch_size: features in a batch; at most N.
        seed: of the order and of dropout.

    Returns:
        The parameters, for `put_head`.

    Raises:
        InputError: `epochs` or `batch_size` is below 1, or there is not one label for each feature.

    >>> from cnn_jax.models.heads import FeatureHead
    >>> from cnn_jax import layers
    >>> head = FeatureHead(layers.Dense(2))
    >>> features, labels = np.array([[-1.0], [1.0], [-2.0], [2.0]]), np.array([0, 1, 0, 1])
    >>> params = head.init(jax.random.key(0), jnp.ones((1, 1)))["params"]
    >>> schedule = partial(schedules.cosine, learning_rate=0.3)
    >>> found = (features, labels)
    >>> train_head(head, params, *found, validation=found, schedule=schedule).accuracy
    1.0
    """
    features, labels = jnp.asarray(features, jnp.float32), jnp.asarray(labels)
    _check(features, labels, epochs=epochs, batch_size=batch_size)
    size = len(labels)
    batch_size = min(batch_size, size)
    steps = math.ceil(size / batch_size)
    tx = optimizer(schedule(epochs * steps))
    run_epoch, judge = _epoch_runner(head, tx, loss, seed), jax.jit(partial(_judge, head))
    if validation is not None:
        validation = (jnp.asarray(validation[0], jnp.float32), jnp.asarray(validation[1]))
    best, lowest = TrainedHead(params, 0, None), math.inf
    opt_state = tx.init(params)
    for epoch in range(1, epochs + 1):
        numbers = range((epoch - 1) * steps, epoch * steps)
        positions = np.stack(
            [batch_positions(seed, n, batch_size=batch_size, size=size)[0] for n in numbers]
        )
        params, opt_state = run_epoch(params, opt_state, features, labels, positions, numbers[0])
        if validation is None:
            best = TrainedHead(params, epoch, None)
            continue
        value, accuracy = judge(params, *validation)
        if value < lowest:
            best, lowest = TrainedHead(params, epoch, float(accuracy)), value
    return best


def _check(features: jax.Array, labels: jax.Array, **counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"`{name}` (={value}) must be at least 1")
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise InputError(
            f"`features` {features.shape} and `labels` {labels.shape} must be [N, D] and [N]"
        )


def _epoch_runner(head: nn.Module, tx: optax.GradientTransformation, loss: Loss, seed: int):
    key = jax.random.key(seed)

    @jax.jit
    def run_epoch(params, opt_state, features, labels, positions, first):
        def step(carry, batch):
            params, opt_state = carry
            chosen, number = batch
            rngs = {"dropout": jax.random.fold_in(key, number)}

            def mean_loss(params):
                logits = head.apply({"params": params}, features[chosen], train=True, rngs=rngs)
                return loss(logits, labels[chosen]).mean()

            updates, opt_state = tx.update(jax.grad(mean_loss)(params), opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), None

        numbers = first + jnp.arange(len(positions))
        return jax.lax.scan(step, (params, opt_state), (positions, numbers))[0]

    return run_epoch


def _judge(
    head: nn.Module, params: dict, features: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the mean cross-entropy and the accuracy."""
    logits = head.apply({"params": params}, features)
    value = losses.cross_entropy(logits, labels).mean()
    return value, jnp.mean(logits.argmax(-1) == labels)
