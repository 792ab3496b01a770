"""Ctrl-C and SIGTERM, taken note of between steps."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals, signal


class Interrupted(BaseException):
    """A run was asked to stop, and has saved its state. No error, so no `Exception`.

    Attributes:
        cause: the signal it was asked by.
        step: the step it has saved.
        workdir: its run directory.
    """

    def __init__(self, cause: Signals, step: int, workdir: Path):
        """Note who asked, and what was saved."""
        super().__init__(f"stopped by {cause.name}; step {step} is saved in {workdir}")
        self.cause, self.step, self.workdir = cause, step, workdir


@dataclass
class Request:
    """Whether a stop has been asked for, and by which signal."""

    cause: Signals | None = None


@contextmanager
def stop_requests() -> Iterator[Request]:
    """Note the first Ctrl-C or SIGTERM instead of dying of it; a second one has its usual effect.

    Outside the main thread, where Python lets nobody handle signals, nothing is noted.

    Yields:
        The request; its `cause` is None until one comes.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def note(number: int, frame) -> None:
        request.cause = Signals(number)
        for each, handler in previous.items():
            signal(each, handler)

    previous = {number: signal(number, note) for number in (SIGINT, SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal(number, handler)
