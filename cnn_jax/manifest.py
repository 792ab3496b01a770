"""The manifest of a folder: by which it is known whether its files are still as they were written.

`manifest.json` in the folder has the size and the digest of every other file:

    {"state/_METADATA": {"bytes": 8754, "blake2b": "5f1c..."}, ...}

Whatever one changes in the folder or in the manifest itself, they no longer agree.
"""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

NAME = "manifest.json"
_DIGEST_BYTES = 16
_AT_ONCE = 8


def write_manifest(folder: Path) -> None:
    """Have the disk hold every file of a folder, and then a manifest of them.

    Args:
        folder: the folder; nobody may be writing to it.

    Raises:
        OSError: a file cannot be read or the manifest not be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = Path(name)
    ...     _ = (folder / "weights").write_bytes(b"four")
    ...     write_manifest(folder)
    ...     print(damage(folder))
    ...     _ = (folder / "weights").write_bytes(b"fore")
    ...     print(damage(folder))
    None
    weights has other bytes than were written
    """
    # What is read may be in memory alone as yet.
    _of_each(folder, _keep)
    content = json.dumps(
        _of_each(folder, _description), indent=1
    )  # no newline that could be lost unnoticed
    with (folder / NAME).open("w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def damage(folder: Path) -> str | None:
    """Say in what a folder differs from its manifest.

    Args:
        folder: the folder.

    Returns:
        The first difference, for a sentence; None where there is none.
    """
    try:
        written = json.loads((folder / NAME).read_bytes())
    except FileNotFoundError:
        return f"it has no {NAME}"
    except (OSError, ValueError):
        return f"its {NAME} cannot be read"
    try:
        found = _of_each(folder, _description)
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    if not isinstance(written, dict):
        return f"its {NAME} cannot be read"
    # By size first: a file cut short is told as that.
    for name in sorted({*written, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in written:
            return f"{name} was not there when it was written"
        if written[name] != found[name]:
            return _difference(name, written[name], found[name])
    return None


def _of_each(folder: Path, function: Callable[[BinaryIO], Any]) -> dict[str, Any]:
    """Apply a function to each file but the manifest, by its path in the folder."""
    paths = sorted(
        path for path in folder.rglob("*") if not path.is_dir() and path != folder / NAME
    )

    def applied(path: Path) -> Any:
        try:
            with path.open("rb") as file:
                return function(file)
        except OSError as error:  # which knows the file only where that could not be opened
            raise OSError(error.errno, error.strerror, str(path)) from error

    # Small files take as long as the disk does to answer, and it answers many at once.
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="manifest") as threads:
        names = (path.relative_to(folder).as_posix() for path in paths)
        return dict(zip(names, threads.map(applied, paths), strict=True))


def _keep(file: BinaryIO) -> None:
    os.fsync(file.fileno())


def _description(file: BinaryIO) -> dict:
    digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    return {"bytes": os.fstat(file.fileno()).st_size, "blake2b": digest.hexdigest()}


def _difference(name: str, written: object, found: dict) -> str:
    size = written.get("bytes") if isinstance(written, dict) else None
    if isinstance(size, int) and size != found["bytes"]:
        return f"{name} has {found['bytes']:,} bytes instead of {size:,}"
    return f"{name} has other bytes than were written"
