"""Eight seeds of LeNet-5 on the digits in one compiled program.

    python experiments/digits_many_seeds.py

The 8x8 scans are enlarged four times, which is LeNet-5's 32x32. Printed are a row for each seed,
the mean and the standard deviation, and the time of a training step of the eight together beside
that of a single one, measured in turns.

Measured on 2 CPU cores with nothing beside it: test accuracy 97.26 % +- 0.28 (mean and standard
deviation). A step takes 4.31 ms alone and 12.22 ms for all eight, 2.83 times as long; a run 5.8 s
alone and 13.9 s for all eight, 2.40 times as long, compilation included.
"""

import statistics
import sys
import time
from dataclasses import replace
from functools import partial

import click
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from cnn_jax import create_model, load_data, many, optim, schedules
from cnn_jax.cli import call
from cnn_jax.data import Dataset, array_source
from cnn_jax.data.batches import epochs_done, train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.layers.many_kernels import fast_over_kernels
from cnn_jax.recipe import Recipe
from cnn_jax.train import make_engine
from cnn_jax.xla_flags import compile_options


def enlarged(data: Dataset) -> Dataset:
    """Repeat each pixel of the digits four times in both directions."""

    def larger(source):
        images = source.read(np.arange(len(source)))
        return array_source(images.repeat(4, 1).repeat(4, 2), source.labels, name="digits")

    return replace(
        data,
        train=larger(data.train),
        validation=larger(data.validation),
        test=larger(data.test),
    )


def make_recipe(data: Dataset, *, epochs: int = 15, seed: int = 0) -> Recipe:
    """Make the recipe: the paper's own form of LeNet-5, SGD with momentum and a cosine."""
    return Recipe(
        model=create_model("lenet5_1998", num_classes=data.num_classes),
        data=data,
        optimizer=partial(optim.sgd, momentum=0.9, weight_decay=5e-4),
        schedule=partial(schedules.cosine, learning_rate=0.05),
        epochs=epochs,
        batch_size=32,
        seed=seed,
    )


def seconds_alone(recipe: Recipe) -> float:
    """Measure one run by itself: compilation, steps, and an evaluation after each epoch."""
    began = time.monotonic()
    data = recipe.data
    engine = make_engine(replace(recipe, normalization=channel_statistics(data.train)))
    epochs_after = partial(epochs_done, batch_size=recipe.batch_size, size=len(data.train))
    state = engine.fresh_state()
    for step in range(engine.total_steps):
        batch = train_batch(data.train, recipe.seed, step, batch_size=recipe.batch_size)
        state, _ = engine.train_step(state, engine.place(batch))
        if epochs_after(step + 1) > epochs_after(step):
            engine.evaluate(state.averaged_variables, data.validation)
    engine.evaluate(state.averaged_variables, data.test)
    return time.monotonic() - began


def step_times(recipe: Recipe, *, runs: int, repetitions: int) -> tuple[float, float]:
    """Measure a training step of one run and of many, in turns.

    Args:
        recipe: of the runs.
        runs: how many.
        repetitions: of 20 steps each.

    Returns:
        The medians, in seconds.
    """
    recipe = replace(recipe, normalization=channel_statistics(recipe.data.train))
    batch = train_batch(recipe.data.train, 0, 0, batch_size=recipe.batch_size)
    # An engine each: what is traced once is not traced again in the other form.
    single, together = (make_engine(recipe) for _ in range(2))
    state = single.fresh_state()

    def stacked(tree):
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * runs), tree)

    compiled = partial(jax.jit, compiler_options=compile_options())
    programs = {
        "one": (compiled(single.train_step.__wrapped__), state, batch),
        "many": (
            compiled(fast_over_kernels(jax.vmap(together.train_step.__wrapped__))),
            stacked(state),
            stacked(batch),
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for repetition in range(repetitions + 1):
        for name, (program, *given) in programs.items():
            began = time.perf_counter()
            for _ in range(20):
                jax.block_until_ready(program(*given))
            if repetition:  # the first one compiles
                times[name].append((time.perf_counter() - began) / 20)
    return statistics.median(times["one"]), statistics.median(times["many"])


@click.command(help=__doc__, context_settings={"show_default": True})
@click.option("--seeds", default=8, help="How many, from 0.")
@click.option("--epochs", default=15)
@click.option("--repetitions", default=15, help="Of the measurement of a step.")
@click.option("--rounds", default=3, help="Of one run and of all together, in turns.")
def main(seeds: int, epochs: int, repetitions: int, rounds: int) -> None:
    """Train all seeds at once, and measure the steps."""
    recipe = make_recipe(enlarged(load_data("digits")), epochs=epochs)
    alone, together = [], []
    for _ in range(rounds):
        alone.append(seconds_alone(recipe))
        result = many.run_many(recipe, seeds=range(seeds))
        together.append(result.seconds)
    Console().print(many.table(result))
    one, several = step_times(recipe, runs=seeds, repetitions=repetitions)
    one_run, several_runs = statistics.median(alone), statistics.median(together)
    click.echo(
        f"a step: {1e3 * one:.2f} ms alone, {1e3 * several:.2f} ms for {seeds} together, "
        f"{several / one:.2f} times as long\n"
        f"a run: {one_run:.1f} s alone, {several_runs:.1f} s for {seeds} together, "
        f"{several_runs / one_run:.2f} times as long (compilation included)"
    )


if __name__ == "__main__":
    sys.exit(call(main))
