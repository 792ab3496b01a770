"""The end of a run: its figures and its pictures."""

import csv
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax

from cnn_jax import rundir
from cnn_jax.data import Dataset, file_names
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError
from cnn_jax.evaluate import Evaluation
from cnn_jax.evaluate.assessment import assess
from cnn_jax.evaluate.calibration import fit_temperature
from cnn_jax.inspect import summary
from cnn_jax.metrics import confusion_matrix


@dataclass(frozen=True, eq=False)
class Outcome:
    """A trained network, and what it makes of its data.

    Attributes:
        model: the network.
        variables: its parameters and statistics.
        normalization: what images are normalised by.
        data: the images.
        test: the evaluation of the test images.
        validation: that of the validation images, where there are any.
    """

    model: nn.Module
    variables: dict
    normalization: Normalization
    data: Dataset
    test: Evaluation
    validation: Evaluation | None = None


def assessment_of(outcome: Outcome) -> dict:
    """Measure the answers to the test images.

    Args:
        outcome: a network and its answers. The temperature is fitted to the validation images.

    Returns:
        What `assess` says.
    """
    data, validation = outcome.data, outcome.validation
    temperature = validation and fit_temperature(data.validation.labels, validation.logits)
    return assess(
        data.test.labels,
        outcome.test.logits,
        class_names=data.class_names,
        temperature=temperature,
    )


def cost_of(model: nn.Module, image_shape: tuple[int, ...]) -> dict:
    """Say what a network costs.

    Args:
        model: the network.
        image_shape: (H, W, C).

    Returns:
        `parameters` and `macs` (multiply-adds for an image), None where a model of another's does
        not let them be counted; `peak_memory`, the most bytes in use so far, and `memory_of`, on
        what.
    """
    try:
        counted = summary(model, image_shape=image_shape)
        cost = {"parameters": counted.parameters, "macs": counted.macs}
    except InputError:
        cost = {"parameters": None, "macs": None}
    peak = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if peak is not None:
        return {**cost, "peak_memory": peak, "memory_of": "device"}
    return {**cost, "peak_memory": _peak_of_process(), "memory_of": "process"}


def write_pictures(outcome: Outcome, workdir: Path) -> None:
    """Draw the learning curves, the confusion matrix and predictions into a run directory."""
    from cnn_jax.evaluate import plots  # Matplotlib takes half a second to import

    data, test = outcome.data, outcome.test
    history = rundir.read_epochs(workdir)
    matrix = confusion_matrix(data.test.labels, test.predictions, classes=data.num_classes)
    for name, draw in (
        (rundir.CURVES, partial(plots.learning_curves, history)),
        (rundir.CONFUSION, partial(plots.confusion, matrix, data.class_names)),
        (rundir.GALLERY, partial(plots.gallery, data.test, test, data.class_names)),
    ):
        with rundir.replacing(workdir / name) as path:
            draw(path)


def write_predictions(outcome: Outcome, path: Path) -> None:
    """Write what the network says of each test image: a CSV file, whole or not at all.

    Args:
        outcome: a network and its answers.
        path: the file. Its columns: `image` (its file or, where there are none, its position among
            the test images), `true` and `predicted` (names of classes), `right` (0 or 1),
            `confidence` (0 to 1).
    """
    data, test = outcome.data, outcome.test
    names, labels = data.class_names, data.test.labels
    images = file_names(data.test) or range(len(labels))
    rows = zip(
        images, labels.tolist(), test.predictions.tolist(), test.confidences.tolist(), strict=True
    )
    with rundir.replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "true", "predicted", "right", "confidence"))
        for image, true, predicted, confidence in rows:
            right = int(true == predicted)
            writer.writerow((image, names[true], names[predicted], right, f"{confidence:.6f}"))


def _peak_of_process() -> int | None:
    try:
        import resource  # not on every system
    except ImportError:
        return None
    # Kilobytes, but of macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def final_figures(outcome: Outcome) -> dict:
    """Measure a network at the end of a run.

    Args:
        outcome: the network and its answers.

    Returns:
        `test_accuracy` (0 to 1), `test_loss` (of the recipe, nats), `test_correct`, `test_images`,
        `assessment` (as of `assess`; None where an answer is not finite) and `cost`.
    """
    tally = outcome.test.tally
    try:
        assessment = assessment_of(outcome)
    except InputError:
        assessment = None
    return {
        "test_accuracy": tally.accuracy,
        "test_loss": tally.mean_loss,
        "test_correct": tally.correct,
        "test_images": tally.count,
        "assessment": assessment,
        "cost": cost_of(outcome.model, outcome.data.image_shape),
    }
