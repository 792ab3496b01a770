"""Whole epochs of training on the device: images, order and steps, without a word from the host."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.many_steps import Step


def many_steps_on_device(train_step: Step) -> Callable[[Any, dict, dict], tuple[Any, dict]]:
    """Make one function of many training steps on images that already lie on the device.

    Args:
        train_step: (state, batch) -> (state, metrics), of `make_train_step`.

    Returns:
        (state, data, chosen) -> (state, metrics): `data` holds all images and labels, `image`
        [M, H, W, C] and `label` [M, ...]; `chosen`, of `shuffled_positions`, says which of them
        make up the batch of each step. The metrics of step k are at position k of their first
        axis. To be jit-compiled with the state donated, and with nothing else donated.

    >>> steps = many_steps_on_device(lambda state, batch: (state + batch["label"].sum(), {}))
    >>> data = {"image": jnp.zeros((4, 1, 1, 1)), "label": jnp.array([1, 2, 4, 8])}
    >>> chosen = shuffled_positions(jax.random.key(0), range(1), batch_size=2, size=4)
    >>> steps(jnp.int32(0), data, chosen)[0].item()  # two batches of two: each of the four once
    15
    """

    def steps(state: Any, data: dict, chosen: dict) -> tuple[Any, dict]:
        def step(state: Any, each: dict) -> tuple[Any, dict]:
            batch = {name: array[each["id"]] for name, array in data.items()}
            return train_step(state, {**batch, **each})

        return lax.scan(step, state, chosen)

    return steps


def shuffled_positions(
    key: jax.Array, epochs: range, *, batch_size: int, size: int
) -> dict[str, jax.Array]:
    """Draw which images make up the batches of whole epochs, on the device and under `jax.jit`.

    Unlike in `data.batches`, what is left over at the end of an epoch is not shown in it.

    Args:
        key: random key; an epoch's order is that of `fold_in(key, epoch)`.
        epochs: the epochs, from 0; one or more.
        batch_size: images in a batch.
        size: images in all.

    Returns:
        int32 [len(epochs) * (size // batch_size), batch_size] each: `id`, positions in the data,
        and `epoch`.

    Raises:
        InputError: a batch has no image, or more than there are.

    >>> drawn = shuffled_positions(jax.random.key(0), range(2), batch_size=3, size=7)
    >>> drawn["epoch"].tolist()
    [[0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]]
    >>> len(set(drawn["id"][:2].ravel().tolist()))
    6
    """
    ranges.whole("batch_size", batch_size, remedy="2000 is that of the CIFAR-10 record")
    if batch_size > size:
        raise InputError(
            f"`batch_size` (={batch_size}) must not exceed the {size} images: choose a smaller one"
        )
    numbers = jnp.arange(epochs.start, epochs.stop, epochs.step, dtype=jnp.int32)
    whole = size // batch_size * batch_size

    def order(epoch: jax.Array) -> jax.Array:
        return jax.random.permutation(jax.random.fold_in(key, epoch), size)[:whole]

    positions = jax.vmap(order)(numbers).astype(jnp.int32).reshape(-1, batch_size)
    shown = jnp.repeat(numbers, size // batch_size)[:, None]
    return {"id": positions, "epoch": jnp.broadcast_to(shown, positions.shape)}
