"""Where the time of `cnn-jax train` goes: what is neither a step nor a compilation.

    python -m experiments.bench.whole_run --data digits --workdir runs/timed

trains as that command does, with its options, and prints the seconds of each phase as JSON. The
clock of a phase stands still while another is within it. JAX itself tells how long it traced,
lowered and compiled, or read from the compilation cache; evaluations count as steps.
"""

import json
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import wraps
from importlib import import_module

import jax

# What JAX reports of making a program out of a function.
_COMPILING = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")
_PHASES = {
    "data": [("cnn_jax.recipe_options", "load")],
    "steps": [("cnn_jax.train", "_train"), ("cnn_jax.train", "evaluate")],
    "checkpoints": [
        ("cnn_jax.checkpoints", f"Checkpoints.{name}")
        for name in ("__init__", "__exit__", "save", "wait", "restore", "recover")
    ],
    "pictures": [("cnn_jax.train", "write_pictures")],
    "report": [("cnn_jax.train", "_conclude")],  # what is neither evaluation nor a picture of it
}

Interval = tuple[str, float, float]


def shares(intervals: Iterable[Interval], *, began: float, ended: float) -> dict[str, float]:
    """Divide a time among phases that may lie within each other: each moment is the innermost's.

    Args:
        intervals: (phase, begin, end); of two, one lies within the other or they are apart.
        began: of the whole.
        ended: of the whole.

    Returns:
        The time of each phase, and `rest`; together that of the whole.

    >>> shares([("steps", 1, 9), ("compilation", 2, 5)], began=0, ended=10)
    {'rest': 2, 'steps': 5, 'compilation': 3}
    """
    found, within, now = Counter(rest=0), [("rest", math.inf)], began

    def advance(to: float) -> None:
        """Count the time up to a moment, and leave the phases that end by then."""
        nonlocal now
        while now < to or within[-1][1] <= to:
            phase, end = within[-1]
            found[phase] += min(end, to) - now
            now = min(end, to)
            if end <= to:
                within.pop()

    # Of equal beginnings the longest is the outermost.
    for phase, begin, end in sorted(intervals, key=lambda each: (each[1], -each[2])):
        advance(begin)
        within.append((phase, min(end, within[-1][1])))
    advance(ended)
    return dict(found)


def noted(phase: str, function: Callable, intervals: list[Interval]) -> Callable:
    """Have a function's times of the main thread noted."""

    @wraps(function)
    def timed(*args, **options):
        begin = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            if threading.current_thread() is threading.main_thread():
                intervals.append((phase, begin, time.perf_counter()))

    return timed


def main() -> None:
    """Train, and print the seconds of the phases."""
    intervals: list[Interval] = []
    began = time.perf_counter()
    cli = import_module("cnn_jax.cli")
    import_module("cnn_jax.train")
    intervals.append(("imports", began, time.perf_counter()))
    for phase, functions in _PHASES.items():
        for module, path in functions:
            *outer, name = path.split(".")
            where = import_module(module)
            for each in outer:
                where = getattr(where, each)
            setattr(where, name, noted(phase, getattr(where, name), intervals))

    def compiled(event: str, seconds: float, **_) -> None:
        if event.endswith(_COMPILING) and threading.current_thread() is threading.main_thread():
            now = time.perf_counter()
            intervals.append(("compilation", now - seconds, now))

    jax.monitoring.register_event_duration_secs_listener(compiled)
    sys.argv = ["cnn-jax", "train", *sys.argv[1:]]
    code = cli.call(cli.cnn_jax)
    print(json.dumps(shares(intervals, began=began, ended=time.perf_counter())))
    sys.exit(code)


if __name__ == "__main__":
    main()
