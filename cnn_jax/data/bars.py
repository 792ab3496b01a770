"""What reading many files says on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, where that is a terminal.

    Args:
        what: is done to the files.
        total: number of files.

    Yields:
        A function that takes the number of files that have been done since it was called.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} files"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def say(text: str) -> None:
    """Print a line to standard error."""
    _console().print(text, markup=False)


def _console():
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)
