"""What a program runs on, and how it was called."""

import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import jax

PACKAGES = ("cnn_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def environment(packages: Sequence[str] = PACKAGES) -> dict:
    """Say which versions are at work on which machine.

    Args:
        packages: whose versions to tell.

    Returns:
        `python`, `packages` (version by name; of what is not installed, none), `system`,
        `processor`, `cores`, `devices` (their kind), `device_count` and `processes`.

    >>> sorted(environment())
    ['cores', 'device_count', 'devices', 'packages', 'processes', 'processor', 'python', 'system']
    """
    return {
        "python": platform.python_version(),
        "packages": dict(_versions(packages)),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "processes": jax.process_count(),
    }


def command_line(*, without: Sequence[str] = (), and_then: Sequence[str] = ()) -> str:
    """Write the command that this program was called by, for a shell.

    Args:
        without: arguments to leave out.
        and_then: arguments to add.

    Returns:
        The command.
    """
    program = Path(sys.argv[0])
    if program.name == "__main__.py":
        start = ["python", "-m", "cnn_jax"]
    else:
        start = ["python", sys.argv[0]] if program.suffix == ".py" else [program.name]
    given = [argument for argument in sys.argv[1:] if argument not in without]
    return shlex.join([*start, *given, *and_then])


def _versions(packages: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in packages:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:  # imported from its folder
            continue


def _processor() -> str:
    """Name the processor as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
