"""What was measured, as a table, as JSON with versions and hardware, and as a picture."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

import cnn_jax.environment
from experiments.bench.cases import Case
from experiments.bench.timing import Figure, best_peers

_MOST_COLUMNS = 9
_PEERS = ("torch", "torchvision", "timm", "keras")


def environment() -> dict:
    """Tell versions and hardware, as JSON takes it, and how busy the machine is."""
    arguments = ["python", "-m", "experiments.benchmark", *sys.argv[1:]]
    found = cnn_jax.environment.environment((*cnn_jax.environment.PACKAGES, *_PEERS))
    return {**found, "load": os.getloadavg(), "command": shlex.join(arguments)}


def ratios(case: Case, figures: Sequence[Figure]) -> dict[str, float]:
    """Divide our throughput by that of each peer's best form."""
    ours = [figure for figure in figures if figure.program == "cnn_jax"]
    if not ours:
        return {}
    return {peer: best.median / ours[0].median for peer, best in best_peers(figures).items()}


def time_table(results: Sequence[tuple[Case, list[Figure]]]) -> Table:
    """Lay times out for `rich.console.Console.print`."""
    title = "a step: median of the turns (a tenth was below, above), and of all cores together"
    table = Table(title=title, title_justify="left")
    for name in (
        "case",
        "program",
        "ms",
        "10-90 %",
        "core ms",
        "images/s",
        "first step",
        "ours is",
    ):
        table.add_column(name, justify="left" if name in ("case", "program") else "right")
    for case, figures in results:
        compared, best = ratios(case, figures), best_peers(figures)
        for index, figure in enumerate(figures):
            peer = figure.program.split(" ")[0]
            chosen = best.get(peer) is figure
            table.add_row(
                f"{case.name} {'×'.join(map(str, case.shape))}" if index == 0 else "",
                figure.program,
                f"{1e3 * figure.median:.2f}",
                f"{1e3 * figure.low:.2f}–{1e3 * figure.high:.2f}",
                f"{1e3 * figure.processor:.2f}",
                f"{figure.images_per_second:,.0f}",
                f"{figure.compiling:.1f} s",
                _against(case, peer, compared[peer]) if chosen and peer in compared else "",
            )
        table.add_section()
    return table


def _against(case: Case, peer: str, ratio: float) -> str:
    bar = case.bars.get(peer)
    if bar is None:
        return f"{ratio:.2f}×"
    return f"{ratio:.2f}× (bar {bar:.2g}{'' if ratio >= bar else ': missed'})"


def rows_table(title: str, rows: Sequence[dict]) -> Table:
    """Lay out records; where one has no value for a column of another, the cell is empty.

    Records of more values than fit beside each other go down.
    """
    table = Table(title=title, title_justify="left")
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_told(row.get(name, "")) for name in names] for row in rows]
    lines = [names, *cells]
    if len(names) > _MOST_COLUMNS:
        lines = list(zip(*lines, strict=True))
    for name, value in zip(lines[0], lines[1], strict=True):
        table.add_column(name, justify="right" if value[:1].isdigit() else "left")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def _told(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,.4g}"


def write_json(path: Path, results: Sequence[tuple[Case, list[Figure]]], parts: dict) -> None:
    """Write all that was measured, with versions and hardware."""
    record = {
        "environment": environment(),
        "cases": [
            {
                **{name: getattr(case, name) for name in ("name", "work", "model", "shape")},
                "precision": case.precision,
                "bars": case.bars,
                "ours_by_peer": ratios(case, figures),
                "figures": [figure.as_dict() for figure in figures],
            }
            for case, figures in results
        ],
        **parts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def draw(path: Path, results: Sequence[tuple[Case, list[Figure]]]) -> None:
    """Draw our throughput relative to the best form of each peer, with the bars to reach."""
    import matplotlib.pyplot as plt

    compared = [(case, ratios(case, figures)) for case, figures in results]
    compared = [(case, found) for case, found in compared if found]
    peers = sorted({peer for _, found in compared for peer in found})
    if not peers:
        return
    figure, axis = plt.subplots(
        figsize=(8, 1 + 0.22 * sum(1 + len(found) for _, found in compared)), layout="constrained"
    )
    labels, place = [], 0
    for case, found in compared:
        for peer, ratio in found.items():
            axis.barh(place, ratio, color=f"C{peers.index(peer)}")
            if peer in case.bars:
                axis.plot([case.bars[peer]] * 2, [place - 0.5, place + 0.5], "k", linewidth=2)
            labels.append((place, f"{case.name} / {peer}"))
            place += 1
        place += 0.6
    axis.axvline(1, color="grey", linewidth=0.8)
    axis.set_yticks([place for place, _ in labels], [name for _, name in labels], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("our throughput / the peer's best form (black: what it is to be at least)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    plt.close(figure)
