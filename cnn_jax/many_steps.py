"""Several training steps in one dispatch: the host speaks to the device once for all of them.

Small networks take less time for a step than the host needs to send one off; in a loop on the
device nothing waits for the host. Each step is the one that `make_train_step` makes, in order, but
a compiler may round otherwise in a loop. So a recipe says how many go together, and where they are
cut follows from it alone: a run that is continued takes each step as one that was never stopped.
"""

from collections.abc import Callable, Iterator
from typing import Any

from jax import lax

from cnn_jax.data.batches import epochs_done, total_steps

Step = Callable[[Any, dict], tuple[Any, dict]]


def many_steps(train_step: Step) -> Step:
    """Make one function of as many training steps as it gets batches.

    Args:
        train_step: (state, batch) -> (state, metrics), of `make_train_step`.

    Returns:
        (state, batches) -> (state, metrics): of each array of the batches the first axis counts
        the steps, as `data.batches.train_batches` gives them, and so it is with the metrics. To be
        jit-compiled with the state donated; one program for each number of steps.

    >>> import jax, jax.numpy as jnp
    >>> count = many_steps(lambda state, batch: (state + batch["image"], {"loss": state}))
    >>> state, metrics = jax.jit(count)(jnp.float32(1), {"image": jnp.arange(1.0, 4.0)})
    >>> state.item(), metrics["loss"].tolist()
    (7.0, [1.0, 2.0, 4.0])
    """
    return lambda state, batches: lax.scan(train_step, state, batches)


def dispatches(
    steps: range, most: int, *, batch_size: int, size: int, checkpoint_every: int | None = None
) -> Iterator[range]:
    """Cut steps into those that are taken together.

    After those that end an epoch or have a checkpoint due, the host has something to do: no
    dispatch goes beyond. What is left before them is taken one by one, so that there are two
    programs to compile and no more.

    Args:
        steps: from the end of one such dispatch to the end of a phase; counted from 0.
        most: how many are taken together.
        batch_size: images in a batch.
        size: images in an epoch.
        checkpoint_every: steps between checkpoints; None for none but at the ends of epochs.

    Yields:
        `most` steps or one, in order; those of a part that begins at an end are as in the whole.

    >>> [len(each) for each in dispatches(range(20), 4, batch_size=8, size=80)]
    [4, 4, 1, 1, 4, 4, 1, 1]
    """
    first = steps.start
    while first < steps.stop:
        done = epochs_done(first, batch_size=batch_size, size=size)
        cuts = [steps.stop, total_steps(done + 1, batch_size=batch_size, size=size)]
        if checkpoint_every:
            cuts.append((first // checkpoint_every + 1) * checkpoint_every)
        together = most if first + most <= min(cuts) else 1
        yield range(first, first + together)
        first += together
