"""The command line: commands over the public functions."""

import statistics
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console

from cnn_jax import __version__, models
from cnn_jax.augment_command import draw_augmented
from cnn_jax.compilation_cache import use_compilation_cache
from cnn_jax.data_command import inspect_images
from cnn_jax.ensemble_command import ensemble
from cnn_jax.errors import InputError
from cnn_jax.evaluate_command import evaluate_run
from cnn_jax.export_command import export
from cnn_jax.finetune_command import finetune, probe
from cnn_jax.mistakes_command import mistakes
from cnn_jax.predict_command import predict_images
from cnn_jax.recipe_options import data_options, load, run_options
from cnn_jax.report_command import report
from cnn_jax.robustness_command import measure_robustness
from cnn_jax.train_command import (
    DIVERGED,
    draw_schedule,
    find_rate,
    overfit,
    train,
    train_or_exit,
)

__all__ = ["BAD_INPUT", "DIVERGED", "SIGNALLED", "call", "cnn_jax", "experiment", "main"]

# Exit codes, besides 0 for success, 1 for a defect of ours, and `DIVERGED`.
BAD_INPUT = 2
SIGNALLED = 128  # plus the number of the signal: 130 for Ctrl-C, 143 for SIGTERM


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__)
def cnn_jax() -> None:
    """Image classification with convolutional networks in JAX."""


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


for command in (
    train, finetune, probe, overfit, find_rate, draw_schedule, inspect_images, draw_augmented,
    predict_images, evaluate_run, report, mistakes, ensemble, measure_robustness, export,
):  # fmt: skip
    cnn_jax.add_command(command)


def experiment(make_recipe: Callable | dict[str, Callable], *, data: str, name: str) -> None:
    """Run an experiment's command line: one or several seeds, and their mean and deviation.

    Args:
        make_recipe: `(dataset, epochs=..., seed=...) -> Recipe`, with its own number of epochs as
            the default; or several by name, the first of them the default.
        data: the data that it was measured on, as `cnn_jax.data.load` takes it.
        name: of the directory for its runs, under `runs/`.
    """

    makers = make_recipe if isinstance(make_recipe, dict) else {"": make_recipe}
    names = list(makers)

    @click.command(context_settings={"show_default": True}, help=sys.modules["__main__"].__doc__)
    @click.option("--data", default=data, help="Name or path of the data.")
    @data_options
    @click.option("--recipe", type=click.Choice(names), default=names[0], hidden=len(names) == 1)
    @click.option("--epochs", type=int, help="Other than the experiment's own.")
    @click.option("--seeds", type=int, default=1, help="How many seeds, from 0.")
    @run_options
    def command(data, recipe, epochs, seeds, workdir, how, **options):
        dataset = load(data, options)
        given = {} if epochs is None else {"epochs": epochs}
        workdir = workdir or Path("runs") / "-".join(filter(None, (name, recipe)))
        accuracies, seconds = [], []
        for seed in range(seeds):
            directory = workdir / f"seed-{seed}" if seeds > 1 else workdir
            made = makers[recipe](dataset, seed=seed, **given)
            result = train_or_exit(made, directory, **how)
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
        The exit code. A process that has met others does not return one for a failure, but ends.
    """
    use_compilation_cache()
    code = _called(command)
    if code and "jax" in sys.modules:
        from cnn_jax.processes import leave

        leave(code)
    return code


def _called(command: click.Command) -> int:
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
        from cnn_jax.environment import command_line

        again = command_line(without=("--overwrite", "--resume"), and_then=["--resume"])
        console.print(f"{error}; to continue:\n  {again}", markup=False)
        return SIGNALLED + error.cause
    except (KeyboardInterrupt, click.Abort):
        console.print("stopped; checkpoints saved before are kept", markup=False)
        return SIGNALLED + 2
    except SystemExit as error:
        return error.code
    except Exception:
        traceback.print_exc()
        return 1
    return 0
