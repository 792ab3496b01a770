"""Every mode and number of devices computes what one device does: a table of the differences.

    python experiments/equivalence.py

Each row is a process of its own with so many virtual devices of the CPU, or several processes that
share them and meet on this machine. It trains a small CNN with BatchNorm, dropout, augmentation and
CutMix for 50 steps on the digits, a batch of 64 shared by the devices, and evaluates it on 1,003
images, which no number of devices divides. Compared with one device are the losses of the steps,
which images were in each batch, and how many were evaluated. The network and its learning rate are
small on purpose: where a rounding decides whether a ReLU lets a value through, equal runs drift
apart, and the more values there are, the sooner.

Measured:

| mode | processes x devices | losses differ by | same images | evaluated | right | on a device |
|---|---:|---:|---|---:|---:|---:|
| jit | 1 x 1 | 0 | yes | 1,003 | 219 | 15 kB |
| jit | 1 x 8 | 2.5e-07 | yes | 1,003 | 219 | 15 kB |
| fsdp | 1 x 8 | 2.5e-07 | yes | 1,003 | 219 | 3 kB |
| pmap | 1 x 8 | 2.0e-07 | yes | 1,003 | 219 | 15 kB |
| jit | 2 x 4 | 2.0e-07 | yes | 1,003 | 219 | 15 kB |
| fsdp | 2 x 4 | 2.0e-07 | yes | 1,003 | 219 | 3 kB |
| pmap | 2 x 4 | 2.0e-07 | yes | 1,003 | 219 | 15 kB |
| pmap_local_norm | 1 x 8 | 6.3e-02 | yes | 1,003 | 198 | 15 kB |
| pmap_local_norm | 2 x 4 | 5.9e-02 | yes | 1,003 | 180 | 15 kB |

On a device are so many bytes of parameters. The last two rows are meant to differ: each device's
BatchNorm sees 8 images instead of 64. Of one another they are the same within 2e-07 for eleven
steps, and then drift apart: with so few images the statistics magnify roundings.
"""

import os
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax.cli import call

BATCH_SIZE, EVALUATED = 64, 1003
# Mode, processes and devices of each; the first is what the others are compared with.
ROWS = (
    ("jit", 1, 1),
    ("jit", 1, 8),
    ("fsdp", 1, 8),
    ("pmap", 1, 8),
    ("jit", 2, 4),
    ("fsdp", 2, 4),
    ("pmap", 2, 4),
    ("pmap_local_norm", 1, 8),
    ("pmap_local_norm", 2, 4),
)


def losses_of(mode: str, *, steps: int) -> dict[str, np.ndarray]:
    """Train on all devices, of this process and those that it has met.

    Args:
        mode: of `cnn_jax.parallel.MODES`.
        steps: how many.

    Returns:
        `losses` [steps], `ids` [steps, this process's part of a batch], and of the evaluation
        `correct` and `count`; and `largest`, the most bytes of the state on one device.
    """
    import jax

    from cnn_jax import Recipe, augment, create_model, load_data, optim, schedules
    from cnn_jax.data.batches import train_batch
    from cnn_jax.data.statistics import channel_statistics
    from cnn_jax.processes import own_part
    from cnn_jax.train import make_engine

    digits = load_data("digits", validation=0, test=EVALUATED)
    model = create_model(
        "three_block_cnn",
        num_classes=10,
        in_channels=1,
        widths=(8, 8, 8),
        hidden=32,
        block_drop_rate=0.1,
        drop_rate=0.3,
    )
    recipe = Recipe(
        model=model,
        data=digits,
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.constant, learning_rate=0.01),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=1)),
        mix=augment.cutmix,
        normalization=channel_statistics(digits.train),
        batch_size=BATCH_SIZE,
    )
    engine = make_engine(recipe, mode)
    state, losses, ids = engine.fresh_state(), [], []
    largest = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(state.params))
    for step in range(steps):
        batch = train_batch(digits.train, 0, step, batch_size=BATCH_SIZE, part=own_part())
        ids.append(batch["id"])
        state, metrics = engine.train_step(state, engine.place(batch))
        losses.append(float(metrics["loss"]) / int(metrics["count"]))
    tally = engine.evaluate(state.averaged_variables, digits.test).tally
    return {
        "losses": np.array(losses),
        "ids": np.array(ids),
        "correct": np.array(tally.correct),
        "count": np.array(tally.count),
        "largest": np.array(largest),
    }


def in_processes(mode: str, *, processes: int, devices: int, steps: int) -> dict[str, np.ndarray]:
    """Do `losses_of` in so many processes with so many virtual devices each.

    Returns:
        What it returns, with the `ids` of whole batches.
    """
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / f"{number}.npz" for number in range(processes)]
        port = free_port()
        started = [
            subprocess.Popen(
                [
                    *(sys.executable, __file__, "one", mode, str(file), "--steps", str(steps)),
                    *("--processes", str(processes), "--process", str(number)),
                    *("--port", str(port)),
                ],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number, file in enumerate(files)
        ]
        for each in started:
            _, errors = each.communicate()
            if each.returncode:
                raise click.ClickException(f"a process of {mode} failed:\n{errors}")
        found = [dict(np.load(file)) for file in files]
    return {**found[0], "ids": np.concatenate([each["ids"] for each in found], axis=1)}


def free_port() -> int:
    """Find a port of this machine at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


@click.group(invoke_without_command=True, help=__doc__)
@click.option("--steps", default=50)
@click.pass_context
def main(context: click.Context, steps: int) -> None:
    """Compare all modes."""
    if context.invoked_subcommand:
        return
    table = Table(title=f"{steps} steps, compared with one device", title_justify="left")
    names = ("mode", "processes x devices", "losses differ by", "same images", "evaluated", "right")
    for name in (*names, "on a device"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    first = None
    for mode, processes, devices in ROWS:
        found = in_processes(mode, processes=processes, devices=devices, steps=steps)
        first = first or found
        difference = np.max(np.abs(found["losses"] / first["losses"] - 1))
        table.add_row(
            mode,
            f"{processes} x {devices}",
            f"{difference:.1e}",
            "yes" if np.array_equal(found["ids"], first["ids"]) else "NO",
            f"{found['count']:,}",
            f"{found['correct']:,}",
            f"{found['largest'] / 1e3:,.0f} kB",
        )
    Console(width=120).print(table)


@main.command(hidden=True)
@click.argument("mode")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--steps", default=50)
@click.option("--processes", default=1)
@click.option("--process", default=0)
@click.option("--port", default=0)
def one(mode: str, file: Path, steps: int, processes: int, process: int, port: int) -> None:
    """Train in this process, and write what came of it."""
    from cnn_jax.processes import join

    if processes > 1:
        join(coordinator=f"localhost:{port}", processes=processes, process=process)
    np.savez(file, **losses_of(mode, steps=steps))


if __name__ == "__main__":
    sys.exit(call(main))
