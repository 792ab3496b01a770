"""`cnn-jax train` and what one does before it: overfit a batch, find a rate, draw a schedule."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cnn_jax import recipe_options
from cnn_jax.errors import InputError

if TYPE_CHECKING:  # what needs seconds to import is imported by the commands that use it
    from cnn_jax.recipe import Recipe
    from cnn_jax.train import Result

# Exit codes of a run whose loss is no longer finite, and of one that has no room to write.
DIVERGED, DISK_FULL = 3, 4


@click.command()
@recipe_options.recipe_options
@click.option("--checkpoint-every", type=int, help="Steps.  [default: once an epoch]")
@click.option("--checkpoint-minutes", type=float, help="The longest time without a checkpoint.")
@click.option("--skip-nonfinite", type=int, default=0, help="Steps to leave out at most.")
@click.option("--steps-per-dispatch", type=int, default=1, help="32 for small networks on a GPU.")
@recipe_options.run_options
def train(workdir: Path | None, how: dict, **options) -> None:
    """Train a model, and evaluate it on the test images.

    Without options: the small CNN on scikit-learn's handwritten digits.
    """
    recipe = recipe_options.recipe_from(**options)
    workdir = workdir or default_workdir(recipe, options["model"])
    train_or_exit(recipe, workdir, **how)


@click.command()
@recipe_options.recipe_options
@click.option("--steps", type=int, default=200, help="How often the batch is shown.")
def overfit(steps: int, **options) -> None:
    """Train on one batch, which a sound model learns by heart; takes the options of `train`."""
    from cnn_jax.overfit import overfit_batch

    outcome = overfit_batch(recipe_options.recipe_from(**options), steps=steps)
    losses, taken = outcome.losses, len(outcome.losses)
    for step in sorted({0, *(taken * part // 4 - 1 for part in (1, 2, 3, 4))} & set(range(taken))):
        click.echo(f"step {step + 1:>5}  loss {losses[step]:.4f}")
    verdict = "learnt by heart" if outcome.learnt else "NOT learnt"
    click.echo(
        f"{verdict}: {round(outcome.accuracy * outcome.images)} of {outcome.images} images right"
    )
    if not outcome.learnt:
        click.echo("try `cnn-jax find-rate`, more steps, or look for a defect in the model or loss")
        sys.exit(1)


@click.command("find-rate")
@recipe_options.recipe_options
@click.option("--low", type=float, default=1e-6, help="The first learning rate.")
@click.option("--high", type=float, default=10.0, help="The last one.")
@click.option("--steps", type=int, default=200)
@click.option("--out", type=click.Path(path_type=Path), default="learning_rate_range.png")
def find_rate(low: float, high: float, steps: int, out: Path, **options) -> None:
    """Raise the learning rate step by step, draw the loss, and suggest one."""
    from cnn_jax.evaluate import plots
    from cnn_jax.rate_range import range_test
    from cnn_jax.rundir import replacing

    check_picture(out)
    recipe = recipe_options.recipe_from(**options)
    found = range_test(recipe, low=low, high=high, steps=steps)
    with replacing(out) as path:
        plots.rate_range(found.rates, found.losses, found.suggestion, path)
    click.echo(f"suggested: --learning-rate {found.suggestion:.2g}  (picture: {out})")


@click.command("schedule")
@recipe_options.schedule_options
@click.option("--steps", type=int, default=1000, help="Of the run.")
@click.option("--out", type=click.Path(path_type=Path), default="schedule.png")
def draw_schedule(steps: int, out: Path, **options) -> None:
    """Draw the learning rate over a run."""
    from cnn_jax import ranges
    from cnn_jax.evaluate import plots
    from cnn_jax.rundir import replacing

    check_picture(out)
    ranges.whole("steps", steps, remedy="1000 for instance")
    schedule = recipe_options.schedule_from(options)(steps)
    with replacing(out) as path:
        plots.schedule(schedule, path, total_steps=steps)
    rates = [float(schedule(step)) for step in (0, steps // 2, steps - 1)]
    click.echo(
        f"learning rate {rates[0]:.3g} at the first step, {rates[1]:.3g} in the middle, "
        f"{rates[2]:.3g} at the last  (picture: {out})"
    )


def default_workdir(recipe: "Recipe", model: str) -> Path:
    """Say where a run goes that was not told: `runs/DATA-MODEL`."""
    return Path("runs") / f"{recipe.data.name.replace(':', '-')}-{model}"


def train_or_exit(recipe: "Recipe", workdir: Path, **options) -> "Result":
    """Run a recipe with options of `train.run`; a divergence or a full disk has its exit code."""
    from cnn_jax.full_disk import DiskFull
    from cnn_jax.journal import Diverged
    from cnn_jax.train import run

    try:
        return run(recipe, workdir, **options)
    except (Diverged, DiskFull) as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(DISK_FULL if isinstance(error, DiskFull) else DIVERGED)


def check_picture(path: Path) -> None:
    """Check that a picture can be written to a path.

    Raises:
        InputError: it is no PNG or lies in no folder.
    """
    if path.suffix.lower() != ".png":
        raise InputError(f"`out` (={path}) must end in .png: choose such a name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"`out` (={path}) lies in no folder that exists: make it first")
