"""Options that say which classifier a command is to use: a run's, a known one, or one of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from cnn_jax.errors import InputError
from cnn_jax.weights_options import NAMES, divided, weights_options

if TYPE_CHECKING:
    from cnn_jax.predict import Classifier

# Those that a run or known weights say themselves.
_OF_WEIGHTS = ("model", "classes", "image_size", *NAMES)

_OPTIONS = (
    click.option("--weights", help="A file or hf:OWNER/REPO; then there is no MODEL_OR_RUN."),
    click.option("--model", help="What the weights are of: one of `cnn-jax models`."),
    click.option(
        "--classes",
        type=click.Path(path_type=Path),
        help="Names of the weights' classes: a text file, one a line.  [default: ImageNet's for "
        "1,000, or numbers]",
    ),
    click.option("--image-size", type=int, help="For a file.  [default: the weights']"),
    weights_options,
)


def classifier_options(command):
    """Give a command the options, each None where it is not said."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def divided_arguments(
    arguments: tuple[str, ...], given: dict[str, Any]
) -> tuple[str | None, tuple[str, ...]]:
    """Divide a command's arguments into MODEL_OR_RUN and the others.

    Args:
        arguments: as given.
        given: the values of the options.

    Returns:
        MODEL_OR_RUN, which is None with `--weights` and may be empty without, and the others.

    >>> divided_arguments(("runs/mine", "a.png"), {"weights": None})
    ('runs/mine', ('a.png',))
    >>> divided_arguments(("a.png",), {"weights": "w.safetensors"})
    (None, ('a.png',))
    """
    if given["weights"] is not None:
        return None, arguments
    return "".join(arguments[:1]), arguments[1:]


def chosen_classifier(source: str | None, given: dict[str, Any]) -> "Classifier":
    """Read the classifier that a command's arguments say.

    Args:
        source: a run directory or the name of a model with known weights; None with `--weights`.
        given: the values of the options.

    Returns:
        The classifier.

    Raises:
        InputError: options contradict each other or lack one another, or the classifier cannot be
            read.
    """
    if source is not None:
        return _named(source, given)
    images, fields, others = divided(given)
    return _of_weights(images, fields, **others)


def _named(source: str, given: dict) -> "Classifier":
    from cnn_jax.predict import classifier_of_run, pretrained_classifier
    from cnn_jax.weights.pretrained import PRETRAINED

    for name in _OF_WEIGHTS:
        if given[name] is not None:
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


def _of_weights(
    images: dict,
    fields: dict,
    *,
    weights: str,
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
