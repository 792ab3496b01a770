"""Timing in turns: A B A B, so that whatever else the machine does meets all alike."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from experiments.bench.cases import Case, Program


@dataclass(frozen=True)
class Figure:
    """What was measured of a program, in seconds.

    Attributes:
        case: its name.
        program: its name.
        median: of a step.
        low: the tenth part of turns was quicker than this.
        high: the tenth part of turns was slower.
        processor: median time of all cores together in a step.
        compiling: until the first step was done.
        images_per_second: by the median.
        turns: how many.
    """

    case: str
    program: str
    median: float
    low: float
    high: float
    processor: float
    compiling: float
    images_per_second: float
    turns: int

    def as_dict(self) -> dict:
        """Return it as JSON takes it."""
        return asdict(self)


def in_turns(
    case: Case, programs: dict[str, Program], *, turns: int, seconds: float
) -> list[Figure]:
    """Time programs in turns.

    Args:
        case: that they belong to.
        programs: started.
        turns: of each.
        seconds: that a turn is to last at least, by as many steps as that takes.

    Returns:
        A figure for each.
    """
    walls: dict[str, list[float]] = {name: [] for name in programs}
    processors: dict[str, list[float]] = {name: [] for name in programs}
    steps = {name: _steps(program, seconds) for name, program in programs.items()}
    for turn in range(turns):
        # Every other turn backwards: no one is always the first.
        for name in list(programs)[:: -1 if turn % 2 else 1]:
            run = programs[name].run
            run()  # after another's turn, caches are cold and memory lies with it
            began, spent = time.perf_counter(), time.process_time()
            for _ in range(steps[name]):
                run()
            walls[name].append((time.perf_counter() - began) / steps[name])
            processors[name].append((time.process_time() - spent) / steps[name])
    return [
        Figure(
            case.name,
            name,
            median=statistics.median(walls[name]),
            low=_quantile(walls[name], 0.1),
            high=_quantile(walls[name], 0.9),
            processor=statistics.median(processors[name]),
            compiling=program.compiling,
            images_per_second=case.shape[0] / statistics.median(walls[name]),
            turns=turns,
        )
        for name, program in programs.items()
    ]


def _steps(program: Program, seconds: float) -> int:
    began = time.perf_counter()
    program.run()
    return max(1, round(seconds / (time.perf_counter() - began)))


def _quantile(values: Iterable[float], share: float) -> float:
    values = sorted(values)
    return values[round(share * (len(values) - 1))]


def runs_in_turns(
    programs: dict[str, Callable[[int], tuple[float, float]]],
    *,
    runs: int,
    warm_up: bool,
    say: Callable[[str], None],
) -> dict[str, list[dict]]:
    """Train by several programs in turns.

    Args:
        programs: name -> (seed -> (accuracy, seconds)).
        runs: of each, with seeds from 0.
        warm_up: whether to run each once more before, for nothing.
        say: is told each run.

    Returns:
        name -> a record of each run: `seed`, `accuracy`, `seconds`.
    """
    found: dict[str, list[dict]] = {name: [] for name in programs}
    if warm_up:
        for run in programs.values():
            run(runs)
    for seed in range(runs):
        for name in list(programs)[:: -1 if seed % 2 else 1]:
            accuracy, seconds = programs[name](seed)
            found[name].append({"seed": seed, "accuracy": accuracy, "seconds": seconds})
            say(f"{name}, seed {seed}: {100 * accuracy:.2f} %, {seconds:.3f} s")
    return found


def over_runs(runs: list[dict]) -> dict[str, float]:
    """Compute the mean and the standard deviation of runs; the latter is 0 for a single one."""
    result = {}
    for name in ("accuracy", "seconds"):
        values = [run[name] for run in runs]
        result[f"{name}_mean"] = statistics.mean(values)
        result[f"{name}_deviation"] = statistics.stdev(values) if len(values) > 1 else 0.0
    return result


def best_peers(figures: Iterable[Figure]) -> dict[str, Figure]:
    """Choose the quickest program of each peer, by the first word of its name; ours left out."""
    best: dict[str, Figure] = {}
    for figure in figures:
        peer = figure.program.split(" ")[0]
        if peer != "cnn_jax" and (peer not in best or figure.median < best[peer].median):
            best[peer] = figure
    return best
