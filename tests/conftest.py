"""What tests of several files share: small data, small recipes, and the command line."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import jaxlib
import numpy as np
import pytest

from cnn_jax import data, models, optim, schedules
from cnn_jax.recipe import Recipe

ROOT = Path(__file__).parents[1]

# Workers and the processes that tests start compile the same programs: this session's share what
# they have compiled. An environment that names a cache of its own keeps it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.mkdtemp(prefix="cnn-jax-compiled-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"


# Most of the time goes to compilation, of which this saves a half. The same is computed, but for
# rounding.
_flags = "--xla_backend_optimization_level=0"
if jaxlib.__version__.startswith("0.10."):  # XLA aborts where it does not know a flag
    _flags += " --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{_flags} {os.environ.get('XLA_FLAGS', '')}"


def scans(count: int, *, classes: int = 3, size: int = 8, seed: int = 0):
    """Images that can be told apart: class k has a bright row k. uint8 [N, size, size, 1]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = rng.integers(0, 120, (count, size, size, 1))
    images[np.arange(count), labels + 1] += 120
    return images.astype(np.uint8), labels.astype(np.int64)


@pytest.fixture
def dataset() -> data.Dataset:
    """90 training, 10 validation and 37 test images (no multiple of any batch size used)."""
    return data.make_dataset(
        data.array_source(*scans(100), name="training scans"),
        data.array_source(*scans(37, seed=1), name="test scans"),
        name="scans",
        validation=10,
    )


@pytest.fixture
def recipe(dataset) -> Recipe:
    """A run of 12 steps in 2 epochs of 5.6 steps each."""
    return Recipe(
        model=models.create_model("mlp", num_classes=3, widths=(16,)),
        data=dataset,
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.cosine, learning_rate=0.1),
        epochs=2,
        batch_size=16,
        eval_batch_size=8,
        log_every=2,
    )


def python(
    *arguments, cwd: Path, timeout: float = 300, **environment
) -> subprocess.CompletedProcess:
    """Run Python on arguments in a fresh process, with the package importable."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env=process_environment(**environment),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def process_environment(*, xla_flags: str = "", **changes: str) -> dict[str, str]:
    """The environment for a fresh process: this one's, the package on the path, and changes."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    flags = f"{os.environ['XLA_FLAGS']} {xla_flags}"
    # To compile the package's source takes longer than to import it: the first process keeps that.
    kept = {"PYTHONDONTWRITEBYTECODE": ""}
    return {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": flags, **kept, **changes}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Spare the collector what the imports have brought, which it would look through for nothing.

    Tracing makes so many objects that this takes an eighth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
