"""The report of a run."""

import shlex
import statistics
from pathlib import Path

import numpy as np

from cnn_jax import rundir
from cnn_jax.conclusion import Outcome
from cnn_jax.evaluate.mistakes import confused_pairs
from cnn_jax.report import charts
from cnn_jax.report.exhibits import exhibits
from cnn_jax.report.page import count, duration, metric, percent, write_page

_PAIRS = 8


def write_report(
    workdir: str | Path,
    *,
    outcome: Outcome | None = None,
    figures: dict | None = None,
    notices: tuple[str, ...] = (),
) -> Path:
    """Write `report.html` of a run: a page that needs no network and no other file.

    Args:
        workdir: the run directory.
        outcome: the network and its answers, to show images of; None to leave them out.
        figures: what `result.json` holds or, of a run that has not come to its end, would hold;
            None to take them from there.
        notices: sentences to stand at the top.

    Returns:
        The file.

    Raises:
        InputError: the directory is no run directory, or one of its files is damaged.
    """
    workdir = Path(workdir)
    description, epochs = rundir.read_description(workdir), rundir.read_epochs(workdir)
    result = rundir.read_result(workdir)
    notices = [*notices, *_unfinished(description, epochs, result)]
    figures = figures or result or {}
    assessment = figures.get("assessment")
    if figures and assessment is None:
        notices.append("An answer of the network is not finite, so nothing is measured.")
    recipe = description["recipe"]
    names = recipe["data"]["class_names"]
    matrix = np.array(assessment["confusion_matrix"]) if assessment else None
    sittings = rundir.read_sittings(workdir)
    path = workdir / rundir.REPORT
    write_page(
        "run.html",
        path,
        model=recipe["model"].get("name", recipe["model"].get("class")),
        data=recipe["data"],
        notices=notices,
        figures=assessment,
        chosen_by=_chosen_by(figures),
        cost=figures.get("cost", {}),
        curves=learning_charts(epochs),
        confusion=assessment and charts.confusion(matrix, names),
        pairs=assessment and confused_pairs(matrix, names, count=_PAIRS),
        reliability=assessment and charts.reliability(assessment["reliability"]),
        exhibits=outcome and exhibits(outcome),
        costs=_costs(figures, epochs),
        recipe=flat_recipe(recipe),
        commands=_commands(sittings, workdir),
        sittings=[_sitting(sitting) for sitting in sittings],
    )
    return path


def learning_charts(epochs: list[dict]) -> list[dict]:
    """Draw loss, accuracy and learning rate by epoch.

    Args:
        epochs: records of the metrics file.

    Returns:
        `address` and `alt` of each chart.
    """
    charted = []
    for what, unit, scale in (("loss", "nats", 1), ("accuracy", "%", 100)):
        lines = [
            (split, *zip(*points, strict=True))
            for split in ("train", "validation")
            if (points := _points(epochs, f"{split}_{what}", scale))
        ]
        if lines:
            last = ", ".join(f"{split} {values[-1]:.4g} {unit}" for split, _, values in lines)
            address = charts.curves(lines, ylabel=f"{what} [{unit}]", from_zero=what == "loss")
            charted.append({"address": address, "alt": f"{what} by epoch; at the end: {last}"})
    points = _points(epochs, "learning_rate", 1)
    if points:
        address = charts.curves([("", *zip(*points, strict=True))], ylabel="learning rate")
        alt = f"learning rate by epoch, {points[-1][1]:.3g} at the end"
        charted.append({"address": address, "alt": alt})
    return charted


def flat_recipe(recipe: dict, *, path: str = "") -> list[tuple[str, str]]:
    """Lay the description of a recipe out as rows of names and values.

    >>> flat_recipe({"seed": 0, "schedule": {"function": "cosine", "learning_rate": 0.1}})
    [('seed', '0'), ('schedule.function', 'cosine'), ('schedule.learning_rate', '0.1')]
    """
    rows = []
    for name, value in recipe.items():
        name = f"{path}.{name}".strip(".")
        if isinstance(value, dict):
            rows += flat_recipe(value, path=name)
        elif isinstance(value, list):
            rows.append((name, ", ".join(map(str, value)) or "none"))
        else:
            rows.append((name, "none" if value is None else str(value)))
    return rows


def _points(epochs: list[dict], name: str, scale: float) -> list[tuple[int, float]]:
    return [(record["epoch"], scale * record[name]) for record in epochs if name in record]


def _unfinished(description: dict, epochs: list[dict], result: dict | None) -> list[str]:
    if result is not None:
        return []
    of = description["recipe"]["epochs"]
    done = f"{epochs[-1]['epoch']} of {of} epochs are done" if epochs else f"none of {of} epochs is"
    return [f"This run has not come to its end: {done}. What follows is of its state so far."]


def _chosen_by(figures: dict) -> str:
    if figures.get("step") is None:
        return ""
    step = f"It is that of step {count(figures['step'])}"
    if figures.get("best") is None:
        return f"{step}, the last one."
    best, monitor = figures["best"], figures["monitor"]
    value = percent(best) if monitor.endswith("accuracy") else f"{best:.4f}"
    return f"{step}, the best by {monitor.replace('_', ' ')} ({value})."


def _costs(figures: dict, epochs: list[dict]) -> list[tuple[str, str]]:
    cost, rows = figures.get("cost", {}), []
    if cost.get("parameters") is not None:
        rows += [
            ("parameters", count(cost["parameters"])),
            ("multiply-adds an image", metric(cost["macs"])),
        ]
    if epochs:
        speed = statistics.median(record["images_per_second"] for record in epochs)
        rows.append(("images a second in training, median of the epochs", count(speed)))
        rows.append(("time", duration(figures.get("seconds") or epochs[-1]["seconds"])))
    if cost.get("peak_memory") is not None:
        of = {"device": "of the device", "process": "of the process"}[cost["memory_of"]]
        rows.append((f"most memory {of}", metric(cost["peak_memory"], "B")))
    return rows


def _commands(sittings: list[dict], workdir: Path) -> list[str]:
    made = dict.fromkeys(sitting["command"] for sitting in sittings)
    run = shlex.quote(str(workdir))
    return [*made, f"cnn-jax evaluate {run}", f"cnn-jax predict {run} IMAGE"]


def _sitting(sitting: dict) -> dict:
    devices, processes = sitting["device_count"], sitting["processes"]
    of = f"{devices} × {sitting['devices']}, {sitting['processor']}, {sitting['cores']} cores"
    versions = [f"Python {sitting['python']}"]
    versions += [f"{name} {version}" for name, version in sitting["packages"].items()]
    return {
        "began": sitting["began"],
        "step": sitting["step"],
        "on": f"{of}, {processes} processes" if processes > 1 else of,
        "versions": ", ".join(versions),
    }
