"""A lock between processes, which the operating system lifts when its holder dies."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(
    path: Path, *, shared: bool = False, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold a lock on a file while the body runs.

    Args:
        path: the file; made if need be, and left there.
        shared: whether others may hold the lock as well who share it.
        waiting: called before waiting, where another process holds the lock.

    Raises:
        OSError: the file cannot be made.
    """
    import fcntl  # not on every system, where all but caches works without it

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)
