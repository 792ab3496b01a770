"""What XLA is told beyond its defaults when a training step is compiled: a table, with the reasons.

It goes to the compiler with the program, not through `XLA_FLAGS`: it then holds in scripts too,
whenever JAX was started, and what this version of XLA does not know is left out, where in
`XLA_FLAGS` an unknown name ends the process. Only `jax.pmap` in a single process takes no options.
"""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import jax


@dataclass(frozen=True)
class Flag:
    """A row of the table.

    Attributes:
        name: as in `XLA_FLAGS`, without the dashes.
        value: of it.
        backend: "cpu", "gpu" or "tpu", on which it is set.
        reason: what it is for, with the figures or where they stand.
        several_devices: whether it is for programs over several devices alone.
        formerly: an older name, by which a user may have set it.
    """

    name: str
    value: bool | int | str
    backend: str
    reason: str
    several_devices: bool = False
    formerly: str | None = None


FLAGS = (
    Flag(
        "xla_cpu_scheduler_type",
        "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "cpu",
        "By default operations run as early as they can, so that what the gradients need lies "
        "there long before it is used. In the order that frees memory soonest a step of ResNet-50 "
        "(batch 32, 224x224) takes 4.0 GB instead of 5.6, and less processor time: ResNet-50 at "
        "batch 8 2.88 s instead of 3.18, ResNet-20 (batch 128, 32x32) 0.72 instead of 0.88, a "
        "three-block network the same (two cores, the least of 6 to 12 in turns).",
        formerly="xla_cpu_enable_concurrency_optimized_scheduler",
    ),
    Flag(
        "xla_cpu_experimental_ynn_fusion_type",
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE",
        "cpu",
        "Of what XLA gives to the library YNNPACK by default, convolutions are left out: it runs "
        "those of 32 and 64 channels on a single core. Wall time of a training step with it and "
        "without, two cores: three-block network (batch 64, 32x32) 124 and 82 ms, ResNet-18 "
        "(batch 8, 224x224) 455 and 368 ms; without YNNPACK altogether 124 and 468 ms.",
    ),
    Flag(
        "xla_gpu_enable_latency_hiding_scheduler",
        True,
        "gpu",
        "Averages over devices overlap with computation. Not measured here: JAX's GPU performance "
        "tips recommend it, and NVIDIA's JAX images set it.",
        several_devices=True,
    ),
)


def compile_options(*, devices: int = 1) -> dict[str, bool | int | str]:
    """Choose the rows of `FLAGS` for this backend.

    Left out is what the user has set in `XLA_FLAGS`, and what this version of XLA does not know.

    Args:
        devices: that the program runs on.

    Returns:
        For `jax.jit(..., compiler_options=...)`, on the outermost function.

    >>> step = jax.jit(lambda x: 2 * x, compiler_options=compile_options())
    >>> step(jax.numpy.float32(3)).item()
    6.0
    """
    told = _told_by_user()
    return {
        flag.name: flag.value
        for flag in FLAGS
        if flag.backend == jax.default_backend()
        and (devices > 1 or not flag.several_devices)
        and not told & {flag.name, flag.formerly}
        and _is_known(flag.name, flag.value)
    }


def _told_by_user() -> set[str]:
    """Name the flags of `XLA_FLAGS`, which may also be the name of a file of them."""
    told = os.environ.get("XLA_FLAGS", "")
    if not told.lstrip().startswith("-") and Path(told).is_file():
        told = Path(told).read_text()
    return set(re.findall(r"--(\w+)", told))


@functools.cache
def _is_known(name: str, value: bool | int | str) -> bool:
    """Try a flag on the smallest program."""
    try:
        jax.jit(lambda x: x, compiler_options={name: value}).lower(0).compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True
