"""The command `cnn-jax robustness`."""

import csv
import json
import sys
from pathlib import Path

import click

from cnn_jax.errors import InputError


@click.command("robustness")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Test images from elsewhere.  [default: those of the run]")
@click.option("--only", multiple=True, metavar="NAME", help="A corruption; may be repeated.")
@click.option("--limit", type=int, help="Images, evenly spread over the test images.")
@click.option("--batch-size", type=int, default=256, help="Images looked at together.")
@click.option("--seed", type=int, default=0, help="Of the corruptions.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
def measure_robustness(
    run: Path,
    data: str | None,
    only: tuple[str, ...],
    limit: int | None,
    batch_size: int,
    seed: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Measure the accuracy of RUN on corrupted test images: noise, blur, weather, processing.

    Each corruption has five severities; 0 is the images as they are.

    \b
    cnn-jax robustness runs/digits-simple_cnn
    cnn-jax robustness runs/mine --only fog --only snow --limit 1000 --json
    """
    from cnn_jax import ranges
    from cnn_jax.evaluate.robustness import corruption_accuracy, mean_accuracy
    from cnn_jax.trained import eval_step_for, load_run

    ranges.whole("batch_size", batch_size, remedy="256 is usual")
    if as_json and as_csv:
        raise InputError("`json` and `csv` contradict each other: choose one")
    trained = load_run(run)
    dataset = trained.load_data(data)
    records = corruption_accuracy(
        eval_step_for(trained, dataset),
        trained.variables,
        dataset.test,
        names=only or None,
        limit=limit,
        batch_size=min(batch_size, len(dataset.test)),
        seed=seed,
    )
    mean = mean_accuracy(records)
    if as_json:
        print(json.dumps({"mean_corruption_accuracy": mean, "corruptions": records}, indent=2))
    elif as_csv:
        writer = csv.DictWriter(sys.stdout, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        _print_table(records)
        click.echo(
            f"step {trained.step:,} of {run} on {records[0]['images']:,} test images of "
            f"{dataset.name}: accuracy {100 * mean_accuracy(records, severity=0):.2f} %, "
            f"{100 * mean:.2f} % corrupted"
        )


def _print_table(records: list[dict]) -> None:
    """Print a line for each corruption, and one for each family."""
    from rich.console import Console
    from rich.table import Table

    from cnn_jax.evaluate.robustness import mean_accuracy

    severities = sorted({record["severity"] for record in records})
    table = Table(title="Accuracy [%] by severity", title_justify="left")
    table.add_column("corruption", no_wrap=True)
    for heading in (*severities, "1 to 5"):
        table.add_column(str(heading), justify="right")

    def line(name: str, chosen: list[dict], *, style: str) -> None:
        means = [mean_accuracy(chosen, severity=severity) for severity in severities]
        cells = [f"{100 * value:.2f}" for value in (*means, mean_accuracy(chosen))]
        table.add_row(name, *cells, style=style)

    for family in dict.fromkeys(record["family"] for record in records):
        of_family = [record for record in records if record["family"] == family]
        line(family, of_family, style="bold")
        for name in dict.fromkeys(record["corruption"] for record in of_family):
            line(f"  {name}", [r for r in of_family if r["corruption"] == name], style="")
        table.add_section()
    line("all", records, style="bold")
    Console(highlight=False).print(table)
