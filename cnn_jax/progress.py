"""What a run says on the terminal."""

import itertools
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnn_jax.metrics import Tally
from cnn_jax.parameter_rules import ParameterRow
from cnn_jax.plan import PlanRow

_LONGEST_TABLE = 32  # lines that still fit a screen


def percent(fraction: float) -> str:
    """Write a fraction as a percentage.

    >>> percent(0.9915)
    '99.15 %'
    """
    return f"{100 * fraction:.2f} %"


class Reporter:
    """A progress bar on a terminal, and a line for each epoch anywhere.

    Colours follow `NO_COLOR`; where the output is no terminal there is no bar.
    """

    def __init__(self, *, total_steps: int, quiet: bool = False):
        """Prepare to report on a run of so many steps."""
        self._console = Console(quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.fields[figures]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=total_steps, figures="compiling")

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def parameters(self, rows: Sequence[ParameterRow]) -> None:
        """Print what the optimizer does to each parameter.

        Args:
            rows: the table. Of a long one, rows that differ in numbers alone share a line.
        """
        table = Table(title="What the optimizer does", title_justify="left")
        for heading in ("parameter", "shape", "learning rate", "weight decay"):
            table.add_column(heading, justify="left" if heading == "parameter" else "right")
        for path, shape, row in _folded(rows):
            table.add_row(
                path,
                shape,
                "frozen" if row.frozen else f"x {row.learning_rate:g}",
                f"{row.decay:g}" if row.decay else "-",
            )
        self._console.print(table)

    def plan(self, rows: Sequence[PlanRow]) -> None:
        """Print what each stage trains.

        Args:
            rows: the plan. Neighbouring groups that learn alike share a line.
        """
        table = Table(title="What is trained when", title_justify="left")
        for heading in ("stage", "trained", "rate", "statistics"):
            table.add_column(heading, justify="right" if heading in ("trained", "rate") else "left")
        for stage, of_stage in itertools.groupby(rows, lambda row: row.stage):
            of_stage = list(of_stage)
            trained = sum(row.parameters for row in of_stage if row.trained)
            total, epochs = sum(row.parameters for row in of_stage), of_stage[0].epochs
            heading = f"{stage}, {epochs} epoch{'s' * (epochs > 1)}"
            table.add_row(heading, f"{trained:,} of {total:,}", style="bold")
            for (rate, moving), alike in itertools.groupby(
                of_stage, lambda row: (row.learning_rate, row.statistics)
            ):
                alike = list(alike)
                groups = " to ".join(dict.fromkeys((alike[0].group, alike[-1].group)))
                size = f"{sum(row.parameters for row in alike):,}" if rate else "frozen"
                shown = "" if moving == "none" else moving
                table.add_row(f"  {groups}", size, f"{rate:.3g}" if rate else "", shown)
            table.add_section()
        self._console.print(table)

    def advance(self, step: int, tally: Tally, images_per_second: float) -> None:
        """Move the bar to a step.

        Args:
            step: steps taken.
            tally: what to show loss and accuracy of.
            images_per_second: speed.
        """
        figures = (
            f"loss {tally.mean_loss:.4f}  accuracy {percent(tally.accuracy)}  "
            f"{images_per_second:,.0f} images/s"
        )
        self._bar.update(self._task, completed=step, figures=figures)

    def epoch(self, record: dict, *, epochs: int) -> None:
        """Print the line of an epoch.

        Args:
            record: of the metrics file.
            epochs: epochs of the run.
        """
        parts = [
            f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}",
            f"train loss {record['train_loss']:.4f}, accuracy {percent(record['train_accuracy'])}",
        ]
        if "validation_loss" in record:
            parts.append(
                f"validation loss {record['validation_loss']:.4f}, "
                f"accuracy {percent(record['validation_accuracy'])}"
            )
        parts.append(f"{record['images_per_second']:,.0f} images/s")
        self.say("  ".join(parts))

    def result(self, result: dict, *, workdir: Path) -> None:
        """Print the final figures and where the files are.

        Args:
            result: as written to the run directory.
            workdir: the run directory.
        """
        table = Table(title="Test images, class by class", title_justify="left")
        for heading in ("class", "precision", "recall", "F1", "images"):
            table.add_column(heading, justify="left" if heading == "class" else "right")
        for row in (result["assessment"] or {"classes": []})["classes"]:
            figures = (percent(row[key]) for key in ("precision", "recall", "f1"))
            table.add_row(row["name"], *figures, f"{row['images']:,}")
        self._console.print(table)
        self.say(
            f"test accuracy {percent(result['test_accuracy'])} ({result['test_correct']:,} of "
            f"{result['test_images']:,} images), loss {result['test_loss']:.4f}, "
            f"{_which_state(result)}"
        )
        self.say(f"took {result['seconds']:.1f} s, compilation included")
        self.say(f"files: {workdir}")
        for name, content in _FILES:
            self.say(f"  {name:<22} {content}")
        self.say(f"next: cnn-jax evaluate {shlex.quote(str(workdir))}")


_FILES = (
    ("learning_curves.png", "loss and accuracy by epoch"),
    ("confusion_matrix.png", "which class is taken for which"),
    ("predictions.png", "right and wrong predictions, the most confident first"),
    ("report.html", "all of it on a page, to open in a browser"),
    ("predictions.csv", "what the network says of each test image"),
    ("metrics.jsonl", "every figure above and more"),
    ("parameters.csv", "what the optimizer does to each parameter"),
    ("checkpoints", "the last states and the best"),
)


def _folded(rows: Sequence[ParameterRow]) -> list[tuple[str, str, ParameterRow]]:
    """Lay rows out as (path, shape, one of them); long tables by paths with * for numbers."""
    if len(rows) <= _LONGEST_TABLE:
        return [(row.path, "x".join(map(str, row.shape)) or "1", row) for row in rows]
    groups: dict[tuple, list[ParameterRow]] = {}
    for row in rows:
        path = re.sub(r"\d+(?=[_/])|(?<=_)\d+", "*", row.path)
        groups.setdefault((path, row.learning_rate, row.decay, row.frozen), []).append(row)
    return [
        (path, f"{len(group)} arrays, {sum(math.prod(row.shape) for row in group):,}", group[0])
        for (path, *_), group in groups.items()
    ]


def _which_state(result: dict) -> str:
    if result["best"] is None:
        return f"of the last step ({result['step']:,})"
    monitor, best = result["monitor"], result["best"]
    figure = percent(best) if monitor.endswith("accuracy") else f"{best:.4f}"
    return f"of step {result['step']:,}, the best by {monitor.replace('_', ' ')} ({figure})"
