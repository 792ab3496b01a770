"""The command line: commands over the public functions."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cnn_jax import __version__, models, optim, schedules
from cnn_jax.errors import InputError

# Exit codes, besides 0 for success and 1 for a defect of ours.
BAD_INPUT = 2
DIVERGED = 3
SIGNALLED = 128  # plus the number of the signal: 130 for Ctrl-C, 143 for SIGTERM

_OPTIMIZERS = {"sgd": optim.sgd, "adam": optim.adam, "adamw": optim.adamw}
_SCHEDULES = {
    "constant": schedules.constant, "cosine": schedules.cosine, "step": schedules.step,
}  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cnn_jax() -> None:
    """Image classification with convolutional networks in JAX."""


def data_options(command: Callable) -> Callable:
    """Add the options that choose and split a dataset."""
    for option in reversed(
        [
            click.option(
                "--validation",
                type=float,
                default=0.1,
                help="Training images to hold out: a fraction, a number from 1, or 0 for none.",
            ),
            click.option("--split-seed", type=int, default=0, help="Seed of the splits."),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                help="Where prepared TFDS datasets lie.",
            ),
        ]
    ):
        command = option(command)
    return command


def run_options(command: Callable) -> Callable:
    """Add the options that say where a run goes and what may happen to one that is there."""
    for option in reversed(
        [
            click.option(
                "--workdir", type=click.Path(path_type=Path), help="Run directory.  [default: runs/...]"
            ),
            click.option("--resume", is_flag=True, help="Continue the run that is there."),
            click.option("--overwrite", is_flag=True, help="Remove the run that is there."),
        ]
    ):
        command = option(command)
    return command


@cnn_jax.command()
@click.option("--data", default="digits", help="digits, tfds:NAME, a folder of IDX files, an .npz.")
@data_options
@click.option("--model", default="simple_cnn", help="One of `cnn-jax models`.")
@click.option("--epochs", type=int, default=40)
@click.option("--batch-size", type=int, default=64)
@click.option("--optimizer", type=click.Choice(list(_OPTIMIZERS)), default="adamw")
@click.option("--learning-rate", type=float, default=1e-3)
@click.option("--momentum", type=float, help="Of sgd.  [default: 0.9]")
@click.option("--weight-decay", type=float, help="Of sgd and adamw.")
@click.option("--schedule", type=click.Choice(list(_SCHEDULES)), default="cosine")
@click.option("--flip", is_flag=True, help="Mirror training images at random.")
@click.option("--shift", type=int, default=1, help="Shift training images by up to so many pixels.")
@click.option("--seed", type=int, default=0, help="Of everything random but the splits.")
@click.option("--checkpoint-every", type=int, help="Steps.  [default: once an epoch]")
@run_options
def train(
    data: str,
    model: str,
    workdir: Path | None,
    resume: bool,
    overwrite: bool,
    validation: float,
    split_seed: int,
    data_dir: Path | None,
    optimizer: str,
    learning_rate: float,
    momentum: float | None,
    weight_decay: float | None,
    schedule: str,
    flip: bool,
    shift: int,
    **settings,
) -> None:
    """Train a model, and evaluate it on the test images.

    Without options: the small CNN on scikit-learn's handwritten digits.
    """
    from cnn_jax import augment
    from cnn_jax.recipe import Recipe

    models.create_model(model)  # a wrong name should not wait for the data
    dataset = _load(data, validation, split_seed, data_dir)
    given = {"momentum": momentum, "weight_decay": weight_decay}
    given = {name: value for name, value in given.items() if value is not None}
    recipe = Recipe(
        model=models.create_model(model, num_classes=dataset.num_classes),
        data=dataset,
        optimizer=_with_options(_OPTIMIZERS[optimizer], given),
        schedule=partial(_SCHEDULES[schedule], learning_rate=learning_rate),
        augment=(
            *((augment.random_flip,) if flip else ()),
            *((partial(augment.shifted_crop, padding=shift),) if shift else ()),
        ),
        **settings,
    )
    workdir = workdir or Path("runs") / f"{dataset.name.replace(':', '-')}-{model}"
    _train(recipe, workdir, resume=resume, overwrite=overwrite)


@cnn_jax.command("models")
@click.argument("pattern", default="*")
def list_models(pattern: str) -> None:
    """List the models whose names match PATTERN."""
    names = models.list_models(pattern)
    if not names:
        models.create_model(pattern)  # raises, with the nearest names
    click.echo("\n".join(names))


@cnn_jax.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Other data than the run's own; its test split is used.")
@data_options
def evaluate(
    run: Path, data: str | None, validation: float, split_seed: int, data_dir: Path | None
) -> None:
    """Evaluate the best checkpoint of RUN on test images, and print it class by class."""
    raise NotImplementedError


def experiment(make_recipe: Callable, *, default_data: str) -> Callable:
    """Make a command of an experiment.

    Args:
        make_recipe: (data, epochs=..., seed=...) -> recipe; without epochs, its own number.
        default_data: name or path of the data it was measured on.

    Returns:
        A click command that runs one or several seeds and prints their mean and deviation.
    """
    raise NotImplementedError


def main() -> None:
    """Run the command line, with bad input told in a sentence."""
    sys.exit(call(cnn_jax))


def call(command: click.Command) -> int:
    """Call a command with the arguments of the process.

    Returns:
        The exit code.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        command(standalone_mode=False)
    except InputError as error:
        console.print(f"error: {error}", markup=False)
        return BAD_INPUT
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return SIGNALLED + 2
    return 0
