"""Several runs side by side."""

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_jax import rundir
from cnn_jax.errors import InputError
from cnn_jax.evaluate.comparison import mcnemar
from cnn_jax.report import charts
from cnn_jax.report.page import write_page


@dataclass(frozen=True, eq=False)
class _Run:
    """What the directory of a run says."""

    name: str
    recipe: dict
    epochs: list[dict]
    result: dict
    right: np.ndarray | None


def write_comparison(workdirs: Sequence[str | Path], path: str | Path) -> Path:
    """Write a page that sets runs side by side: a table, a plot, and what is chance.

    Two runs on the same test images are compared by McNemar's test.

    Args:
        workdirs: two or more run directories.
        path: the HTML file to write; one that is there is replaced only if it is such a page.

    Returns:
        The file.

    Raises:
        InputError: a directory is no run directory, comes twice, or there are fewer than two; or
            the file is something else.
    """
    workdirs, path = [Path(workdir) for workdir in workdirs], Path(path)
    if len(workdirs) < 2:
        raise InputError(f"`runs` are {len(workdirs)}: name two or more to compare")
    resolved = [workdir.resolve() for workdir in workdirs]
    for workdir in workdirs:
        if resolved.count(workdir.resolve()) > 1:
            raise InputError(f"`runs` name {workdir} twice: name each run once")
    check_page(path)
    runs = [_read(workdir) for workdir in workdirs]
    measured = [run for run in runs if run.result]
    best = max(measured, key=lambda run: run.result["test_accuracy"], default=None)
    write_page(
        "comparison.html",
        path,
        rows=[_row(run, best) for run in runs],
        best=best and best.name,
        curves=_curves(runs),
        differing=_differing(runs),
        names=[run.name for run in runs],
    )
    return path


def check_page(path: Path) -> None:
    """Check that a page may be written to a path.

    Raises:
        InputError: it does not end in .html, lies in no folder, or is a file of something else.
    """
    if path.suffix.lower() != ".html":
        raise InputError(f"`out` (={path}) must end in .html: choose such a name")
    if not path.absolute().parent.is_dir():
        raise InputError(f"`out` (={path}) lies in no folder that exists: make it first")
    if path.exists() and b"Written by cnn_jax" not in path.read_bytes():
        raise InputError(f"`out` (={path}) is a file of something else: choose another name")


def _read(workdir: Path) -> _Run:
    recipe = rundir.read_description(workdir)["recipe"]
    result = rundir.read_result(workdir) or {}
    right = _read_right(workdir / rundir.PREDICTIONS) if result else None
    return _Run(str(workdir), recipe, rundir.read_epochs(workdir), result, right)


def _read_right(path: Path) -> np.ndarray | None:
    """Read which test images a run takes for what they are."""
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        return np.array([row["right"] == "1" for row in csv.DictReader(file)])


def _row(run: _Run, best: _Run | None) -> dict:
    result, speeds = run.result, [record["images_per_second"] for record in run.epochs]
    return {
        "name": run.name,
        "model": run.recipe["model"].get("name", run.recipe["model"].get("class")),
        "data": run.recipe["data"]["name"],
        "epochs": f"{run.epochs[-1]['epoch'] if run.epochs else 0} of {run.recipe['epochs']}",
        "finished": bool(result),
        "assessment": result.get("assessment") or {},
        "accuracy": result.get("test_accuracy"),
        "cost": result.get("cost", {}),
        "speed": statistics.median(speeds) if speeds else None,
        "seconds": result.get("seconds"),
        "against_best": _against(run, best),
    }


def _against(run: _Run, best: _Run | None) -> str:
    """Say whether a run differs from the best one by more than chance."""
    if best is None or not run.result:
        return "unfinished"
    if run is best:
        return "the best"
    tests = [one.recipe["data"]["test"]["fingerprint"] for one in (run, best)]
    if tests[0] != tests[1]:
        return "other test images"
    if run.right is None or best.right is None:
        return "its predictions are not there"
    found = mcnemar(run.right, best.right)
    return f"{found.only_b} only right there, {found.only_a} only here: p = {found.p_value:.2g}"


def _curves(runs: list[_Run]) -> list[dict]:
    """Draw what all runs have of loss and accuracy, a line each."""
    found = []
    for metric, unit, scale in (
        ("validation_accuracy", "%", 100),
        ("validation_loss", "nats", 1),
        ("train_loss", "nats", 1),
    ):
        lines = [
            (
                run.name,
                [record["epoch"] for record in run.epochs if metric in record],
                [scale * record[metric] for record in run.epochs if metric in record],
            )
            for run in runs
            if any(metric in record for record in run.epochs)
        ]
        if lines:
            label = metric.replace("_", " ")
            last = ", ".join(f"{name} {values[-1]:.4g} {unit}" for name, _, values in lines)
            address = charts.curves(lines, ylabel=f"{label} [{unit}]")
            found.append({"address": address, "alt": f"{label} by epoch; at the end: {last}"})
    return found


def _differing(runs: list[_Run]) -> list[tuple[str, list[str]]]:
    """List in which entries the recipes differ: (name, a value for each run)."""
    from cnn_jax.report.run_report import flat_recipe

    flat = [dict(flat_recipe(run.recipe)) for run in runs]
    names = dict.fromkeys(name for rows in flat for name in rows)
    table = [(name, [rows.get(name, "–") for rows in flat]) for name in names]
    return [(name, values) for name, values in table if len(set(values)) > 1]
