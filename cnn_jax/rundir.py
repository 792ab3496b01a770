"""The run directory: whose it is, and its metrics file.

lock             held while a process runs in the directory
recipe.json      the recipe, readable
stages.csv       what each stage of a training in stages does
parameters.csv   what the optimizer does to each parameter
sittings.json    on what the run was begun and continued, and by which command
metrics.jsonl    a line every `log_every` steps and one an epoch
result.json      the final figures
predictions.csv  what the network says of each test image
report.html      all of it, to read
mistakes-*.html  what it gets wrong, of some images
suspects-*.csv   images whose labels are likely wrong
checkpoints/     the last states and the best
tensorboard/     event files
*.png            learning curves, confusion matrix, galleries
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TextIO

from cnn_jax.errors import InputError
from cnn_jax.locks import locked
from cnn_jax.recipe import differences

LOCK = "lock"
RECIPE = "recipe.json"
STAGES = "stages.csv"
PARAMETERS = "parameters.csv"
SITTINGS = "sittings.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"
PREDICTIONS = "predictions.csv"
REPORT = "report.html"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
CURVES = "learning_curves.png"
CONFUSION = "confusion_matrix.png"
GALLERY = "predictions.png"
MISTAKES, SUSPECTS = "mistakes-{split}.html", "suspects-{split}.csv"
_ALL = (
    RECIPE, STAGES, PARAMETERS, SITTINGS, METRICS, RESULT, PREDICTIONS, REPORT, CHECKPOINTS,
    TENSORBOARD, CURVES, CONFUSION, GALLERY, MISTAKES.format(split="*"), SUSPECTS.format(split="*"),
)  # fmt: skip


def check_run(workdir: Path, *, description: dict, resume: bool, overwrite: bool) -> None:
    """Check that `opened_run` would take a directory, without touching it.

    Args:
        workdir: the directory.
        description: as of `opened_run`.
        resume: as of `opened_run`.
        overwrite: as of `opened_run`.

    Raises:
        InputError: as of `opened_run`.
    """
    if resume and overwrite:
        raise InputError("`resume` and `overwrite` contradict each other: choose one")
    if workdir.exists() and not workdir.is_dir():
        raise InputError(f"`workdir` (={workdir}) is a file: choose a directory")
    # A lock that is not there is not made, and a run's always is.
    with _locked(workdir) if (workdir / LOCK).exists() else nullcontext():
        if _check_ours(workdir) and not overwrite:
            _check_same(workdir, description["recipe"], resume=resume)


@contextmanager
def opened_run(
    workdir: Path, description: dict, *, resume: bool, overwrite: bool
) -> Iterator[None]:
    """Make a directory the run directory of a recipe, and keep other processes out of it.

    The lock is the operating system's, so it is lifted however the process ends.

    Args:
        workdir: the directory; created if need be.
        description: `recipe`, which must be equal for a run to be continued, and `data`, by which
            its data can be loaded again.
        resume: whether to go on with a run that is there.
        overwrite: whether to remove a run that is there and begin anew.

    Raises:
        InputError: the directory holds something else, a run of another recipe, a run that
            the caller has said neither to resume nor to overwrite, or one that another process is
            at. Nothing is touched then.
    """
    check_run(workdir, description=description, resume=resume, overwrite=overwrite)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`workdir` (={workdir}) cannot be made: {error.strerror}") from error
    with _locked(workdir):
        if _check_ours(workdir) and overwrite:
            _remove_run(workdir)
        elif _check_ours(workdir):
            _check_same(workdir, description["recipe"], resume=resume)
        if not (workdir / RECIPE).exists():
            write_json(workdir / RECIPE, description)
        yield


def read_description(workdir: Path) -> dict:
    """Read the description of the recipe that a run directory belongs to.

    Raises:
        InputError: the directory is not a run directory, or its recipe is damaged.
    """
    path = workdir / RECIPE
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{workdir} is not a run directory: it has no {RECIPE}") from error
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): the run must be begun anew") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` only once all is written."""
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n")


def write_table(path: Path, rows: Sequence) -> None:
    """Write records, dataclasses of one type, to a CSV file, whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(rows[0])])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_result(workdir: Path) -> dict | None:
    """Read the final figures of a run; None where it has not come to its end.

    Raises:
        InputError: the file is damaged.
    """
    return _read_json(workdir / RESULT, default=None)


def read_sittings(workdir: Path) -> list[dict]:
    """Read when, on what and by which command a run was begun and continued.

    Raises:
        InputError: the file is damaged.
    """
    return _read_json(workdir / SITTINGS, default=[])


def note_sitting(workdir: Path, sitting: dict) -> None:
    """Write down that a run is begun or continued."""
    write_json(workdir / SITTINGS, [*read_sittings(workdir), sitting])


def read_epochs(workdir: Path) -> list[dict]:
    """Read the records of the epochs from a metrics file."""
    return [record for record in read_metrics(workdir) if "epoch" in record]


def read_metrics(workdir: Path) -> list[dict]:
    """Read the records of a metrics file; a torn last line is left out."""
    path = workdir / METRICS
    return list(_records(path)) if path.is_file() else []


def reopen_metrics(workdir: Path, *, step: int) -> TextIO:
    """Cut a metrics file back to a step, and open it to go on.

    Args:
        workdir: the run directory.
        step: the step that the run goes on from; later records are of steps to be repeated.

    Returns:
        The file, opened to append, a line at a time.
    """
    kept = [record for record in read_metrics(workdir) if record["step"] <= step]
    with replacing(workdir / METRICS) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in kept))
    return (workdir / METRICS).open("a", buffering=1)


def _read_json(path: Path, *, default: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): remove it") from error


def _locked(workdir: Path) -> AbstractContextManager[None]:
    def refuse() -> None:
        raise InputError(
            f"`workdir` (={workdir}) is in use by another process, which trains there: wait for "
            "it, stop it, or choose another directory"
        )

    return locked(workdir / LOCK, waiting=refuse, needed=False)


def _check_ours(workdir: Path) -> bool:
    """Say whether a run is in a directory; something else in it is an error."""
    occupied = workdir.exists() and any(path.name != LOCK for path in workdir.iterdir())
    if occupied and not (workdir / RECIPE).is_file():
        raise InputError(
            f"`workdir` (={workdir}) is not empty and holds no {RECIPE}, so it is no run "
            "directory: choose an empty or a new one"
        )
    return occupied


def _check_same(workdir: Path, recipe: dict, *, resume: bool) -> None:
    there = read_description(workdir)["recipe"]
    names = [each.get("data", {}).get("class_names", []) for each in (there, recipe)]
    if len(names[0]) != len(names[1]):
        raise InputError(
            f"`workdir` (={workdir}) belongs to a run of {len(names[0])} classes, and the data "
            f"have {len(names[1])} now (only there: {_some(names[0], names[1])}; only here: "
            f"{_some(names[1], names[0])}): restore the class folders, or choose another directory"
        )
    changes = differences(there, recipe)
    if changes:
        raise InputError(
            f"`workdir` (={workdir}) belongs to another recipe ({'; '.join(changes)}): choose "
            "another directory, or overwrite the run there (--overwrite)"
        )
    if not resume:
        raise InputError(
            f"`workdir` (={workdir}) already holds a run of this recipe: continue it "
            "(--resume), overwrite it (--overwrite), or choose another directory"
        )


def _some(names: Sequence[str], others: Sequence[str]) -> str:
    """Name some of those that are not among others."""
    own = [name for name in names if name not in others]
    return ", ".join(own[:3]) + (f" and {len(own) - 3} more" if len(own) > 3 else "") or "none"


def _records(path: Path) -> Iterator[dict]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _remove_run(workdir: Path) -> None:
    # The recipe goes last: interrupted half-way, this is still a run directory.
    for path in (path for name in reversed(_ALL) for path in workdir.glob(name)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
