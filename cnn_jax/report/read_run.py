"""A report of what a run directory holds, finished or not."""

from pathlib import Path

from cnn_jax import rundir
from cnn_jax.conclusion import Outcome, final_figures
from cnn_jax.errors import InputError
from cnn_jax.report.run_report import write_report
from cnn_jax.trained import load_run, outcome_on


def report_on_run(workdir: str | Path, *, data: str | None = None) -> Path:
    """Write the report of a run anew, from its directory.

    Of a run that has not come to its end, the figures are those of its best network so far.
    Without a checkpoint, or where the images are no longer there, the report says what it leaves
    out and why.

    Args:
        workdir: the run directory.
        data: name or path of the run's data, where they are no longer what they were; None for the
            run's own.

    Returns:
        The file.

    Raises:
        InputError: the directory is no run directory, or `data` are not those of the run.
    """
    workdir = Path(workdir)
    description = rundir.read_description(workdir)
    try:
        outcome, step = _outcome(workdir, description, data)
    except InputError as error:
        if data is not None:
            raise
        return write_report(workdir, notices=(f"Images are left out: {error}.",))
    figures = rundir.read_result(workdir) or {"step": step, **final_figures(outcome)}
    return write_report(workdir, outcome=outcome, figures=figures)


def _outcome(workdir: Path, description: dict, data: str | None) -> tuple[Outcome, int]:
    run = load_run(workdir)
    dataset = run.load_data(data)
    there = description["recipe"]["data"]["test"]
    if dataset.test.fingerprint != there["fingerprint"]:
        raise InputError(
            f"the {len(dataset.test):,} test images of {dataset.name} are not the "
            f"{there['images']:,} that this run was measured on: name those (--data), or measure "
            "it on these (`cnn-jax evaluate`)"
        )
    return outcome_on(run, dataset), run.step
