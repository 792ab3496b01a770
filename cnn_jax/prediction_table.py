"""Predictions for people to read, and for programs."""

import json
import os
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
    """Print a JSON list with an object for each image: `image`, and `classes` or `error`."""
    records = []
    for prediction in predictions:
        record: dict = {"image": _shown(prediction.path)}
        if prediction.error:
            record["error"] = prediction.error
        else:
            record["classes"] = [vars(guess) for guess in prediction.guesses]
        records.append(record)
    print(json.dumps(records, indent=2, ensure_ascii=False))


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


def _shown(path: Path) -> str:
    """Write a path, whose name may be no text in any encoding."""
    return os.fsencode(path).decode(errors="replace")
