"""Several processes that train one run together: how they meet, and how they agree.

Each does the same, on its own devices and with its own part of every batch; the first alone writes
to the run directory, but for its part of a checkpoint, and the first alone speaks. Whatever a
process knows that the others do not, the time, a signal, a file, is agreed on before it is acted
upon: where they differ in what they compute next, they wait for each other for ever.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_jax import ranges
from cnn_jax.errors import InputError

# After so many seconds without a sign of life a process counts as dead, and the others end.
SIGN_OF_LIFE = 10
# The runtime aborts every process at once when the first is gone: it leaves so many seconds later.
_LAST_WORDS = 1.0
# Exit code of a process that has lost another.
LOST = 5

T = TypeVar("T")


def join(
    *, coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Meet the other processes of the run, before anything is computed.

    Args:
        coordinator: address and port of the first process, "10.0.0.1:1234"; None, like the next
            two, for what Slurm, Open MPI, Kubernetes or a Cloud TPU says.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        InputError: nothing says how to meet, the numbers do not fit, the others do not come, or
            JAX has computed something already.
    """
    if processes is not None:
        ranges.whole("processes", processes, remedy="the number of processes that are started")
    if process is not None and not 0 <= process < (processes or process + 1):
        raise InputError(
            f"`process` (={process}) must be one of the {processes} processes: from 0 to "
            f"{processes - 1}"
        )
    if coordinator is not None and not coordinator.rpartition(":")[2].isdecimal():
        raise InputError(
            f"`coordinator` (={coordinator}) must be an address and a port of the first process: "
            "10.0.0.1:1234 for instance"
        )
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator, processes, process, heartbeat_timeout_seconds=SIGN_OF_LIFE
        )
    except ValueError as error:  # JAX names its own argument
        raise InputError(
            f"`coordinator`, `processes` or `process` is missing ({error}): nothing in the "
            "environment says how the processes meet, so give all three"
        ) from error
    except jax.errors.JaxRuntimeError as error:
        raise InputError(
            f"`coordinator` (={coordinator}) was not reached by all {processes} processes: start "
            "as many, each with another number, and a port that is free and open"
        ) from error
    except RuntimeError as error:
        raise InputError(
            "`join` must be called before JAX computes anything: call it first, and once"
        ) from error


def is_first() -> bool:
    """Tell whether this is the process that speaks and writes; it is where there is one alone."""
    return jax.process_index() == 0


def own_part() -> tuple[int, int]:
    """Say which part of what the processes share is this one's: (k, n), the k-th of n."""
    return jax.process_index(), jax.process_count()


def told_by_first(find: Callable[[], T]) -> T:
    """Have the first process find something out, and tell the others.

    Args:
        find: what to call there; it returns something of JSON's types.

    Returns:
        What it returned, in every process.

    Raises:
        InputError: it raised that, there; an OSError too is one everywhere, and other errors are a
            RuntimeError in the other processes.

    >>> told_by_first(lambda: [1, "two"])
    [1, 'two']
    """
    if jax.process_count() == 1:
        return find()
    error, outcome = None, {}
    if is_first():
        try:
            outcome = {"found": find()}
        except Exception as raised:
            error, outcome = raised, _described(raised)
    message = json.dumps(outcome).encode()
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(message))))
    padded = np.frombuffer(message.ljust(length)[:length], np.uint8)
    outcome = json.loads(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())
    if "found" not in outcome:
        raise error or _rebuilt(**outcome)
    return outcome["found"]


def done_by_all(do: Callable[[], T]) -> T:
    """Have every process do something, and none go on where it fails in one.

    Args:
        do: what to call.

    Returns:
        What it returned here.

    Raises:
        Exception: what it raised here.
        InputError: it raised something in another process, and not here.

    >>> done_by_all(lambda: 3)
    3
    """
    if jax.process_count() == 1:
        return do()
    error, found = None, None
    try:
        found = do()
    except Exception as raised:
        error = raised
    failed = np.flatnonzero(multihost_utils.process_allgather(np.bool_(error is not None)))
    if error is not None:
        raise error
    if failed.size:
        others = ", ".join(map(str, failed))
        raise InputError(f"`process` (={others}) cannot begin, and says why: none does without it")
    return found


def highest(number: int) -> int:
    """Find the highest of the numbers that the processes give; alone, what is given.

    >>> highest(3)
    3
    """
    if jax.process_count() == 1:
        return number
    return int(multihost_utils.process_allgather(np.int32(number)).max())


def check_same(what: str, value: Any) -> None:
    """Check that something is the same in all processes.

    Args:
        what: its name.
        value: of JSON's types.

    Raises:
        InputError: it is not; in every process.
    """
    if jax.process_count() == 1:
        return
    first = told_by_first(lambda: value)
    same = multihost_utils.process_allgather(np.bool_(first == json.loads(json.dumps(value))))
    if not np.all(same):
        others = ", ".join(map(str, np.flatnonzero(~same)))
        raise InputError(
            f"`{what}` differs between the processes (0 from {others}): start all with the same "
            "command and the same files"
        )


@contextmanager
def ended_together(*, patience: float) -> Iterator[Callable[[], None]]:
    """End this process, with a sentence and exit code `LOST`, where it has lost another.

    It ends at once and nothing is cleaned up, for which the processes would have to meet: they
    would wait for the one that is lost. Where that one is the first, or falls silent, the runtime
    aborts the others before they can speak (SIGABRT, within `SIGN_OF_LIFE`): a small process beside
    each says the sentence then. A process alone is left as it is.

    Args:
        patience: seconds without progress after which to end: one that hangs but shows signs of
            life lets the others wait.

    Yields:
        What to call at every sign of progress.
    """
    if jax.process_count() == 1:
        yield lambda: None
        return
    latest, over = [time.monotonic()], threading.Event()

    def end(reason: str) -> NoReturn:
        beside.communicate(_sentence(reason))
        os._exit(LOST)

    def watch() -> None:
        while not over.wait(min(patience / 10, 1.0)):
            if time.monotonic() - latest[0] > patience:
                end(f"no step was finished, and no batch evaluated, in {patience:,.0f} s")

    def progress() -> None:
        latest[0] = time.monotonic()

    watching = threading.Thread(target=watch, name="patience", daemon=True)
    unheard = _sentence("it was killed, or the runtime ended it; see above")
    # It hears of its parent's death by the end of its input.
    beside = subprocess.Popen(
        [sys.executable, "-IS", "-c", _SPEAK, unheard],
        stdin=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    watching.start()
    try:
        yield progress
    except jax.errors.JaxRuntimeError as error:
        end(str(error).strip().splitlines()[0])
    finally:
        over.set()
        watching.join()
        beside.communicate(" ")


# Says what it is told, or else what it was given at its start.
_SPEAK = """import sys
sentence = sys.stdin.read() or sys.argv[1]
if sentence.strip():
    print(sentence, file=sys.stderr)
"""


def _sentence(reason: str) -> str:
    number, count = own_part()
    return (
        f"error: process {number} of {count} ends, having lost another or itself ({reason}): start "
        "all of them again and continue the run (--resume) from its latest checkpoint"
    )


def leave(code: int) -> None:
    """End this process at once where it has met others, for the others to notice; else return.

    Args:
        code: exit code of a failure. Left in the usual way, it would first wait for all the others.
    """
    if not jax.distributed.is_initialized():
        return
    if is_first():
        time.sleep(_LAST_WORDS)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _described(error: Exception) -> dict:
    if isinstance(error, OSError):
        return {"kind": "OSError", "arguments": [error.errno, error.strerror, error.filename]}
    kind = "InputError" if isinstance(error, InputError) else "RuntimeError"
    return {"kind": kind, "arguments": [str(error)]}


def _rebuilt(kind: str, arguments: list) -> Exception:
    return {"OSError": OSError, "InputError": InputError}.get(kind, RuntimeError)(*arguments)
