"""Pictures of a run: learning curves, confusion matrix, gallery of predictions."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn_jax.data import Source
from cnn_jax.evaluate import Evaluation

_DPI = 120
_TRAIN, _VALIDATION = "#0072b2", "#d55e00"  # tell apart for every kind of colour vision


def learning_curves(records: Sequence[dict], path: Path) -> None:
    """Draw loss and accuracy by epoch, of training and validation.

    Args:
        records: the epochs' records of a metrics file; figures that were not finite are not in it,
            and are no points of the curves.
        path: the PNG to write.
    """
    figure = Figure(figsize=(9, 3.6))
    # Margins set by hand: to have them worked out takes as long as the rest.
    margins = {"left": 0.075, "right": 0.99, "bottom": 0.135, "top": 0.94, "wspace": 0.2}
    loss_axes, accuracy_axes = figure.subplots(1, 2, gridspec_kw=margins)
    for axes, metric, scale in ((loss_axes, "loss", 1), (accuracy_axes, "accuracy", 100)):
        for split, color in (("train", _TRAIN), ("validation", _VALIDATION)):
            known = [record for record in records if f"{split}_{metric}" in record]
            if known:
                epochs = [record["epoch"] for record in known]
                values = [scale * record[f"{split}_{metric}"] for record in known]
                marker = "o" if len(epochs) == 1 else None
                axes.plot(epochs, values, color=color, marker=marker, label=split)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    loss_axes.set_ylabel("loss [nats]")
    loss_axes.set_ylim(bottom=0)
    accuracy_axes.set_ylabel("accuracy [%]")
    figure.savefig(path, dpi=_DPI)


def schedule(rates: Callable[[np.ndarray], np.ndarray], path: Path, *, total_steps: int) -> None:
    """Draw a learning-rate schedule, or any function of the step.

    Args:
        rates: step -> learning rate.
        path: the PNG to write.
        total_steps: steps of the run.
    """
    steps = np.unique(np.linspace(0, total_steps - 1, min(total_steps, 2000)).round().astype(int))
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    values = [float(rates(step)) for step in steps.tolist()]
    axes.plot(steps, values, color=_TRAIN, drawstyle="steps-post")
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=_DPI)


def rate_range(rates: np.ndarray, losses: np.ndarray, suggestion: float, path: Path) -> None:
    """Draw the loss over the learning rate, and mark the suggestion.

    Args:
        rates: [steps], rising.
        losses: [steps], smoothed.
        suggestion: a learning rate.
        path: the PNG to write.
    """
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color=_TRAIN)
    axes.axvline(
        suggestion, color=_VALIDATION, linestyle="--", label=f"{suggestion:.2g}, suggested"
    )
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss [nats], smoothed")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=_DPI)


def confusion(matrix: np.ndarray, class_names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix: counts, shaded by the fraction of the true class.

    Args:
        matrix: int [classes, classes]; row: true class, column: predicted class.
        class_names: the classes.
        path: the PNG to write.
    """
    classes = len(class_names)
    fractions = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    size = float(np.clip(0.62 * classes, 4, 14))
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if classes <= 30:  # with more the numbers would run into each other
        for (row, column), count in np.ndenumerate(matrix):
            if count:
                shade = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, count, ha="center", va="center", color=shade, fontsize=8)
        axes.set_xticks(range(classes), class_names, rotation=45, ha="right")
        axes.set_yticks(range(classes), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.savefig(path, dpi=_DPI)


def gallery(source: Source, evaluation: Evaluation, class_names: Sequence[str], path: Path) -> None:
    """Draw right and wrong predictions, the most confident of each.

    Args:
        source: the images; drawn as by `visible`.
        evaluation: of that source.
        class_names: the classes.
        path: the PNG to write.
    """
    columns, rows = 8, 2
    right = evaluation.predictions == source.labels
    predictions, confidences = evaluation.predictions, evaluation.confidences
    width, height = 1.3 * columns, 1.75 * 2 * rows + 0.8
    figure = Figure(figsize=(width, height))
    # One pair of axes in inches for all: each pair takes as long to draw as four images.
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), autoscale_on=False)
    axes.set_axis_off()
    for half, (chosen, title, color) in enumerate(
        ((right, "right", "#00703c"), (~right, "wrong", "#b00020"))
    ):
        positions = np.flatnonzero(chosen)
        top = height * (1 - 0.5 * half)
        count = f"{title}: {len(positions):,} of {len(source):,} test images"
        figure.text(0.5, 0.99 - 0.5 * half, count, ha="center", va="top", color=color, fontsize=12)
        for place, position in enumerate(spread(positions, evaluation, count=rows * columns)):
            row, column = divmod(place, columns)
            x, y = 1.3 * (column + 0.5), top - 1.79 - 1.83 * row
            image = _picture(source.read(np.array([position]))[0])
            tall, wide = 1.17 * np.array(image.shape[:2]) / max(image.shape[:2])
            where = (x - wide / 2, x + wide / 2, y, y + tall)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=where, aspect="auto")
            predicted = class_names[predictions[position]]
            true = class_names[source.labels[position]]
            title = f"{predicted} ({round(100 * float(confidences[position]))} %)"
            title = title if predicted == true else f"{title}\nnot {true}"
            axes.text(x, y + tall + 0.08, title, ha="center", color=color, fontsize=7.5)
    figure.savefig(path, dpi=_DPI)


def augmented(originals: np.ndarray, versions: np.ndarray, path: Path) -> None:
    """Draw images beside what augmentation makes of them, a row for each.

    Args:
        originals: [N, H, W, C], uint8 0..255 or float 0..1; drawn as by `visible`.
        versions: float [N, epochs, h, w, C] between 0 and 1.
        path: the PNG to write.
    """
    rows, columns = len(versions), 1 + versions.shape[1]
    figure = Figure(figsize=(1.3 * columns, 1.3 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes_of_row, original, row in zip(grid, originals, versions, strict=True):
        for axes, image in zip(axes_of_row, [original, *row], strict=True):
            axes.set_axis_off()
            axes.imshow(_picture(image), cmap="gray", vmin=0, vmax=255)
    for axes, title in zip(
        grid[0], ["original", *(f"epoch {epoch}" for epoch in range(columns - 1))], strict=True
    ):
        axes.set_title(title, fontsize=9)
    figure.savefig(path, dpi=_DPI)


def spread(positions: np.ndarray, evaluation: Evaluation, *, count: int) -> np.ndarray:
    """Take the most confident of each predicted class in turn, so that no class fills the page.

    Args:
        positions: int [n], of the images to choose from.
        evaluation: of all images.
        count: how many to take at most.

    Returns:
        int, up to `count` of the positions.
    """
    confidences, predictions = evaluation.confidences, evaluation.predictions
    order = positions[np.argsort(-confidences[positions], kind="stable")]
    seen, turns = Counter(), np.empty(len(order), int)
    for rank, label in enumerate(predictions[order].tolist()):
        turns[rank] = seen[label]
        seen[label] += 1
    return order[np.argsort(turns, kind="stable")][:count]


def visible(images: np.ndarray) -> np.ndarray:
    """Bring images to what can be drawn: of others than grey and RGB ones the first channel.

    Args:
        images: [..., C], uint8 0..255 or float 0..1.

    Returns:
        uint8 [..., 1 or 3].

    >>> visible(np.full((1, 1, 2), 0.2)).tolist()
    [[[51]]]
    """
    if images.dtype != np.uint8:
        images = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    return images if images.shape[-1] in (1, 3) else images[..., :1]


def _picture(image: np.ndarray) -> np.ndarray:
    """Return an image [H, W, C] as Matplotlib wants it: [H, W] or [H, W, 3]."""
    pixels = visible(image)
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
