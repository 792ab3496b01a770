"""Compiled programs kept from one process to the next: the second start needs no compilation.

The command line turns it on. They lie beside the decoded images, in a folder for each kind of
processor, since a program for one may not run on another that shares the home directory. On a GPU
JAX has XLA keep there, too, which form of each operation it has found to be the fastest
(`jax_persistent_cache_enable_xla_caches`).
"""

import hashlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import jax

from cnn_jax.data.cache import cache_folder

VARIABLE = "CNN_JAX_COMPILATION_CACHE"
_OFF = ("0", "off", "no", "false")
_MOST_BYTES = 1 << 30
# JAX keeps what took it a second; of small networks most takes less, and all of it half the start.
_SECONDS_TO_KEEP = 0.1


def use_compilation_cache(cache_dir: str | Path | None = None) -> Path | None:
    """Have JAX keep what it compiles in this process, and find what others have compiled.

    Call it before anything is compiled. What the user has told JAX goes first: a folder of
    `JAX_COMPILATION_CACHE_DIR` is used as it is, and `JAX_ENABLE_COMPILATION_CACHE=0` turns the
    cache off, as does `CNN_JAX_COMPILATION_CACHE=0`. A folder that cannot be written is no error.
    Where it holds more than a gigabyte, what was used least recently is removed. Several processes
    may share it: an entry is written once, and one that is not whole is compiled anew, with a
    warning.

    Args:
        cache_dir: where caches lie; None as for `data.cache.cache_folder`.

    Returns:
        The folder in use; None where there is no cache.

    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> used = use_compilation_cache(folder)  # None, or another folder, where the user says so
    """
    if os.environ.get(VARIABLE, "").lower() in _OFF or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
    try:
        root = cache_folder(cache_dir) / "compiled"
        folder = root / _machine()
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            return None
        remove_oldest(root.rglob("*-cache"), most_bytes=_MOST_BYTES)
    except (OSError, RuntimeError):  # the latter of a user without a home
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _SECONDS_TO_KEEP)
    return folder


def remove_oldest(files: Iterable[Path], *, most_bytes: int) -> None:
    """Remove the files used least recently where all are larger than a limit, down to 3/4 of it.

    Args:
        files: to choose from; another process may remove some meanwhile.
        most_bytes: the limit.

    Raises:
        OSError: one cannot be removed.
    """
    found = []
    for file in files:
        try:
            seen = file.stat()
        except FileNotFoundError:
            continue
        found.append((max(seen.st_atime, seen.st_mtime), seen.st_size, file))
    left = sum(size for _, size, _ in found)
    if left <= most_bytes:
        return
    for _, size, file in sorted(found):
        if left <= 3 * most_bytes // 4:
            return
        file.unlink(missing_ok=True)
        left -= size


def _machine() -> str:
    """Name the kind of processor: its instructions are what a compiled program is made of."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [platform.processor()]
    kinds = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    told = "\n".join([platform.system(), platform.machine(), *sorted(kinds)])
    return hashlib.blake2b(told.encode(), digest_size=6).hexdigest()
