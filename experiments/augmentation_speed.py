"""How many images a second are augmented: ours beside torchvision's and Keras' forms?

    pip install '.[bench]' && python -m experiments.augmentation_speed

Run it in the root of the repository. Four kinds, at 32x32 and 224x224. Ours and Keras' run on
batches as one compiled program each; torchvision's on Pillow images one by one, in a `DataLoader`
of two workers. CutMix is of whole batches in all three, from the same uint8 arrays to float32. All
three are measured in turns, and each time is the median of several.

| kind | ours | torchvision | Keras |
|---|---|---|---|
| flip + crop | mirror, shifted crop by an eighth | the same | the same |
| training set | resized crop, mirror, jitter 0.4, hue 0.1 | the same | zoom instead of crop |
| RandAugment | 2 operations of level 9 | the same | 2 operations, factor 0.3 |
| CutMix | alpha 1 | the same | the same |

Measured on 2 CPU cores that other work shared, images a second; CutMix later, on 2 cores with
little beside it, each the median of five runs of its part:

| kind | size | cnn_jax | torchvision | Keras |
|---|---:|---:|---:|---:|
| flip + crop | 32 | 343,195 | 11,728 | 12,105 |
| training set | 32 | 18,423 | 5,369 | 2,289 |
| RandAugment | 32 | 54,775 | 11,003 | 346 |
| CutMix | 32 | 390,760 | 663,308 | 477,088 |
| flip + crop | 224 | 4,773 | 1,998 | 270 |
| training set | 224 | 678 | 664 | 119 |
| RandAugment | 224 | 884 | 936 | 5 |
| CutMix | 224 | 15,704 | 3,051 | 20,205 |

Ours beside torchvision's: 29.3 and 2.4 times as fast at flip + crop, 3.4 and 1.0 at the training
set, 5.0 and 0.94 at RandAugment, 0.59 and 5.1 at CutMix (0.57 to 1.08 and 3.7 to 6.7 in five runs).
No GPU was at hand, which it is made for.
"""

import importlib
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from cnn_jax import augment
from cnn_jax.cli import call
from cnn_jax.steps import to_float

# Here, for the loader's workers as well: it does without torchvision's compiled operators.
from tests.parity import torch

JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
KINDS = ("flip + crop", "training set", "RandAugment", "CutMix")
CLASSES = 10


def our_function(kind: str, size: int) -> Callable[[jax.Array, np.ndarray, np.ndarray], Any]:
    """Make the compiled function (key, images, labels) -> augmented ones, of a kind."""
    operations = {
        "flip + crop": (augment.random_flip, partial(augment.shifted_crop, padding=size // 8)),
        "training set": (
            augment.random_resized_crop,
            augment.random_flip,
            partial(augment.color_jitter, **JITTER),
        ),
        "RandAugment": (augment.rand_augment,),
        "CutMix": (),
    }[kind]

    @jax.jit
    def function(key: jax.Array, images: jax.Array, labels: jax.Array):
        numbers = jnp.arange(len(images))
        images = augment.augment_batch(
            key, to_float(images), epochs=0 * numbers, identities=numbers, operations=operations
        )
        if kind == "CutMix":
            return augment.cutmix(key, images, jax.nn.one_hot(labels, CLASSES))
        return images, labels

    return function


def keras_function(kind: str, size: int) -> Callable[[np.ndarray, np.ndarray], Any]:
    """Make Keras' compiled function (images, labels) -> augmented ones, of a kind."""
    os.environ["KERAS_BACKEND"] = "jax"
    from keras import layers

    shift, span = 1 / 8, (0, 255)
    chain = {
        "flip + crop": lambda: [
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(shift, shift, fill_mode="constant", interpolation="nearest"),
        ],
        "training set": lambda: [
            layers.RandomZoom((-0.7, 0.0), (-0.7, 0.0)),
            layers.RandomFlip("horizontal"),
            layers.RandomColorJitter(
                span, *(JITTER[name] for name in ("brightness", "contrast", "saturation", "hue"))
            ),
        ],
        "RandAugment": lambda: [layers.RandAugment(span, num_ops=2, factor=0.3)],
        "CutMix": lambda: [layers.CutMix(factor=1.0)],
    }[kind]()

    @jax.jit
    def function(variables, images, labels):
        images = images.astype(jnp.float32)
        given = {"images": images, "labels": jax.nn.one_hot(labels, CLASSES)}
        value, after = (given if kind == "CutMix" else images), []
        for layer, own in zip(chain, variables, strict=True):
            value, own = layer.stateless_call([], own, value, training=True)
            after.append(own)
        return value, after

    sample = np.zeros((2, size, size, 3), np.float32), np.eye(2, CLASSES, dtype=np.float32)
    for layer in chain:  # makes its variables
        layer(
            dict(zip(("images", "labels"), sample, strict=True)) if kind == "CutMix" else sample[0]
        )
    state = [[variable.value for variable in layer.non_trainable_variables] for layer in chain]

    def stepped(images: np.ndarray, labels: np.ndarray):
        nonlocal state
        value, state = function(state, images, labels)
        return value

    return stepped


@dataclass
class Transformed:
    """Labelled Pillow images as PyTorch reads them: one by one, transformed."""

    examples: list[tuple[Image.Image, int]]
    transform: Callable

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int):
        image, label = self.examples[index]
        return self.transform(image), label


@dataclass
class Mapped:
    """What can be run through again and again, mapped."""

    function: Callable
    values: Iterable

    def __iter__(self):
        return map(self.function, self.values)


def torch_batches(kind: str, images: np.ndarray, *, batch_size: int, workers: int) -> Iterable:
    """Make torchvision's: a loader of Pillow images, transformed by workers; CutMix without it."""
    v2 = importlib.import_module("torchvision.transforms.v2")
    to_floats = v2.ToDtype(torch.float32, scale=True)
    labels = np.arange(len(images)) % CLASSES
    if kind == "CutMix":
        mixed, tensors = v2.CutMix(num_classes=CLASSES), torch.from_numpy(images)
        batches = zip(
            tensors.permute(0, 3, 1, 2).contiguous().split(batch_size),
            torch.from_numpy(labels).split(batch_size),
            strict=True,
        )
        return Mapped(lambda batch: mixed(to_floats(batch[0]), batch[1]), list(batches))
    size = images.shape[1]
    transform = {
        "flip + crop": [v2.RandomHorizontalFlip(), v2.RandomCrop(size, padding=size // 8)],
        "training set": [
            v2.RandomResizedCrop(size),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(*JITTER.values()),
        ],
        "RandAugment": [v2.RandAugment(num_ops=2, magnitude=9)],
    }[kind]
    transform = v2.Compose([*transform, v2.PILToTensor(), to_floats])
    examples = list(zip(map(Image.fromarray, images), labels.tolist(), strict=True))
    return torch.utils.data.DataLoader(
        Transformed(examples, transform),
        batch_size=batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        # Not forked: JAX has threads.
        multiprocessing_context="spawn" if workers else None,
    )


def seconds(function: Callable[[], Any]) -> float:
    """Time one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def measure(
    kind: str, size: int, *, images: int, batch_size: int, rounds: int, workers: int
) -> dict[str, float]:
    """Measure a kind at a size, all three in turns.

    Args:
        kind: of `KINDS`.
        size: height and width.
        images: how many in a round.
        batch_size: of each.
        rounds: how often.
        workers: of the DataLoader.

    Returns:
        Images a second, medians, by name.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (batch_size, 8, 8, 3), np.uint8)
    batch = np.stack([np.asarray(Image.fromarray(image).resize((size, size))) for image in coarse])
    labels = np.arange(batch_size) % CLASSES
    ours, keras = our_function(kind, size), keras_function(kind, size)
    repeats = images // batch_size
    loader = torch_batches(
        kind, np.concatenate([batch] * repeats), batch_size=batch_size, workers=workers
    )
    key = jax.random.key(0)

    def our_round(count: int) -> None:
        for step in range(count):  # one after the other, as in training
            jax.block_until_ready(ours(jax.random.fold_in(key, step), batch, labels))

    def keras_round(count: int) -> None:
        for _ in range(count):
            jax.block_until_ready(keras(batch, labels))

    def torch_round(count: int) -> None:
        for _ in itertools.islice(loader, count):
            pass

    programs = {"cnn_jax": our_round, "torchvision": torch_round, "Keras": keras_round}
    times = {name: [] for name in programs}
    for turn in range(rounds + 1):
        for name, program in programs.items():
            if name != "torchvision":
                program(4)  # after another's turn, the first batches wait for memory
            taken = seconds(partial(program, repeats))
            if turn:  # the first compiles, and starts the workers
                times[name].append(taken)
    return {name: repeats * batch_size / statistics.median(taken) for name, taken in times.items()}


@click.command(help=__doc__)
@click.option("--images-32", default=4096, help="32x32 in a round.")
@click.option("--images-224", default=256, help="224x224 in a round.")
@click.option("--rounds", default=5)
@click.option("--workers", default=2, help="Of the DataLoader.")
def main(images_32: int, images_224: int, rounds: int, workers: int) -> None:
    """Measure all kinds at both sizes."""
    table = Table(title=f"images a second, {jax.default_backend()}", title_justify="left")
    for column in ("kind", "size", "cnn_jax", "torchvision", "Keras"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for size, images, batch_size in ((32, images_32, 256), (224, images_224, 32)):
        for kind in KINDS:
            found = measure(
                kind,
                size,
                images=images,
                batch_size=min(batch_size, images),
                rounds=rounds,
                workers=workers,
            )
            table.add_row(kind, str(size), *(f"{rate:,.0f}" for rate in found.values()))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(call(main))
