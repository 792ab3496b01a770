"""The three-block CNN in float32, bfloat16 and float16, on 10,000 images of Fashion-MNIST.

    apt-get install dataset-fashion-mnist
    python experiments/fashion_mnist_precision.py

Measured on 2 CPU cores that other work shared (test accuracy and seconds, compilation included):
float32 85.85 % in 95 s, bfloat16 85.69 % in 106 s, float16 86.15 % in 135 s. On a CPU the shorter
types save no time.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax import create_model, load_data, optim, run, schedules
from cnn_jax.cli import call
from cnn_jax.data import Dataset, Subset
from cnn_jax.precision import TYPES
from cnn_jax.recipe import Recipe


def make_recipe(data: Dataset, *, precision: str, images: int = 10_000, epochs: int = 3) -> Recipe:
    """Make the recipe: the first images of a fixed permutation, AdamW, a cosine."""
    chosen = np.random.default_rng(0).permutation(len(data.train))[:images]
    return Recipe(
        model=create_model("three_block_cnn", num_classes=data.num_classes),
        data=replace(data, train=Subset(data.train, np.sort(chosen))),
        optimizer=partial(optim.adamw, weight_decay=0.02),
        schedule=partial(schedules.cosine, learning_rate=2e-3),
        precision=precision,
        epochs=epochs,
        batch_size=64,
    )


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--data", default="/usr/share/datasets/fashion-mnist")
@click.option("--images", default=10_000, help="Training images.")
@click.option("--epochs", default=3)
@click.option("--workdir", type=Path, default="runs/fashion_mnist_precision")
@click.option("--overwrite", is_flag=True, help="Remove the runs that are there.")
def main(data: str, images: int, epochs: int, workdir: Path, overwrite: bool) -> None:
    """Train once in each type and print a table."""
    dataset = load_data(data)
    table = Table(title=f"{images:,} images, {epochs} epochs", title_justify="left")
    for heading in ("type", "test accuracy", "test loss", "seconds"):
        table.add_column(heading, justify="left" if heading == "type" else "right")
    for precision in TYPES:
        recipe = make_recipe(dataset, precision=precision, images=images, epochs=epochs)
        figures = run(recipe, workdir / precision, overwrite=overwrite, quiet=True).figures
        table.add_row(
            precision,
            f"{100 * figures['test_accuracy']:.2f} %",
            f"{figures['test_loss']:.4f}",
            f"{figures['seconds']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    sys.exit(call(main))
