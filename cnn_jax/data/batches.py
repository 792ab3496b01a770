"""Batches as functions of (seed, step)."""

import functools
import math
from collections.abc import Iterator
from functools import partial

import numpy as np

from cnn_jax.data.source import Source
from cnn_jax.errors import InputError

Batch = dict[str, np.ndarray]


def total_steps(epochs: int, *, batch_size: int, size: int) -> int:
    """Count the steps that show each of `size` images at least `epochs` times.

    >>> total_steps(2, batch_size=32, size=100)
    7
    """
    return math.ceil(epochs * size / batch_size)


def epochs_done(step: int, *, batch_size: int, size: int) -> int:
    """Count the epochs that are complete after `step` steps.

    >>> [epochs_done(step, batch_size=32, size=100) for step in (3, 4, 7)]
    [0, 1, 2]
    """
    return step * batch_size // size


def batch_positions(
    seed: int, step: int, *, batch_size: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Say which images make up the batch of a step.

    The batches are cut from one endless stream: a fresh permutation of all images for each
    epoch, one after the other. So every image is shown exactly once an epoch, none is dropped at
    its end, and a batch may hold the end of one epoch and the beginning of the next.

    Args:
        seed: seed of the permutations.
        step: the step, from 0.
        batch_size: images in a batch.
        size: images in the source.

    Returns:
        int64 [batch_size] positions in the source, and int32 [batch_size] epochs they belong to.

    >>> positions, epochs = batch_positions(0, 1, batch_size=4, size=6)
    >>> epochs
    array([0, 0, 1, 1], dtype=int32)
    """
    stream = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(stream, size)
    positions = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        positions[chosen] = _permutation(seed, int(epoch), size)[offsets[chosen]]
    return positions, epochs.astype(np.int32)


def train_batch(
    source: Source, seed: int, step: int, *, batch_size: int, part: tuple[int, int] = (0, 1)
) -> Batch:
    """Read the training batch of a step, or a process's part of it.

    Args:
        source: the training images.
        seed: seed of the order.
        step: the step, from 0.
        batch_size: images in a batch, of all processes together.
        part: (k, n) for the k-th of n equal parts, which lie one after the other in the batch.

    Returns:
        `image` [B, H, W, C] as the source stores it, and int32 [B] each: `label`, `id` (the
        position in the source), `epoch`.

    Raises:
        InputError: the batch has no n equal parts.
    """
    own = _own_rows(batch_size, part)
    positions, epochs = batch_positions(seed, step, batch_size=batch_size, size=len(source))
    return _read(source, positions[own], epochs[own])


def train_batches(
    source: Source,
    seed: int,
    steps: range,
    *,
    batch_size: int,
    part: tuple[int, int] = (0, 1),
) -> Batch:
    """Read the training batches of several steps at once, or a process's part of each.

    Args:
        source: the training images.
        seed: seed of the order.
        steps: the steps, from 0; one or more.
        batch_size: images in a batch, of all processes together.
        part: as of `train_batch`.

    Returns:
        What `train_batch` gives, one after the other: `image` [K, B, H, W, C], and [K, B] each:
        `label`, `id`, `epoch`.

    Raises:
        InputError: the batch has no n equal parts.
    """
    own = _own_rows(batch_size, part)
    order = partial(batch_positions, seed, batch_size=batch_size, size=len(source))
    positions, epochs = (np.concatenate(each) for each in zip(*(
        [chosen[own] for chosen in order(step)] for step in steps
    ), strict=True))  # fmt: skip
    return {
        name: array.reshape(len(steps), -1, *array.shape[1:])
        for name, array in _read(source, positions, epochs).items()
    }


def eval_batches(
    source: Source, *, batch_size: int, part: tuple[int, int] = (0, 1)
) -> Iterator[Batch]:
    """Read every image once, in order, in batches of one shape, or a process's part of each.

    Args:
        source: the images.
        batch_size: images in a batch, of all processes together; the last one is filled up with
            image 0, masked.
        part: as of `train_batch`.

    Yields:
        `image` [B, H, W, C], `label` int32 [B], and `mask` bool [B], False where filled up.

    Raises:
        InputError: the batch has no n equal parts.
    """
    own = _own_rows(batch_size, part)
    for start in range(0, len(source), batch_size):
        positions = np.arange(start, start + batch_size)[own]
        mask = positions < len(source)
        positions = np.where(mask, positions, 0)
        yield {"image": source.read(positions), "label": source.labels[positions], "mask": mask}


def _read(source: Source, positions: np.ndarray, epochs: np.ndarray) -> Batch:
    return {
        "image": source.read(positions),
        "label": source.labels[positions],
        "id": positions.astype(np.int32),
        "epoch": epochs,
    }


def _own_rows(batch_size: int, part: tuple[int, int]) -> slice:
    number, parts = part
    if batch_size % parts:
        raise InputError(
            f"`batch_size` (={batch_size}) must be divisible by the {parts} processes that share "
            f"a batch: choose {math.ceil(batch_size / parts) * parts}"
        )
    share = batch_size // parts
    return slice(number * share, (number + 1) * share)


@functools.lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    # Philox is counter-based: its key alone says which stream it is, so no epoch needs another.
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(size)
