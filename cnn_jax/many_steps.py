"""Several training steps in one dispatch: the host speaks to the device once for all of them.

Small networks take less time for a step than the host needs to send one off; in a loop on the
device nothing waits for the host. Each step is the one that `make_train_step` makes, in order.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax import ranges
from cnn_jax.data.batches import batch_positions
from cnn_jax.errors import InputError

Step = Callable[[Any, dict], tuple[Any, dict]]


def many_steps(train_step: Step) -> Callable[[Any, dict], tuple[Any, dict]]:
    """Make one function of as many training steps as it gets batches.

    Args:
        train_step: (state, batch) -> (state, metrics), of `make_train_step`.

    Returns:
        (state, batches) -> (state, metrics): of each array of the batches the first axis counts
        the steps, and so it is with the metrics. To be jit-compiled with the state donated; one
        program for each number of steps.

    >>> import jax, jax.numpy as jnp
    >>> count = many_steps(lambda state, batch: (state + batch["image"], {"loss": state}))
    >>> state, metrics = jax.jit(count)(jnp.float32(1), {"image": jnp.arange(1.0, 4.0)})
    >>> state.item(), metrics["loss"].tolist()
    (7.0, [1.0, 2.0, 4.0])
    """
    return lambda state, batches: lax.scan(train_step, state, batches)


def many_steps_on_device(train_step: Step) -> Callable[[Any, dict, dict], tuple[Any, dict]]:
    """Make one function of many training steps on images that already lie on the device.

    Args:
        train_step: (state, batch) -> (state, metrics), of `make_train_step`.

    Returns:
        (state, data, chosen) -> (state, metrics): `data` holds all images and labels, `image`
        [M, H, W, C] and `label` [M, ...]; `chosen`, of `chosen_positions`, says which of them make
        up the batch of each step. The metrics of step k are at position k of their first axis. To
        be jit-compiled with the state donated, and with nothing else donated.

    >>> import jax.numpy as jnp
    >>> steps = many_steps_on_device(lambda state, batch: (state + batch["label"].sum(), {}))
    >>> data = {"image": jnp.zeros((4, 1, 1, 1)), "label": jnp.array([1, 2, 4, 8])}
    >>> chosen = chosen_positions(0, range(2), batch_size=2, size=4)
    >>> steps(jnp.int32(0), data, chosen)[0].item()  # two batches of two: each of the four once
    15
    """

    def steps(state: Any, data: dict, chosen: dict) -> tuple[Any, dict]:
        def step(state: Any, each: dict) -> tuple[Any, dict]:
            batch = {name: array[each["id"]] for name, array in data.items()}
            return train_step(state, {**batch, **each})

        return lax.scan(step, state, chosen)

    return steps


def chosen_positions(
    seed: int, steps: range, *, batch_size: int, size: int
) -> dict[str, np.ndarray]:
    """Say which images make up the batches of some steps: the same as `data.batches.train_batch`.

    Args:
        seed: seed of the order.
        steps: the steps, from 0; one or more.
        batch_size: images in a batch.
        size: images in all.

    Returns:
        int32 [K, batch_size] each: `id`, positions in the data, and `epoch`.

    >>> chosen_positions(0, range(1, 3), batch_size=4, size=6)["epoch"].tolist()
    [[0, 0, 1, 1], [1, 1, 1, 1]]
    """
    pairs = [batch_positions(seed, step, batch_size=batch_size, size=size) for step in steps]
    ids, epochs = (np.stack(each).astype(np.int32) for each in zip(*pairs, strict=True))
    return {"id": ids, "epoch": epochs}


def shuffled_positions(
    key: jax.Array, epochs: range, *, batch_size: int, size: int
) -> dict[str, jax.Array]:
    """Draw which images make up the batches of whole epochs, on the device and under `jax.jit`.

    Unlike `chosen_positions`, what is left over at the end of an epoch is not shown in it.

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
