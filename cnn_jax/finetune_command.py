"""`cnn-jax finetune` and `cnn-jax probe`: a pretrained network for photographs of one's own."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from cnn_jax.recipe_options import run_options
from cnn_jax.train_command import train_or_exit
from cnn_jax.weights_options import divided, weights_options

if TYPE_CHECKING:  # what needs seconds to import is imported by the commands that use it
    from cnn_jax.data import Dataset
    from cnn_jax.finetuning import Choice, Start

# As in `cnn_jax.finetuning`, which is not imported for the help.
STRATEGIES = ("fine_tuning", "feature_extraction", "gradual_unfreezing", "layer_wise_decay")

_SOURCE_OPTIONS = (
    click.option("--data", required=True, help="A folder of class folders, a .zip or a .csv."),
    click.option(
        "--weights",
        default="efficientnet_lite0",
        help="efficientnet_lite0, a run directory, a file, or hf:OWNER/REPO.",
    ),
    click.option("--model", help="What the weights of a file are of: one of `cnn-jax models`."),
    weights_options,
    click.option("--image-size", type=int, help="Pixels."),
    click.option("--validation", type=float, help="Part of the training images to hold out."),
    click.option("--split-seed", type=int, default=0, help="Seed of the splits."),
    click.option("--skip-bad", is_flag=True, help="Leave out image files that are unusable."),
)


def _source_options(command):
    for option in reversed(_SOURCE_OPTIONS):
        command = option(command)
    return command


@click.command("finetune")
@_source_options
@click.option("--strategy", type=click.Choice(STRATEGIES), help="What is trained when.")
@click.option("--epochs", type=int, help="How often each image is shown.")
@click.option("--batch-size", type=int, help="Images in a batch.")
@click.option("--balance/--no-balance", default=None, help="Weigh the classes.")
@click.option("--statistics", type=click.Choice(["trained", "all", "none"]), help="BatchNorm's.")
@click.option("--flip/--no-flip", default=None, help="Mirror training images at random.")
@click.option("--early-stopping", type=int, help="Epochs without a better one to end a stage.")
@click.option("--hidden", type=int, help="Units of a hidden layer in the head; 512 say.")
@click.option("--learning-rate", type=float, default=1e-3, help="The head's highest.")
@click.option("--seed", type=int, default=0, help="Of everything random but the splits.")
@run_options
def finetune(
    data: str,
    weights: str,
    model: str | None,
    image_size: int | None,
    validation: float | None,
    split_seed: int,
    skip_bad: bool,
    workdir: Path | None,
    how: dict,
    hidden: int | None,
    learning_rate: float,
    seed: int,
    **given,
) -> None:
    """Make a classifier of photographs from a pretrained network.

    What is not said is chosen from the images, and told with its reason.
    """
    from cnn_jax.finetuning import finetuning_recipe, settings

    source = {"split_seed": split_seed, "skip_bad": skip_bad}
    given.update(image_size=image_size, validation=validation)
    dataset, start, choices = _opened(data, weights, model, given, source)
    chosen = {"hidden": hidden, "learning_rate": learning_rate, "seed": seed, **settings(choices)}
    recipe = finetuning_recipe(dataset, start, **chosen)
    workdir = workdir or Path("runs") / f"{dataset.name}-{Path(start.name).name}"
    train_or_exit(recipe, workdir, **how)
    click.echo(f"      cnn-jax predict {shlex.quote(str(workdir))} PHOTOGRAPH...")


@click.command("probe")
@_source_options
@click.option("--neighbours", type=int, default=20, help="How many vote.")
@click.option("--batch-size", type=int, default=32, help="Images looked at together.")
def probe(
    data: str,
    weights: str,
    model: str | None,
    image_size: int | None,
    validation: float | None,
    split_seed: int,
    skip_bad: bool,
    neighbours: int,
    batch_size: int,
    **given,
) -> None:
    """Tell in a minute what the features of a pretrained network are worth for some images.

    They are computed once and kept; on them stand a vote of the nearest neighbours, and a linear
    classifier.
    """
    import jax
    import numpy as np

    from cnn_jax.embeddings import embeddings
    from cnn_jax.linear_probe import linear_probe
    from cnn_jax.neighbours import nearest_neighbours
    from cnn_jax.progress import percent
    from cnn_jax.steps import normalize

    source = {"split_seed": split_seed, "skip_bad": skip_bad}
    given.update(image_size=image_size, validation=validation)
    dataset, start, _ = _opened(data, weights, model, given, source)
    network, variables = start.network(
        dataset.num_classes, dataset.image_shape[:2], jax.random.key(0)
    )

    def preprocess(images):
        return normalize(images, mean=start.preprocessing.mean, std=start.preprocessing.std)

    began = time.perf_counter()
    features = {
        name: embeddings(
            network, variables, split, preprocess=preprocess, batch_size=batch_size, keep=True
        )
        for name, split in _splits(dataset).items()
    }
    labels = {name: split.labels for name, split in _splits(dataset).items()}
    train = features["train"], labels["train"]
    computed = time.perf_counter()
    chosen_by = (features["validation"], labels["validation"]) if "validation" in labels else None
    classify = {
        f"{neighbours} nearest neighbours": lambda x: nearest_neighbours(*train, x, k=neighbours),
        "linear probe": linear_probe(*train, validation=chosen_by),
    }
    table = Table(title=f"{len(train[1]):,} training images", title_justify="left")
    for name in ("method", *(name for name in labels if name != "train")):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method, function in classify.items():
        rights = [
            percent(np.mean(np.argmax(function(features[name]), axis=1) == labels[name]))
            for name in labels
            if name != "train"
        ]
        table.add_row(method, *rights)
    Console(highlight=False).print(table)
    rest = time.perf_counter() - computed
    click.echo(f"features in {computed - began:.1f} s, the rest in {rest:.1f} s")


def _splits(dataset: "Dataset") -> dict:
    splits = {name: getattr(dataset, name) for name in ("train", "validation", "test")}
    return {name: split for name, split in splits.items() if split is not None}


def _opened(
    data: str, weights: str, model: str | None, given: dict, source: dict
) -> tuple["Dataset", "Start", dict[str, "Choice"]]:
    """Look at images, choose what is not given, say so, and load them for the weights."""
    from cnn_jax.data import load
    from cnn_jax.data.inspection import inspect_data
    from cnn_jax.finetuning import Choice, at_size, choose, starting_point

    images, fields, said = divided(given)
    start = starting_point(weights, model, preprocessing=images, **fields)
    choices = choose(inspect_data(data), start)
    choices.update({name: Choice(value, "as you say") for name, value in said.items()})
    _tell({name: choices[name] for name in choices if name in given})
    size = choices["validation"].value
    preprocessing = at_size(start, choices["image_size"].value)
    # Part of it may be assumed.
    Console(highlight=False, soft_wrap=True).print(f"images: {preprocessing}")
    dataset = load(
        data,
        preprocessing=preprocessing,
        validation=int(size) if size >= 1 and float(size).is_integer() else size,
        **source,
    )
    return dataset, start, choices


def _tell(choices: dict[str, "Choice"]) -> None:
    table = Table(title="Chosen for these images", title_justify="left")
    for column in ("option", "value", "why"):
        table.add_column(column)
    for name, choice in choices.items():
        table.add_row(f"--{name.replace('_', '-')}", _shown(choice.value), choice.reason)
    Console(highlight=False).print(table)


def _shown(value) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
