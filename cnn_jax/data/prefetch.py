"""Batches made ahead, while the ones before are being used."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def prefetched(make: Callable[[S], T], steps: Iterable[S], *, ahead: int = 2) -> Iterator[T]:
    """Make the batches of some steps in other threads, a few ahead of their use.

    One thread for each batch that is ahead: while one waits for its last image, the next begins.

    Args:
        make: the batch of a step, called from several threads: `train_batch` with all but the step
            filled in, and what places it on the devices.
        steps: the steps, in order; or whatever `make` takes, such as those of a dispatch.
        ahead: batches that may lie ready.

    Yields:
        What `make` returns, in the order of the steps; what it raises is raised here.

    >>> list(prefetched(lambda step: step**2, range(4)))
    [0, 1, 4, 9]
    """
    with ThreadPoolExecutor(ahead, thread_name_prefix="prefetch") as thread:
        waiting = deque()
        try:
            for step in steps:
                waiting.append(thread.submit(make, step))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
