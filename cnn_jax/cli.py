"""The command line: commands over the public functions."""

import shlex
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cnn_jax import __version__, models, optim, schedules
from cnn_jax.errors import InputError
from cnn_jax.predict_command import predict_images

if TYPE_CHECKING:  # what needs seconds to import is imported by the commands that use it
    import flax.linen as nn

    from cnn_jax.data import Dataset
    from cnn_jax.recipe import Recipe
    from cnn_jax.train import Result

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
                "--workdir",
                type=click.Path(path_type=Path),
                help="Run directory.  [default: runs/DATA-MODEL]",
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
@click.option("--epochs", type=int, default=30)
@click.option("--batch-size", type=int, default=32)
@click.option("--optimizer", type=click.Choice(list(_OPTIMIZERS)), default="adamw")
@click.option("--learning-rate", type=float, default=3e-3)
@click.option("--momentum", type=float, help="Of sgd.  [default: 0.9]")
@click.option("--weight-decay", type=float, help="Of sgd and adamw.")
@click.option("--schedule", type=click.Choice(list(_SCHEDULES)), default="cosine")
@click.option("--flip", is_flag=True, help="Mirror training images at random.")
@click.option("--shift", type=int, default=0, help="Shift training images by up to so many pixels.")
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
        model=_model_for(model, dataset),
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


@cnn_jax.command("summary")
@click.argument("model")
@click.option("--image-size", type=int, help="Pixels.  [default: what the model is meant for]")
@click.option("--num-classes", type=int, help="Outputs.  [default: those of the published model]")
@click.option("--batch-size", type=int, default=1, help="Images, for the estimate of memory.")
def summarise(model: str, image_size: int | None, num_classes: int | None, batch_size: int) -> None:
    """Show the layers of MODEL: shapes, parameters, multiply-adds, and the totals."""
    from cnn_jax.inspect import summary, table

    options = {} if num_classes is None else {"num_classes": num_classes}
    record = summary(models.create_model(model, **options), image_size)
    # As wide as the table, where the output is no terminal.
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(table(record, batch_size=batch_size))


@cnn_jax.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Test images from elsewhere.  [default: those of the run]")
def evaluate_run(run: Path, data: str | None) -> None:
    """Evaluate the best checkpoint of RUN on its test images."""
    from cnn_jax.trained import evaluate_on, load_run

    trained = load_run(run)
    dataset = trained.load_data(data)
    tally = evaluate_on(trained, dataset).tally
    click.echo(
        f"step {trained.step:,} of {run} on the test images of {dataset.name}: "
        f"accuracy {100 * tally.accuracy:.2f} % ({tally.correct:,} of {tally.count:,}), "
        f"loss {tally.mean_loss:.4f}"
    )


cnn_jax.add_command(predict_images)


def experiment(make_recipe: Callable, *, data: str, name: str) -> None:
    """Run an experiment's command line: one or several seeds, and their mean and deviation.

    Args:
        make_recipe: `(dataset, epochs=..., seed=...) -> Recipe`, with its own number of epochs as
            the default.
        data: the data that it was measured on, as `cnn_jax.data.load` takes it.
        name: of the directory for its runs, under `runs/`.
    """

    @click.command(context_settings={"show_default": True}, help=sys.modules["__main__"].__doc__)
    @click.option("--data", default=data, help="Name or path of the data.")
    @data_options
    @click.option("--epochs", type=int, help="Other than the experiment's own.")
    @click.option("--seeds", type=int, default=1, help="How many seeds, from 0.")
    @run_options
    def command(data, validation, split_seed, data_dir, epochs, seeds, workdir, resume, overwrite):
        dataset = _load(data, validation, split_seed, data_dir)
        given = {} if epochs is None else {"epochs": epochs}
        workdir = workdir or Path("runs") / name
        accuracies, seconds = [], []
        for seed in range(seeds):
            recipe = make_recipe(dataset, seed=seed, **given)
            directory = workdir / f"seed-{seed}" if seeds > 1 else workdir
            result = _train(recipe, directory, resume=resume, overwrite=overwrite)
            accuracies.append(100 * result.test_accuracy)
            seconds.append(result.figures["seconds"])
        if seeds > 1:
            click.echo(
                f"{seeds} seeds: test accuracy {statistics.mean(accuracies):.2f} % "
                f"+- {statistics.stdev(accuracies):.2f} (mean and standard deviation of "
                f"{', '.join(f'{accuracy:.2f}' for accuracy in accuracies)}), "
                f"{statistics.mean(seconds):.1f} s a run"
            )

    sys.exit(call(command))


def main() -> None:
    """Run the command line, with bad input told in a sentence."""
    sys.exit(call(cnn_jax))


def call(command: click.Command) -> int:
    """Call a command with the arguments of the process, and tell errors without a traceback.

    Args:
        command: the command.

    Returns:
        The exit code.
    """
    from cnn_jax.interrupts import Interrupted

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        command(standalone_mode=False)
    except InputError as error:
        console.print(f"error: {error}", markup=False)
        return BAD_INPUT
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Interrupted as error:
        console.print(f"{error}; to continue:\n  {_resuming_command()}", markup=False)
        return SIGNALLED + error.cause
    except (KeyboardInterrupt, click.Abort):
        console.print("stopped; checkpoints saved before are kept", markup=False)
        return SIGNALLED + 2
    return 0


def _load(data: str, validation: float, split_seed: int, data_dir: Path | None) -> "Dataset":
    from cnn_jax.data import load

    size = int(validation) if validation >= 1 and validation.is_integer() else validation
    return load(data, validation=size, split_seed=split_seed, data_dir=data_dir)


def _model_for(name: str, dataset: "Dataset") -> "nn.Module":
    height, _, channels = dataset.image_shape
    model = models.create_model(name, num_classes=dataset.num_classes, in_channels=channels)
    if not hasattr(model, "image_size"):
        raise InputError(
            f"`model` (={name}) classifies signals, and {dataset.name} holds images: choose "
            "another model"
        )
    return model.clone(image_size=height)


def _train(recipe: "Recipe", workdir: Path, *, resume: bool, overwrite: bool) -> "Result":
    from cnn_jax.journal import Diverged
    from cnn_jax.train import run

    try:
        return run(recipe, workdir, resume=resume, overwrite=overwrite)
    except Diverged as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(DIVERGED)


def _with_options(function: Callable, options: dict) -> Callable:
    """Fill in options, and say so where the function has no such option."""
    import inspect

    for option, value in options.items():
        if option not in inspect.signature(function).parameters:
            raise InputError(
                f"`{option.replace('_', '-')}` (={value}) is not an option of {function.__name__}: "
                "leave it out or choose another optimizer"
            )
    return partial(function, **options)


def _resuming_command() -> str:
    arguments = [
        argument for argument in sys.argv[1:] if argument not in ("--overwrite", "--resume")
    ]
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        start = ["python", "-m", "cnn_jax"]
    else:
        start = ["python", sys.argv[0]] if program.suffix == ".py" else [program.name]
    return shlex.join([*start, *arguments, "--resume"])
