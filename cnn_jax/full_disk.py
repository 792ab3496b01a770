"""A full disk, told in a sentence instead of by whatever could not write to it."""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# No space, no more of one's share of it, or no more for one file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskFull(RuntimeError):
    """A run cannot go on for want of space; what it has saved before is kept."""


@contextmanager
def full_disk_told(workdir: Path) -> Iterator[None]:
    """Raise `DiskFull` in place of an error that comes of a full disk.

    Args:
        workdir: the run directory.

    Raises:
        DiskFull: the body raised such an error.

    >>> with full_disk_told(Path(".")):
    ...     raise OSError(errno.ENOSPC, "No space left on device")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cnn_jax.full_disk.DiskFull: the disk of . is full (... bytes are free there): make room...
    """
    try:
        yield
    except Exception as error:
        if not _comes_of_full_disk(error):
            raise
        there = next(path for path in (workdir, *workdir.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free
        raise DiskFull(
            f"the disk of {workdir} is full ({free:,} bytes are free there): make room, and "
            "continue the run (--resume) from its latest checkpoint, which is kept"
        ) from error


def _comes_of_full_disk(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # Orbax's errors from below carry the number in their text alone.
        found = re.search(r"os_error_code='(\d+)'", str(error))
        if found and int(found[1]) in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
