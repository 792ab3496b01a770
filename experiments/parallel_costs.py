"""What does it cost to train on several devices, and to save while training?

    python experiments/parallel_costs.py sharding
    python experiments/parallel_costs.py saving
    python experiments/parallel_costs.py messages

`sharding` takes steps on one device in turns: through the layout of a run, with its mesh and its
shardings, and through a plain `jax.jit` with the same compiler options. `saving` takes a hundred
steps of a ResNet-50 in turns with and without a checkpoint of its state (205 MB) begun at the first
of them. `messages` compiles the step of a ResNet-50 for 1, 2, 4 and 8 virtual devices of the CPU,
32 images on each, and counts what the compiled programs compute and send; and from that it projects
the time on more devices.

Measured on 2 CPU cores: a step of the three-block CNN (64 images) takes 81.6 ms plain and 0.7 %
more when laid out (0.5 to 1.2 % in three runs), one of the small CNN 33.1 ms and 0.8 % more (-1.2
to 2.7 %): no more than runs differ by. A hundred steps of a ResNet-50 at 64x64 (8 images, a state
of 204 MB) take 44.1 s, and with a checkpoint 1.0 % more (-1.4 to 2.9 % in three turns); it is begun
in 0.5 s, the rest is written while training goes on.

Counted: each device computes 769 GFLOP for its 32 images, on one device as on eight, and reduces
102.5 MB a step, its gradients in float32: in 101 collectives under `jit`, where BatchNorm is that
of the whole batch, and in 4 where each device has its own. Projected, with 256 images a device in
32.2 ms (an H200's best published rate), 50 GB/s and 10 microseconds a hop, nothing overlapping:
9.6 ms of sending on 8 devices, 20.2 ms on 256 and 28.3 ms on 4,096 under `jit`, which leaves 77,
61 and 53 % of the ideal rate; 3.8, 4.7 and 5.1 ms with BatchNorm by device, which leaves 89, 87 and
86 %. Where all of it overlaps with computing, nothing is lost. It is a projection: no such machine
was at hand.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from math import log2
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cnn_jax.cli import call

# What the projection assumes of a large machine. An H200's best published rate for ResNet-50 in
# bfloat16 (MLPerf Training 4.0: 7,945 images/s), and a network port of 400 Gb/s for each device.
IMAGES_PER_SECOND, BYTES_PER_SECOND, SECONDS_PER_HOP = 7945, 50e9, 10e-6
IMAGES_A_DEVICE = 32

_BYTES = {"pred": 1, "u8": 1, "s8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8}
_COLLECTIVE = re.compile(
    r"= (?P<result>.+?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|"
    r"collective-permute)(-start)?\("
)
_ARRAY = re.compile(r"(?P<type>[a-z]+[0-9]*)\[(?P<shape>[0-9,]*)\]")


def collectives(program: str) -> list[tuple[str, int]]:
    """List what a compiled program has its devices send each other.

    Args:
        program: its text, as `compiled.as_text()` gives it.

    Returns:
        The kind of each collective operation, and the bytes of its result on a device.

    >>> collectives("%a = (f32[3,2]{1,0}, bf16[4]{0}) all-reduce(%b, %c), to_apply=%add")
    [('all-reduce', 32)]
    """
    found = []
    for match in _COLLECTIVE.finditer(program):
        size = 0
        for array in _ARRAY.finditer(match["result"]):
            elements = 1
            for length in filter(None, array["shape"].split(",")):
                elements *= int(length)
            size += elements * _BYTES[array["type"]]
        found.append((match["kind"], size))
    return found


def projected(sizes: list[int], devices: int) -> float:
    """Project the time that all-reduces take, one after the other and nothing computed meanwhile.

    A device sends and receives 2 (n - 1) / n of what is reduced, over a ring, and a message is on
    its way for 2 log2(n) hops, over a tree: the better of each, as libraries choose by size.

    Args:
        sizes: of the results, in bytes.
        devices: n.

    Returns:
        Seconds.
    """
    share = 2 * (devices - 1) / devices
    return sum(share * size / BYTES_PER_SECOND for size in sizes) + (
        len(sizes) * 2 * log2(devices) * SECONDS_PER_HOP
    )


def training_step(mode: str, *, model: str, image_size: int, batch_size: int):
    """Make a training step, laid out over all devices.

    Returns:
        The compiled step's function, a state and a batch.
    """
    import jax
    import numpy as np

    from cnn_jax import create_model, make_train_step, optim, parallel
    from cnn_jax.state import init_state

    network = create_model(model, num_classes=1000)
    tx = optim.sgd(0.01, momentum=0.9)
    layout = parallel.make_layout(batch_size, mode)
    init = partial(init_state, network, tx, image_shape=(image_size, image_size, 3))
    key = jax.random.key(0)
    shardings = layout.state_shardings(jax.eval_shape(init, key))
    state = jax.jit(init, out_shardings=shardings)(key)
    rng = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size, 3)
    batch = {
        "image": rng.integers(0, 256, shape, dtype=np.uint8),
        "label": rng.integers(0, 10, batch_size, dtype=np.int32),
    }
    return layout, make_train_step(network, tx), state, batch


def in_turns(runs: dict[str, Callable[[], None]], *, times: int) -> dict[str, list[float]]:
    """Time some functions in turns, each once unmeasured before.

    Returns:
        The seconds of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for each in runs.values():
        each()
    for turn in range(times):
        # Every other turn backwards: no one is always the first.
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            began = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - began)
    return seconds


@click.group(context_settings={"show_default": True}, help=__doc__)
def main() -> None:
    """Choose what to measure."""


@main.command()
@click.option("--model", default="three_block_cnn")
@click.option("--batch-size", default=64)
@click.option("--times", default=40, help="Turns, of two steps each.")
def sharding(model: str, batch_size: int, times: int) -> None:
    """Compare a step laid out on one device with a plain one."""
    import jax

    from cnn_jax.xla_flags import compile_options

    layout, step, state, batch = training_step(
        "jit", image_size=32, batch_size=batch_size, model=model
    )
    if layout.mesh.size > 1:
        raise click.ClickException("there are several devices: hide all but one")
    # The same options as a run's: they are a gain of their own, none of the layout.
    plain = jax.jit(step, donate_argnums=0, compiler_options=compile_options())
    compiled = {"laid out": layout.compile_step(step), "plain": plain}
    place = {"laid out": layout.place_batch, "plain": jax.device_put}
    states = {name: jax.tree.map(lambda leaf: leaf.copy(), state) for name in compiled}

    def two_steps(name: str) -> None:
        for _ in range(2):
            states[name], metrics = compiled[name](states[name], place[name](batch))
        jax.block_until_ready(metrics)

    seconds = in_turns({name: partial(two_steps, name) for name in compiled}, times=times)
    medians = {name: statistics.median(each) / 2 for name, each in seconds.items()}
    click.echo(
        f"{model}, {batch_size} images: a plain step {1e3 * medians['plain']:.2f} ms, laid out "
        f"{1e3 * medians['laid out']:.2f} ms ({medians['laid out'] / medians['plain'] - 1:+.1%})"
    )


@main.command()
@click.option("--model", default="resnet50")
@click.option("--image-size", default=64)
@click.option("--batch-size", default=8)
@click.option("--steps", default=100)
@click.option("--times", default=3, help="Turns.")
def saving(model: str, image_size: int, batch_size: int, steps: int, times: int) -> None:
    """Compare steps with and without a checkpoint every so many of them."""
    import jax

    from cnn_jax.checkpoints import Checkpoints

    layout, step, state, batch = training_step(
        "jit", image_size=image_size, batch_size=batch_size, model=model
    )
    compiled, now = layout.compile_step(step), [state]
    megabytes = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state))) / 1e6
    begun = []

    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:

        def take_steps(save: bool) -> None:
            for number in range(steps):
                now[0], metrics = compiled(now[0], layout.place_batch(batch))
                if save and number == 0:
                    began = time.perf_counter()
                    checkpoints.save(now[0], {}, best_step=None)
                    begun.append(time.perf_counter() - began)
            jax.block_until_ready(metrics)

        seconds = in_turns(
            {"saving": partial(take_steps, True), "without": partial(take_steps, False)},
            times=times,
        )
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratios = [a / b - 1 for a, b in zip(seconds["saving"], seconds["without"], strict=True)]
    click.echo(
        f"{model} at {image_size}x{image_size}, {batch_size} images, a state of {megabytes:,.0f} "
        f"MB: {steps} steps {medians['without']:.2f} s, with a checkpoint {medians['saving']:.2f} "
        f"s ({statistics.median(ratios):+.1%}; {min(ratios):+.1%} to {max(ratios):+.1%}); begun in "
        f"{statistics.median(begun):.2f} s"
    )


@main.command()
@click.option("--model", default="resnet50")
@click.option("--image-size", default=224)
@click.option("--devices", default="1,2,4,8", help="How many, separated by commas.")
def messages(model: str, image_size: int, devices: str) -> None:
    """Count what the compiled step computes and sends, and project it."""
    table = Table(
        title=f"A step of {model}, {IMAGES_A_DEVICE} images a device", title_justify="left"
    )
    for name in ("mode", "devices", "GFLOP a device", "collectives", "MB reduced"):
        table.add_column(name, justify="left" if name == "mode" else "right")
    last = {}
    for mode in ("jit", "pmap_local_norm"):
        for count in map(int, devices.split(",")):
            flops, sizes = compiled_for(count, mode, model=model, image_size=image_size)
            row = (f"{flops / 1e9:,.0f}", str(len(sizes)), f"{sum(sizes) / 1e6:,.1f}")
            table.add_row(mode, str(count), *row)
            last[mode] = sizes
    Console(width=120).print(table)
    compute = IMAGES_A_DEVICE * 8 / IMAGES_PER_SECOND
    projection = Table(
        title=f"Projected: {IMAGES_A_DEVICE * 8} images a device in {1e3 * compute:.1f} ms",
        title_justify="left",
    )
    for name in ("mode", "devices", "sending", "if nothing overlaps", "if all of it does"):
        projection.add_column(name, justify="left" if name == "mode" else "right")
    for mode, sizes in last.items():
        for count in (8, 256, 4096):
            sending = projected(sizes, count)
            row = (compute / (compute + sending), compute / max(compute, sending))
            projection.add_row(
                mode, f"{count:,}", f"{1e3 * sending:.1f} ms", *(f"{each:.0%}" for each in row)
            )
    Console(width=120).print(projection)


def compiled_for(
    devices: int, mode: str, *, model: str, image_size: int
) -> tuple[float, list[int]]:
    """Compile in a process with so many devices; return operations and bytes of collectives."""
    options = ["--devices", str(devices), "--model", model, "--image-size", str(image_size)]
    done = subprocess.run(
        [sys.executable, __file__, "compiled", mode, *options],
        capture_output=True,
        text=True,
        check=True,
    )
    flops, *sizes = done.stdout.split()[-1].split(",")
    return float(flops), [int(size) for size in sizes]


@main.command(hidden=True)
@click.argument("mode")
@click.option("--devices", type=int)
@click.option("--model")
@click.option("--image-size", type=int)
def compiled(mode: str, devices: int, model: str, image_size: int) -> None:
    """Compile in this process, and print what the program computes and sends."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    layout, step, state, batch = training_step(
        mode, image_size=image_size, batch_size=IMAGES_A_DEVICE * devices, model=model
    )
    program = layout.compile_step(step).lower(state, layout.place_batch(batch)).compile()
    flops = program.cost_analysis()["flops"]
    click.echo(",".join(map(str, [flops, *(size for _, size in collectives(program.as_text()))])))


if __name__ == "__main__":
    sys.exit(call(main))
