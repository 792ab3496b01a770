"""The command `cnn-jax augment`: a picture of what a training would show."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnn_jax import ranges
from cnn_jax.errors import InputError, nearest
from cnn_jax.recipe_options import augment_options, augmentation_from, data_options, load
from cnn_jax.train_command import check_picture

if TYPE_CHECKING:
    import numpy as np

    from cnn_jax.data import Dataset


@click.command("augment")
@click.argument("data")
@click.option(
    "--recipe",
    metavar="FILE.py[:NAME]",
    help="An experiment, instead of the options: its `make_recipe`, or NAME in its `RECIPES`.",
)
@augment_options
@click.option("--images", type=int, default=6, help="Training images, the first of an epoch.")
@click.option("--epochs", type=int, default=7, help="Versions of each.")
@click.option("--seed", type=int, default=0, help="Of the run.")
@click.option("--out", type=click.Path(path_type=Path), default="augmented.png")
@data_options
def draw_augmented(
    data: str, recipe: str | None, images: int, epochs: int, seed: int, out: Path, **options
) -> None:
    """Draw training images of DATA beside augmented ones.

    What is drawn is what a run with that seed is shown in its first epochs.

    \b
    cnn-jax augment photographs/ --flip --augment rand_augment
    cnn-jax augment photographs/ --recipe experiments/cifar10_cnn.py
    """
    from cnn_jax.evaluate import plots
    from cnn_jax.rundir import replacing

    check_picture(out)
    for name, value in (("images", images), ("epochs", epochs)):
        ranges.whole(name, value, remedy="6 for instance")
    maker = None if recipe is None else recipe_maker(recipe)
    dataset = load(data, options)
    if maker is None:
        augmentation = augmentation_from(options)
    else:
        made = maker(dataset, seed=seed)
        augmentation = {"augment": made.augment, "mix": made.mix}
    originals, versions = augmented_images(
        dataset, images=images, epochs=epochs, seed=seed, **augmentation
    )
    with replacing(out) as path:
        plots.augmented(originals, versions, path)
    click.echo(f"{len(originals)} images of {dataset.name}, {epochs} versions of each: {out}")


def augmented_images(
    dataset: "Dataset", *, images: int, epochs: int, seed: int, **augmentation
) -> tuple["np.ndarray", "np.ndarray"]:
    """Make what a run would be shown of some training images.

    Args:
        dataset: where they are from.
        images: how many, the first of an epoch.
        epochs: how many, from 0.
        seed: of the run.
        augmentation: `augment` and `mix`, as of `Recipe`. Images are mixed with one another here.

    Returns:
        The images as they are, [N, H, W, C], and float32 [N, epochs, h, w, C] between 0 and 1.
    """
    import jax
    import numpy as np

    from cnn_jax.data.batches import train_batch
    from cnn_jax.state import run_key
    from cnn_jax.steps import shown
    from cnn_jax.train import with_soft_labels

    mix = with_soft_labels(augmentation["mix"], dataset.num_classes)
    batch = train_batch(dataset.train, seed, 0, batch_size=min(images, len(dataset.train)))
    key = run_key(jax.random.key(seed))

    @jax.jit
    def version(epoch):
        now = {**batch, "epoch": 0 * batch["epoch"] + epoch}
        return shown(key, epoch, now, augment=augmentation["augment"], mix=mix)[0]

    versions = np.stack([version(epoch) for epoch in range(epochs)], axis=1)
    return batch["image"], versions


def recipe_maker(place: str) -> Callable:
    """Find the function that makes an experiment's recipe.

    Args:
        place: FILE.py, or FILE.py:NAME.

    Returns:
        `(dataset, seed=) -> Recipe`.

    Raises:
        InputError: there is no such file, or no such recipe in it.
    """
    path, _, name = place.partition(":")
    if not Path(path).is_file() or Path(path).suffix != ".py":
        raise InputError(f"`recipe` (={place}) must be a Python file, FILE.py or FILE.py:NAME")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    makers = dict(getattr(module, "RECIPES", {}))
    if hasattr(module, "make_recipe"):
        makers = {"make_recipe": module.make_recipe, **makers}
    if not makers:
        raise InputError(f"`recipe` (={place}) has neither `make_recipe` nor `RECIPES`")
    if name and name not in makers:
        raise InputError(f"`recipe` (={place}) has no {name!r}: {nearest(name, list(makers))}")
    return makers[name or next(iter(makers))]
