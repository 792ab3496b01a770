"""From the start of a process to its first training step, with a cold and a warm cache.

    python -m experiments.bench.startup resnet50 8 224

takes that step: with the compilation cache as the command line has it, in a folder that the
environment variable CNN_JAX_CACHE names.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click


def first_steps(model: str, *, batch_size: int, image_size: int) -> dict[str, float]:
    """Time two processes, from start to end, the second with what the first has compiled.

    Returns:
        Seconds: `cold`, `warm`, and of the first step in each.
    """
    arguments = ["-m", "experiments.bench.startup", model, str(batch_size), str(image_size)]
    return _twice([sys.executable, *arguments], inside=True)


def training_command(*options: str) -> dict[str, float]:
    """Time `cnn-jax train` on digits twice, from start to end.

    Args:
        options: of the command, besides the data and the run directory.

    Returns:
        Seconds: `cold`, `warm`, and of the phases in each, as `whole_run` has them, with what the
        process's own start and end take; and `outside`, the part of each that is neither steps nor
        compilation.
    """
    command = [sys.executable, "-m", "experiments.bench.whole_run", "--data", "digits", *options]
    found = _twice(command, inside=True, workdir=True)
    for name in ("cold", "warm"):
        phases = [seconds for what, seconds in found.items() if what.startswith(f"{name} ")]
        found[f"{name} start and end"] = found[name] - sum(phases)
        busy = found[f"{name} steps"] + found[f"{name} compilation"]
        found[f"{name} outside"] = 1 - busy / found[name]
    return found


def _twice(command: list[str], *, inside: bool = False, workdir: bool = False) -> dict[str, float]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            name: value for name, value in os.environ.items() if "COMPILATION_CACHE" not in name
        }
        variables["CNN_JAX_CACHE"] = str(Path(folder) / "cache")
        for name in ("cold", "warm"):
            extra = ["--workdir", str(Path(folder) / name)] if workdir else []
            began = time.perf_counter()
            done = subprocess.run(
                command + extra, env=variables, capture_output=True, text=True, check=False
            )
            found[name] = time.perf_counter() - began
            if done.returncode:
                raise click.ClickException(done.stderr[-1000:])
            if inside:
                found |= {
                    f"{name} {what}": value
                    for what, value in json.loads(done.stdout.splitlines()[-1]).items()
                }
    return found | {"warm / cold": found["warm"] / found["cold"]}


@click.command(help=__doc__)
@click.argument("model")
@click.argument("batch_size", type=int)
@click.argument("image_size", type=int)
def main(model: str, batch_size: int, image_size: int) -> None:
    """Take a step, and print the seconds of its parts."""
    began = time.perf_counter()
    from cnn_jax.compilation_cache import use_compilation_cache
    from experiments.bench.cases import Case
    from experiments.bench.ours import programs

    use_compilation_cache()
    imported = time.perf_counter() - began
    case = Case("", "train", model, (batch_size, image_size, image_size, 3))
    dict(programs(case))
    click.echo(json.dumps({"imports": imported, "whole": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
