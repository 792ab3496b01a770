"""Work shared out over processes, for what Python's threads cannot do side by side.

Decoding small images is mostly Python's own work: two threads are slower there than one (measured:
60,000 JPEG files of 32x32, one thread 4.4 s, two threads 7.6 s). The processes are started as
programs of their own, so the caller's main module needs no guard, JAX's threads are not forked, and
a decoder that crashes takes no training with it.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

_WORTH_PROCESSES = 2000
_PROGRAM = "from cnn_jax.data.workers import serve; serve()"


def cores() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def workers_for(files: int) -> int:
    """Number of processes that reading so many files is worth; starting one takes 0.3 s."""
    return cores() if files >= _WORTH_PROCESSES else 1


def share_out(
    make: Callable[[Any], Callable[[Any], Any]], setup: Any, tasks: Sequence, *, workers: int
) -> Iterator[tuple[int, Any]]:
    """Do tasks in several processes.

    Args:
        make: a function of some module, called once in each process: takes `setup`, and returns
            the function that does a task.
        setup: what it takes; it must pickle.
        tasks: what is to be done; these and the results must pickle.
        workers: processes; with 1, all is done in this one.

    Yields:
        (position of the task, its result), in the order in which they are done.

    Raises:
        RuntimeError: a process died, as of a crash in a decoder or for want of memory.
        Exception: whatever a task raised.

    >>> from operator import itemgetter
    >>> list(share_out(itemgetter, 1, ["ab", "cd"], workers=1))
    [(0, 'b'), (1, 'd')]
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        do = make(setup)
        for position, task in enumerate(tasks):
            yield position, do(task)
        return
    with ExitStack() as stack:
        free: SimpleQueue[subprocess.Popen] = SimpleQueue()
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        for _ in range(workers):
            process = _start()
            stack.callback(_stop, process)
            _send(process.stdin, (make, setup))
            free.put(process)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def do(task):
            process = free.get()
            try:
                _send(process.stdin, task)
                error, result = pickle.load(process.stdout)
            except (EOFError, OSError, pickle.UnpicklingError) as lost:
                code = process.wait()
                free.put(process)
                raise RuntimeError(f"a process that decodes images died (code {code})") from lost
            free.put(process)
            if error is not None:
                raise error
            return result

        futures = {pool.submit(do, task): position for position, task in enumerate(tasks)}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()


def serve() -> None:
    """Do the tasks that come in, until there are no more: what the processes run."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not come between the replies
    requests = sys.stdin.buffer
    try:
        make, setup = pickle.load(requests)
        do = make(setup)
        while True:
            task = pickle.load(requests)
            try:
                reply = None, do(task)
            except Exception as error:
                reply = error, None
            _send(replies, reply)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # the parent is done, or gone


def _start() -> subprocess.Popen:
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        # Not from the working folder, whose modules might bear any name (-P); what Pillow warns
        # of in ten thousand files would bury all else (-W).
        [sys.executable, "-P", "-W", "ignore", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def _stop(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # a request that nobody reads any more
            pipe.close()


def _send(pipe, message: Any) -> None:
    pickle.dump(message, pipe, protocol=pickle.HIGHEST_PROTOCOL)
    pipe.flush()
