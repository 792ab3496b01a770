"""Peak memory of a case, each program in a process of its own.

    python -m experiments.bench.memory resnet50_train cnn_jax

The peak is the largest resident set of the process (ru_maxrss); what it held before the network was
made, the packages for the most part, is told apart. On a GPU it is what the library itself counts
as its peak on the device.
"""

import json
import resource
import subprocess
import sys

import click

from experiments.bench.cases import CASES, Case, shrunk

PEERS = ("cnn_jax", "PyTorch contiguous", "PyTorch channels_last", "flax.linen", "Keras")


def measured(case: Case, program: str, *, quick: bool = False) -> dict[str, float] | str:
    """Measure in another process.

    Args:
        case: what to measure.
        program: of `PEERS`.
        quick: with a few small images.

    Returns:
        `peak` and `before`, in MB; or why it could not be measured.
    """
    command = [sys.executable, "-m", "experiments.bench.memory", case.name, program]
    done = subprocess.run(
        command + ["--quick"] * quick, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it was killed"
    return json.loads(done.stdout.splitlines()[-1])


def _largest_set() -> float:
    """Return the largest resident set of this process so far, in MB."""
    kilobyte = 1 if sys.platform == "darwin" else 1024
    return kilobyte * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _programs(case: Case, program: str):
    """Import what makes a program; return what makes it, lazily."""
    if program.startswith("PyTorch"):
        from experiments.bench import torch_peers

        torch_peers.build(case)  # its packages
        return torch_peers.programs(case, compiled=False, only_layout=program.split()[1])
    if program == "cnn_jax":
        from experiments.bench import ours as peer
    elif program == "flax.linen":
        from experiments.bench import flax_peers as peer
    else:
        from experiments.bench import keras_peers as peer
    return peer.programs(case)


def _device_peak(case: Case, program: str) -> float | None:
    if case.device == "cpu":
        return None
    if program.startswith("PyTorch"):
        import torch

        return torch.cuda.max_memory_allocated() / 1e6
    import jax

    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 1e6


@click.command(help=__doc__)
@click.argument("name")
@click.argument("program", type=click.Choice(PEERS))
@click.option("--quick", is_flag=True)
def main(name: str, program: str, quick: bool) -> None:
    """Take three steps, and print the peak."""
    case = next(case for case in CASES if case.name == name)
    case = shrunk(case) if quick else case
    lazy = _programs(case, program)
    before = _largest_set()
    made = dict(lazy)
    if not made:
        raise click.ClickException(f"{program} has no {case.model} to compare with")
    for one in made.values():
        for _ in range(2):
            one.run()
    on_device = _device_peak(case, program)
    peak = {"peak": _largest_set(), "before": before}
    click.echo(json.dumps(peak if on_device is None else {"peak": on_device, "before": 0.0}))


if __name__ == "__main__":
    main()
