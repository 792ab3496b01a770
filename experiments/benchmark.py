"""How fast are we? The same work by cnn_jax, PyTorch, stock flax.linen and Keras, in turns.

    pip install 'cnn_jax[bench]'
    python -m experiments.benchmark --peers pytorch,flax --eager --turns 7 --parts loop
    python -m experiments.benchmark --only 'three_block_cnn*' --peers pytorch,flax

Run it in the root of the repository. Rows: `experiments/bench/cases.py`. PyTorch is measured eager
and compiled, contiguous and channels_last, and the best of the four counts. A peer that is not
installed is told and left out. Times are medians of turns A B A B, with what a tenth of the turns
lay below and above; the processor time of all cores beside them is what stays near the truth when
others use the machine (PyTorch's threads also wait busily, and Keras' Python is in it). `--parts`
measures what surrounds the step: memory, the input pipeline, augmentation, an epoch from data to
metrics, the start of a process with a cold and a warm cache, several steps in one dispatch, and how
a step's cost grows.

It writes a table, a JSON file with versions and hardware, and a picture in the folder `figures`
beside it: experiments/benchmark.json after a round of all cases, runs/benchmark.json with `--only`
or `--quick`, which measure some, or nothing to keep.

Measured with the first command on 2 CPU cores (AMD EPYC) with little beside it, float32, jax
0.10.2, PyTorch 2.13.0 eager, the better of its layouts: our throughput divided by the peer's, and
what it is to be at least in brackets (experiments/benchmark.json has the rest).

| work, images | ours | beside PyTorch (aim) | beside flax.linen (aim) |
|---|--:|--:|--:|
| three_block_cnn, training, 64x32x32x3 | 82 ms | 0.81 (0.8) | 1.43 |
| three_block_cnn, inference, 64x32x32x3 | 15 ms | 1.16 | 2.31 |
| resnet20_cifar, training, 128x32x32x3 | 246 ms | 0.58 (0.8) | 1.46 |
| resnet20_cifar, inference, 128x32x32x3 | 60 ms | 0.67 | 1.02 |
| resnet18, training, 8x224x224x3 | 327 ms | 0.85 (0.8) | 1.51 |
| resnet18, inference, 8x224x224x3 | 112 ms | 0.83 (1) | 1.12 |
| mobilenet_v2, training, 64x32x32x3 | 83 ms | 0.75 (0.5) | 5.27 (4) |
| mobilenet_v2, inference, 64x32x32x3 | 7 ms | 1.72 | 13.71 |
| 3x3 max-pool, stride 2, with gradient, 8x112x112x64 | 7 ms | 0.66 | 19.21 (6) |

On 2 cores of an Intel Xeon with AVX-512, which others disturbed (eight tenths of three_block_cnn's
steps took 319 to 1,490 ms), the first command was broken off after two networks: beside PyTorch
three_block_cnn 0.38 in training and 0.87 in inference, resnet20_cifar 0.34 and 0.68; beside
flax.linen 1.12, 2.03, 0.96, 0.99.

Four steps in one dispatch run at 1.28 times (simple_cnn) and 1.05 times (ResNet-20) the speed of
single ones. With --only '' --parts startup,memory: a training step of ResNet-50 at batch 32 peaks
at 3,746 MB, PyTorch's at 3,842 contiguous and 3,937 channels_last (0.98, aim 1.1), stock Flax's at
4,559 and Keras' at 5,835; ResNet-50's first step (batch 8) is done after 28.5 s with a cold and
9.6 s with a warm compilation cache (0.34, aim 0.35); `cnn-jax train` on the digits takes 20.2 s
with a cold cache, of which 0.24 are neither steps nor compilation, and 14.8 s with a warm one, of
which 0.31 are (aim 0.25; before the pictures were made quicker, and imported during compilation,
on a quicker day, 0.27 of 17.7 s and 0.37 of 11.5 s). The import beside compilation is counted as
what it runs beside.

What limits us: of ResNet-20's step, convolutions of 16 channels, forward and to the gradients, in
which PyTorch does about twice the multiplications a second and which are too narrow for Winograd's
form, and putting images in another order for the gradients of kernels. A three-block network came
to between 0.62 and 0.81 in several runs; it gives back and gets anew more pages of memory at each
step than PyTorch does. Of ResNet-18's inference, a tenth is the padding of what follows the first
convolution, and most are products of Winograd's form, bound by memory at 64 channels. The forms
that make ResNet-50's step faster make both of its starts longer. Of the digits, it is importing
JAX, the pictures, and 30 checkpoints that wait for the disk.
"""

import fnmatch
import importlib
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import click
import jax
from rich.console import Console

from cnn_jax.cli import call
from experiments.bench import memory, ours, pipeline, report, startup
from experiments.bench.cases import CASES, Case, Program, shrunk
from experiments.bench.timing import Figure, in_turns

PEERS = {"pytorch": "torch_peers", "flax": "flax_peers", "keras": "keras_peers"}
PARTS = ("memory", "pipeline", "epoch", "startup", "scaling", "loop")

# What is measured apart, or too long for a round of all.
_ONLY_WHEN_NAMED = ("resnet50_train",)


def chosen(pattern: str | None, device: str) -> list[Case]:
    """Choose cases by wildcards, or those that are measured on a kind of device."""
    if pattern is not None:
        return [case for case in CASES if fnmatch.fnmatch(case.name, pattern)]
    return [case for case in CASES if case.device == device and case.name not in _ONLY_WHEN_NAMED]


def measured(
    case: Case,
    peers: Iterable[str],
    *,
    compiled: bool,
    turns: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Figure]:
    """Measure a case: ours and its peers in turns.

    Args:
        case: what to measure.
        peers: of `PEERS`.
        compiled: whether to compile PyTorch's networks too.
        turns: of each.
        seconds: of a turn, at least.
        say: takes a line on what had to be left out.

    Returns:
        The figures.
    """
    programs: dict[str, Program] = dict(ours.programs(case))
    for peer in peers:
        try:
            module = importlib.import_module(f"experiments.bench.{PEERS[peer]}")
        except ImportError as error:
            say(f"{case.name}: {peer} left out ({error})")
            continue
        try:
            for name, program in module.programs(case, compiled=compiled):
                programs[name] = program
        except Exception as error:  # a peer's own failure is no reason to lose the others' figures
            say(f"{case.name}: {peer} failed ({type(error).__name__}: {str(error)[:200]})")
    return in_turns(case, programs, turns=turns, seconds=seconds)


def scaling(*, turns: int, seconds: float, quick: bool) -> list[dict]:
    """Measure how a training step's cost grows with the batch, the images and the depth."""
    base = Case("scaling", "train", "resnet20_cifar", (64, 32, 32, 3))
    varied = {
        **{f"batch {count}": replace(base, shape=(count, 32, 32, 3)) for count in (16, 64, 256)},
        **{f"side {side}": replace(base, shape=(16, side, side, 3)) for side in (32, 64, 128)},
        **{f"depth {d}": replace(base, model=f"resnet{d}_cifar") for d in (20, 32, 44)},
    }
    if quick:
        varied = {"batch 2": replace(base, shape=(2, 32, 32, 3))}
    rows = []
    for name, case in varied.items():
        (figure,) = in_turns(case, dict(ours.programs(case)), turns=turns, seconds=seconds)
        pixels = case.shape[0] * case.shape[1] * case.shape[2]
        rows.append({
            "varied": name, "model": case.model, "ms": 1e3 * figure.median,
            "ns a pixel": 1e9 * figure.median / pixels, "first step, s": figure.compiling,
        })  # fmt: skip
    return rows


def loops(*, turns: int, seconds: float, quick: bool) -> list[dict]:
    """Measure steps in one dispatch beside the same steps dispatched one by one."""
    networks = {"resnet20_cifar": 16} if quick else {"simple_cnn": 64, "resnet20_cifar": 32}
    rows = []
    for model, images in networks.items():
        case = Case("loop", "train", model, (images, 32, 32, 3))
        case = shrunk(case) if quick else case
        figures = in_turns(case, ours.looped(case, 4), turns=turns, seconds=seconds)
        single, loop = (figure.median / 4 for figure in figures)
        rows.append({
            "model": model, "images": images, "ms, singly": 1e3 * single,
            "ms, 4 in a loop": 1e3 * loop, "loop's speed / single's": single / loop,
            "by processor time": figures[0].processor / figures[1].processor,
            "to compile, s": figures[1].compiling,
        })  # fmt: skip
    return rows


def memories(*, quick: bool, say: Callable[[str], None]) -> list[dict]:
    """Measure the peak memory of a ResNet-50's training step, ours and the peers'."""
    (case,) = chosen("resnet50_train", "cpu")
    rows = []
    for program in memory.PEERS[:1] if quick else memory.PEERS:
        found = memory.measured(case, program, quick=quick)
        if isinstance(found, str):
            say(f"{case.name}: memory of {program} left out ({found})")
            continue
        growth = found["peak"] - found["before"]
        rows.append({"program": program, "peak MB": found["peak"], "of the step MB": growth})
    return rows


def parts_measured(parts: Iterable[str], *, quick: bool, turns: int, seconds: float, say) -> dict:
    """Measure what surrounds the step; return rows by part."""
    images, model = (256, "lenet5") if quick else (8192, "resnet20_cifar")
    functions = {
        "memory": lambda: memories(quick=quick, say=say),
        "pipeline": lambda: pipeline.rates(images=images, batch_size=128, turns=turns),
        "epoch": lambda: pipeline.epochs(model, images=images, batch_size=128),
        "startup": lambda: [
            {"what": f"{network}, to the first step", **startup.first_steps(
                network, batch_size=8, image_size=32 if quick else 224)}
            for network in (("lenet5",) if quick else ("resnet50",))
        ] + ([] if quick else [{"what": "cnn-jax train on digits", **startup.training_command()}]),
        "loop": lambda: loops(turns=turns, seconds=seconds, quick=quick),
        "scaling": lambda: scaling(turns=turns, seconds=seconds, quick=quick),
    }  # fmt: skip
    return {part: functions[part]() for part in parts}


def default_out(only: str | None, *, quick: bool) -> Path:
    """Name the file to write: the shipped one for all cases in earnest alone.

    >>> str(default_out("resnet*", quick=False))
    'runs/benchmark.json'
    """
    return Path("experiments" if only is None and not quick else "runs") / "benchmark.json"


def _names(allowed: Iterable[str]) -> Callable:
    def parse(context, parameter, text: str) -> tuple[str, ...]:
        names = tuple(filter(None, text.split(",")))
        for name in names:
            if name not in allowed:
                raise click.BadParameter(f"{name!r} is none of {', '.join(allowed)}")
        return names

    return parse


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.option("--only", help="Cases by name, with shell wildcards; '' for none.")
@click.option("--peers", default=",".join(PEERS), callback=_names(PEERS))
@click.option("--parts", default="", callback=_names(PARTS), help=f"Of {', '.join(PARTS)}.")
@click.option("--compiled/--eager", default=True, help="PyTorch compiled as well.")
@click.option("--turns", default=9)
@click.option("--seconds", default=0.3, help="Of a turn, at least.")
@click.option("--quick", is_flag=True, help="Few small images: to see that all runs.")
@click.option("--out", type=click.Path(path_type=Path), help="The JSON file, elsewhere.")
def main(only, peers, parts, compiled, turns, seconds, quick, out) -> None:
    """Measure, tell and write."""
    console = Console(width=140, highlight=False)
    out = out or default_out(only, quick=quick)
    if quick:
        turns, seconds, compiled = 2, 0.0, False
    results = []
    for case in chosen(only, jax.default_backend()):
        case = shrunk(case) if quick else case
        figures = measured(
            case, peers, compiled=compiled, turns=turns, seconds=seconds, say=console.print
        )
        results.append((case, figures))
        console.print(report.time_table([results[-1]]))
    rows = parts_measured(parts, quick=quick, turns=turns, seconds=seconds, say=console.print)
    for part, found in rows.items():
        if found:
            console.print(report.rows_table(part, found))
    report.write_json(out, results, rows)
    report.draw(out.parent / "figures" / f"{out.stem}.png", results)
    console.print(f"written: {out}")


if __name__ == "__main__":
    sys.exit(call(main))
