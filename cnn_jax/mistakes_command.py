"""The command `cnn-jax mistakes`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:  # what needs seconds to import is imported by the command
    from cnn_jax.report.mistakes import Mistakes


@click.command("mistakes")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--split", default="test", help="Which images: train, validation or test.")
@click.option("--count", type=int, default=24, help="How many to show of each kind.")
@click.option("--data", help="Where the data of the run are now.  [default: where they were]")
def mistakes(run: Path, split: str, count: int, data: str | None) -> None:
    """Show what RUN gets wrong, and which labels are likely wrong themselves.

    Written into the run directory are mistakes-SPLIT.html, a page with the images and with maps of
    what was looked at, and suspects-SPLIT.csv, the images whose labels to look at.

    \b
    cnn-jax mistakes runs/mine
    cnn-jax mistakes runs/mine --split train
    """
    from cnn_jax.report.mistakes import find_mistakes, write_mistakes
    from cnn_jax.trained import load_run

    trained = load_run(run)
    dataset = trained.load_data(data)
    found = find_mistakes(trained, dataset, split=split, count=count)
    page, table = write_mistakes(trained, dataset, found, run, count=count)
    wrong = int((found.evaluation.predictions != found.source.labels).sum())
    click.echo(
        f"{wrong:,} of {len(found.source):,} {split} images are taken for something else; labels "
        f"that are likely wrong: {len(found.suspects.positions):,}"
    )
    if found.pairs:
        Console(highlight=False).print(_table(found))
    click.echo(f"written: {page}\n         {table}")


def _table(found: "Mistakes") -> Table:
    from cnn_jax.progress import percent

    table = Table()
    for heading in ("is", "taken for", "images", "of the class"):
        table.add_column(heading, justify="left" if heading in ("is", "taken for") else "right")
    for pair in found.pairs[:10]:
        table.add_row(pair.true, pair.predicted, f"{pair.images:,}", percent(pair.fraction))
    return table
