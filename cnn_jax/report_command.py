"""The command `cnn-jax report`."""

from pathlib import Path

import click

from cnn_jax.errors import InputError


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="comparison.html",
    help="The page that compares several runs.",
)
@click.option("--data", help="Where the data of the run are now.  [default: where they were]")
def report(runs: tuple[Path, ...], out: Path, data: str | None) -> None:
    """Write a page about a run, or one that compares several.

    The page of one run is its report.html: figures, curves, what is confused with what, images
    with maps of what was looked at, cost, recipe. A run that has not come to its end is reported as
    far as it has come. The pages need no network and no other file.

    \b
    cnn-jax report runs/digits-simple_cnn
    cnn-jax report runs/a runs/b runs/c --out abc.html
    """
    if len(runs) > 1:
        from cnn_jax.report import write_comparison

        if data is not None:
            raise InputError(f"`data` (={data}) goes with one run: leave it out, or name one run")
        click.echo(f"written: {write_comparison(runs, out)}")
        return

    from cnn_jax.report.read_run import report_on_run

    click.echo(f"written: {report_on_run(runs[0], data=data)}")
