"""A lock between processes, which the operating system lifts when its holder dies."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What the file systems say that know no such locks.
_UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    waiting: Callable[[], None] = lambda: None,
    needed: bool = True,
) -> Iterator[None]:
    """Hold a lock on a file while the body runs.

    Args:
        path: the file; made if need be, and left there.
        shared: whether others may hold the lock as well who share it.
        waiting: called before waiting, where another holds the lock; raises an error to be told of
            not to wait.
        needed: whether not to do without a lock where the system or the disk knows none.

    Raises:
        OSError: the file cannot be made, or not be locked and that is needed.
        ImportError: the system knows no such locks, and one is needed.

    >>> import tempfile
    >>> def refuse():
    ...     raise RuntimeError("somebody has it")
    >>> with tempfile.TemporaryDirectory() as folder, locked(Path(folder, "lock")):
    ...     with locked(Path(folder, "lock"), waiting=refuse):
    ...         pass
    Traceback (most recent call last):
    RuntimeError: somebody has it
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            _lock(descriptor, shared=shared, waiting=waiting)
        except (ImportError, OSError) as error:
            if needed or getattr(error, "errno", errno.ENOSYS) not in _UNKNOWN:
                raise
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, *, shared: bool, waiting: Callable[[], None]) -> None:
    import fcntl  # not on every system

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting()
        fcntl.flock(descriptor, kind)
