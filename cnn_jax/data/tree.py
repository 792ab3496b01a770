"""All that lies in a folder or a zip archive."""

import os
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cnn_jax.errors import InputError


@dataclass(frozen=True)
class Fault:
    """Something among the data that cannot be used.

    Attributes:
        name: the file or folder, as it can be printed.
        reason: what is wrong with it; the name before it makes a sentence.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


@dataclass(frozen=True)
class Tree:
    """What lies in a folder or archive, with "/" between the parts of names.

    Attributes:
        files: name -> bytes, and a stamp that changes when the file does.
        folders: their names.
        faults: what could not be looked at.
    """

    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_tree(path: Path) -> Tree:
    """List a folder or a `.zip`, following symbolic links but never in a circle.

    Args:
        path: the folder or archive.

    Returns:
        What lies there. Names that are not UTF-8 are faults: no table or report could hold them.

    Raises:
        InputError: it is no archive, or cannot be read.
    """
    if not path.is_dir():
        return _zip_tree(path)
    tree = Tree()
    try:
        _walk(os.fspath(path), "", (), tree)
    except OSError as error:
        raise InputError(f"`data` (={path}) cannot be listed: {error.strerror}") from error
    return tree


def reader(path: Path) -> Callable[[str], bytes]:
    """Open a folder or a `.zip`, to read files of it by name, from several threads if need be.

    Args:
        path: the folder or archive.

    Returns:
        A function that takes a name and returns the bytes of the file; an archive stays open as
        long as the function is there.
    """
    if path.suffix.lower() == ".zip":
        return zipfile.ZipFile(path).read

    def read(name: str) -> bytes:
        with open(os.path.join(path, name), "rb") as file:
            return file.read()

    return read


def printable(name: str) -> str:
    """Write a file name so that it can be printed whatever its bytes are.

    >>> printable("caf" + chr(0xdce9))
    'caf\\\\xe9'
    """
    return os.fsencode(name).decode(errors="backslashreplace")


def _walk(top: str, folder: str, above: tuple, tree: Tree) -> None:
    where = os.path.join(top, folder)
    status = os.stat(where)
    identity = status.st_dev, status.st_ino
    if identity in above:
        tree.faults.append(Fault(printable(folder), "is a link back to a folder that it lies in"))
        return
    with os.scandir(where) as entries:
        entries = sorted(entries, key=lambda entry: entry.name)
    if folder:
        tree.folders.append(folder)
    for entry in entries:
        name = f"{folder}/{entry.name}" if folder else entry.name
        try:
            if entry.is_dir():
                _walk(top, name, (*above, identity), tree)
                continue
            status = entry.stat()
        except OSError as error:
            tree.faults.append(Fault(printable(name), f"cannot be reached ({error.strerror})"))
            continue
        if printable(name) != name:
            tree.faults.append(Fault(printable(name), "has a name that is not UTF-8: rename it"))
        elif not stat.S_ISREG(status.st_mode):
            tree.faults.append(Fault(name, "is no regular file"))
        else:
            tree.files[name] = status.st_size, status.st_mtime_ns


def _zip_tree(path: Path) -> Tree:
    tree = Tree()
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    tree.folders.append(info.filename.rstrip("/"))
                elif info.flag_bits & 1:
                    tree.faults.append(Fault(info.filename, "is encrypted"))
                else:
                    tree.files[info.filename] = info.file_size, info.CRC
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"`data` (={path}) is no readable zip archive ({error}): fetch it again"
        ) from error
    return tree
