"""The compilation cache: what one process compiles, the next one finds; and who decides."""

import os

from cnn_jax.compilation_cache import remove_oldest
from tests.conftest import ROOT, python

_ALL_KEPT = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
_PROGRAM = """
import jax, jax.monitoring, jax.numpy as jnp
from cnn_jax.compilation_cache import use_compilation_cache
folder = use_compilation_cache()
seen = []
jax.monitoring.register_event_listener(lambda event, **_: seen.append(event.rsplit("/", 1)[-1]))
jax.jit(lambda x: (jnp.sin(x) @ x).sum())(jnp.ones((8, 8))).block_until_ready()
print(folder, "cache_hits" in seen)
"""

# No public name tells what XLA is handed.
_AUTOTUNING = """
from jax._src import compiler
options = compiler.get_compile_options(1, 1)
print(options.executable_build_options.debug_options.xla_gpu_per_fusion_autotune_cache_dir)
"""


# As for a user of a container whom no one has told a home.
_HOMELESS = """
import pathlib
def home():
    raise RuntimeError("Could not determine home directory.")
pathlib.Path.home = home
"""


def told(folder, *, first: str = "", last: str = "", **variables) -> list[str]:
    """The folder in use, whether anything was found in it, and what else is printed."""
    nothing = {"JAX_COMPILATION_CACHE_DIR": "", "CNN_JAX_CACHE": str(folder)}
    done = python("-c", first + _PROGRAM + last, cwd=ROOT, **{**nothing, **variables})
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout.split()


def test_the_second_process_finds_what_the_first_compiled(tmp_path):
    folder, found = told(tmp_path, **_ALL_KEPT)
    assert folder.startswith(str(tmp_path / "compiled")) and found == "False"
    assert list((tmp_path / "compiled").glob("*/*-cache"))
    assert told(tmp_path, **_ALL_KEPT) == [folder, "True"]


def test_it_can_be_turned_off_and_cannot_be_in_the_way(tmp_path):
    assert told(tmp_path, CNN_JAX_COMPILATION_CACHE="0") == ["None", "False"]
    assert not list(tmp_path.iterdir())
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    assert told(tmp_path, CNN_JAX_CACHE=str(in_the_way)) == ["None", "False"]
    assert told("", first=_HOMELESS, XDG_CACHE_HOME="") == ["None", "False"]


def test_what_jax_is_told_goes_first(tmp_path):
    own = tmp_path / "own"
    folder, _ = told(tmp_path, JAX_COMPILATION_CACHE_DIR=str(own), **_ALL_KEPT)
    assert folder == str(own) and not (tmp_path / "compiled").exists()


def test_what_a_gpu_finds_fastest_is_kept_beside_the_programs(tmp_path):
    folder, _, autotuned = told(tmp_path, last=_AUTOTUNING)
    assert autotuned.startswith(folder + "/")


def test_the_least_recently_used_go(tmp_path):
    for age, name in enumerate("abcd"):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    gone = tmp_path / "gone"  # by another process
    files = [*tmp_path.iterdir(), gone]
    remove_oldest(files, most_bytes=400)
    assert len(list(tmp_path.iterdir())) == 4
    remove_oldest(files, most_bytes=399)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "b"]
