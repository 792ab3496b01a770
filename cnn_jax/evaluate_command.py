"""The command `cnn-jax evaluate`."""

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", help="Test images from elsewhere.  [default: those of the run]")
@click.option("--json", "as_json", is_flag=True, help="Print every figure as JSON.")
def evaluate_run(run: Path, data: str | None, as_json: bool) -> None:
    """Evaluate the best checkpoint of RUN on its test images."""
    from cnn_jax.conclusion import assessment_of
    from cnn_jax.trained import load_run, outcome_on

    trained = load_run(run)
    dataset = trained.load_data(data)
    outcome = outcome_on(trained, dataset)
    found, tally = assessment_of(outcome), outcome.test.tally
    if as_json:
        record = {"run": str(run), "step": trained.step, "data": dataset.name, **found}
        click.echo(json.dumps(record, indent=2))
        return
    click.echo(
        f"step {trained.step:,} of {run} on the test images of {dataset.name}: "
        f"accuracy {100 * tally.accuracy:.2f} % ({tally.correct:,} of {tally.count:,}), "
        f"loss {tally.mean_loss:.4f}"
    )
    Console(highlight=False).print(_table(found))


def _table(found: dict) -> Table:
    from cnn_jax.progress import percent

    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    low, high = found["accuracy_interval"]
    rows = {
        "accuracy, 95 % interval": f"{percent(low)} to {percent(high)}",
        "among the first five": found.get("top_5"),
        "balanced accuracy": found["balanced_accuracy"],
        "F1, mean of the classes": found["macro_f1"],
        "ROC-AUC, mean of the classes": found["macro_roc_auc"],
        "average precision, mean of the classes": found["macro_average_precision"],
        "expected calibration error": found["expected_calibration_error"],
    }
    if found["temperature"] is not None:
        rows[f"the same at temperature {found['temperature']:.3f}"] = found["calibrated_error"]
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, value if isinstance(value, str) else percent(value))
    return table
