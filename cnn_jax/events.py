"""TensorBoard's event files, written by the thread that has the figures.

tensorboardX's own writer leaves that to a thread, at whose death of a full disk the run would wait
for ever.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _not_installed(name: str) -> Iterator[None]:
    """Have an import of a module fail meanwhile, unless it has been imported."""
    hidden = name not in sys.modules
    if hidden:
        sys.modules[name] = None
    try:
        yield
    finally:
        if hidden:
            del sys.modules[name]


# For a type annotation tensorboardX imports PyTorch where it is installed: as long as all the rest.
with _not_installed("torch"):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event, SessionLog
    from tensorboardX.summary import scalar


def open_events(folder: Path, *, step: int) -> EventsWriter:
    """Begin an event file.

    Args:
        folder: for it; made if need be.
        step: the first that is to come: what other files in the folder have of it and of later
            ones counts no more.

    Returns:
        The file, with `write_event`, `flush` and `close`.
    """
    folder.mkdir(exist_ok=True)
    events = EventsWriter(str(folder / "events"))
    start = SessionLog(status=SessionLog.START)
    events.write_event(Event(wall_time=time.time(), step=step, session_log=start))
    return events


def figure(name: str, value: float, *, step: int) -> Event:
    """Make the event of a figure.

    >>> figure("loss", 0.5, step=7).summary.value[0].simple_value
    0.5
    """
    return Event(wall_time=time.time(), step=step, summary=scalar(name, value))
