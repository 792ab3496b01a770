"""The parts around the step: the input pipeline alone, augmentation alone, and an epoch of all."""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np

from cnn_jax import augment, create_model, optim, run, schedules
from cnn_jax.data import ArraySource, Dataset
from cnn_jax.data.batches import train_batch
from cnn_jax.data.prefetch import prefetched
from cnn_jax.recipe import Recipe

OPERATIONS = (augment.random_flip, partial(augment.shifted_crop, padding=4))


def made_up(images: int) -> Dataset:
    """Draw images of CIFAR's shape, uint8, with labels."""
    rng = np.random.default_rng(0)

    def source(count: int) -> ArraySource:
        pixels = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return ArraySource(pixels, rng.integers(0, 10, count, dtype=np.int32))

    return Dataset(
        name="made up",
        train=source(images),
        validation=source(images // 4),
        test=source(images // 4),
        class_names=tuple("0123456789"),
    )


def rates(*, images: int, batch_size: int, turns: int) -> list[dict]:
    """Measure the input pipeline and the augmentation, each alone, in turns.

    Args:
        images: of the data.
        batch_size: of each.
        turns: epochs of each.

    Returns:
        Rows: what, and images a second.
    """
    source, key = made_up(images).train, jax.random.key(0)
    steps = images // batch_size
    read = partial(train_batch, source, 0, batch_size=batch_size)
    batch = jax.device_put(read(0))

    @jax.jit
    def augmented(batch, step):
        return augment.augment_batch(
            jax.random.fold_in(key, step), batch["image"].astype(np.float32) / 255,
            epochs=batch["epoch"], identities=batch["id"], operations=OPERATIONS,
        )  # fmt: skip

    def fed(first: int) -> None:
        for made in prefetched(
            lambda step: jax.device_put(read(step)), range(first, first + steps)
        ):
            jax.block_until_ready(made)

    def changed(first: int) -> None:
        for step in range(first, first + steps):
            augmented(batch, step).block_until_ready()

    seconds: dict = {fed: [], changed: []}
    for turn in range(turns + 1):
        for each, taken in seconds.items():
            began = time.perf_counter()
            each(turn * steps)
            if turn:
                taken.append(time.perf_counter() - began)
    names = {fed: "input pipeline alone", changed: "flip and shifted crop alone"}
    return [
        {"what": names[each], "images/s": steps * batch_size / statistics.median(taken)}
        for each, taken in seconds.items()
    ]


def epochs(model: str, *, images: int, batch_size: int, count: int = 3) -> list[dict]:
    """Train for some epochs from data to metrics, validation and checkpoints included.

    Args:
        model: its name.
        images: of the data.
        batch_size: of each.
        count: epochs; the first compiles.

    Returns:
        Rows: what, and images a second.
    """
    recipe = Recipe(
        model=create_model(model, num_classes=10),
        data=made_up(images),
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.cosine, learning_rate=0.01),
        augment=OPERATIONS,
        epochs=count,
        batch_size=batch_size,
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = run(recipe, Path(folder) / "run", quiet=True)
        whole = time.perf_counter() - began
    later = [record["images_per_second"] for record in result.history[1:]]
    return [
        {"what": f"{model}: epochs after the first, data to metrics",
         "images/s": statistics.median(later)},
        {"what": f"{model}: the run of {count} epochs, compilation to test",
         "images/s": count * images / whole},
    ]  # fmt: skip
