"""Predictions for people to read, and for programs."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from cnn_jax.predict import Prediction
from cnn_jax.progress import percent


def print_table(predictions: Iterable[Prediction]) -> None:
    """Print a table on a terminal; elsewhere a line for each class: image, probability, name.

    Args:
        predictions: those whose files could be read are printed.
    """
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for prediction in predictions:
            for guess in prediction.guesses:
                name = _shown(prediction.path)
                print(name, percent(guess.probability), guess.name, sep="\t", flush=True)
        return
    table = Table()
    table.add_column("image", overflow="fold")
    table.add_column("probability", justify="right")
    table.add_column("class", overflow="fold")
    for prediction in predictions:
        for place, guess in enumerate(prediction.guesses):
            last = place == len(prediction.guesses) - 1
            table.add_row(
                "" if place else Text(_shown(prediction.path)),
                percent(guess.probability),
                Text(guess.name),
                end_section=last,
                style="" if place else "bold",
            )
    if table.row_count:
        console.print(table, soft_wrap=False)


def print_json(predictions: Iterable[Prediction]) -> None:
    """Print a JSON list with an object for each image: `image`, and `classes` or `error`.

    Each is printed as soon as it is known, and the list is closed whatever happens.

    Args:
        predictions: to print; those with an `explanation` say where it is.
    """
    before = "[\n"
    try:
        for prediction in predictions:
            text = json.dumps(_record(prediction), indent=2, ensure_ascii=False)
            print(before + "  " + text.replace("\n", "\n  "), end="", flush=True)
            before = ",\n"
    finally:
        if before != "[\n":
            print("\n]", flush=True)


def print_csv(predictions: Iterable[Prediction], *, explained: bool = False) -> None:
    """Print CSV with a line for each class of each image, or for an image that cannot be used.

    Args:
        predictions: to print, each as soon as it is known.
        explained: whether to have a last column with the picture that explains an image.
    """
    columns = ["image", "rank", "class", "index", "probability", "error"]
    columns += ["explanation"] * explained
    writer = csv.DictWriter(
        sys.stdout, columns, restval="", extrasaction="ignore", lineterminator="\n"
    )
    headed = False
    for prediction in predictions:
        # Not before it is known that there is anything to say.
        if not headed:
            writer.writeheader()
            headed = True
        shared = {"image": _shown(prediction.path), "error": prediction.error or ""}
        if prediction.explanation:
            shared["explanation"] = _shown(prediction.explanation)
        if prediction.error:
            writer.writerow(shared)
        for rank, guess in enumerate(prediction.guesses, 1):
            own = {"class": guess.name, "index": guess.index, "probability": guess.probability}
            writer.writerow({**shared, "rank": rank, **own})
        sys.stdout.flush()


def with_progress(
    predictions: Iterable[Prediction], total: int, *, seen: list[Prediction]
) -> Iterator[Prediction]:
    """Pass predictions on, with a bar meanwhile where that helps.

    Args:
        predictions: to pass on.
        total: how many there will be.
        seen: a list, to which each is appended.

    Yields:
        The predictions.
    """
    console = Console(stderr=True)
    hidden = total < 2 or not (console.is_terminal and Console().is_terminal)
    bar = track(
        predictions, "looking", total=total, console=console, transient=True, disable=hidden
    )
    for prediction in bar:
        seen.append(prediction)
        yield prediction


def _record(prediction: Prediction) -> dict:
    record: dict = {"image": _shown(prediction.path)}
    if prediction.error:
        return {**record, "error": prediction.error}
    if prediction.explanation:
        record["explanation"] = _shown(prediction.explanation)
    return {**record, "classes": [vars(guess) for guess in prediction.guesses]}


def _shown(path: Path) -> str:
    """Write a path, whose name may be no text in any encoding."""
    return os.fsencode(path).decode(errors="replace")
