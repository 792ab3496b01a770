"""A page about the images that a network gets wrong."""

import csv
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from cnn_jax import data as data_room
from cnn_jax import metrics, rundir
from cnn_jax.embeddings import embeddings
from cnn_jax.errors import InputError, nearest
from cnn_jax.evaluate import Evaluation
from cnn_jax.evaluate.mistakes import (
    ConfusedPair,
    Suspects,
    confused_pairs,
    likely_mislabelled,
    most_confident_mistakes,
)
from cnn_jax.linear_probe import cross_validated_logits
from cnn_jax.report.exhibits import exhibited
from cnn_jax.report.page import write_page
from cnn_jax.steps import normalize
from cnn_jax.trained import TrainedRun, evaluator

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Mistakes:
    """What a network gets wrong.

    Attributes:
        split: which images.
        source: these images.
        evaluation: its answers to them.
        pairs: classes that are taken for each other, the most frequent first.
        positions: int64 [n], images taken for something else, the surest first.
        suspects: images whose labels are likely wrong.
    """

    split: str
    source: data_room.Source
    evaluation: Evaluation
    pairs: tuple[ConfusedPair, ...]
    positions: np.ndarray
    suspects: Suspects


def find_mistakes(
    run: TrainedRun, dataset: data_room.Dataset, *, split: str = "test", count: int = 24
) -> Mistakes:
    """Find what a network gets wrong, and which labels are likely wrong.

    What the network says of its own training images tells little of their labels, since it has
    learnt them; there, suspects are judged by linear classifiers on its features, each fitted to
    four fifths of the images and asked for the others.

    Args:
        run: the trained run.
        dataset: its data.
        split: "train", "validation" or "test".
        count: how many images and pairs at most; of suspects all are told.

    Returns:
        The mistakes.

    Raises:
        InputError: there is no such split, or the data do not fit the run.
    """
    if split not in SPLITS:
        raise InputError(f"`split` (={split!r}) is unknown: {nearest(split, SPLITS)}")
    source = getattr(dataset, split)
    if source is None:
        raise InputError(f"`split` (={split}): {dataset.name} holds no such images: choose test")
    evaluation = evaluator(run, dataset)(source)
    labels, logits = source.labels, evaluation.logits
    matrix = metrics.confusion_matrix(
        labels, evaluation.predictions, classes=len(dataset.class_names)
    )
    judged = logits
    if split == "train":
        preprocess = partial(normalize, **asdict(run.normalization))
        features = embeddings(run.model, run.variables, source, preprocess=preprocess)
        judged = cross_validated_logits(features, labels, num_classes=len(dataset.class_names))
    return Mistakes(
        split=split,
        source=source,
        evaluation=evaluation,
        pairs=tuple(confused_pairs(matrix, dataset.class_names, count=count)),
        positions=most_confident_mistakes(labels, logits, count=count),
        suspects=likely_mislabelled(labels, judged),
    )


def write_mistakes(
    run: TrainedRun, dataset: data_room.Dataset, found: Mistakes, workdir: Path, *, count: int = 24
) -> tuple[Path, Path]:
    """Write a page of mistakes, with maps of what was looked at, and a table of suspects.

    Args:
        run: the trained run.
        dataset: its data.
        found: of `find_mistakes`.
        workdir: the directory to write `mistakes-SPLIT.html` and `suspects-SPLIT.csv` to.
        count: how many suspects the page shows at most.

    Returns:
        The page and the table, whose columns are `image` (its file, or its position), `label`,
        `suggested` and `margin` (probability of the label less that of the most probable other
        class, which need not be the suggested one, -1 to 1), by which the rows are sorted.
    """
    names, evaluation, suspects = dataset.class_names, found.evaluation, found.suspects
    # All at once: maps are compiled for each number of images.
    positions = np.concatenate([found.positions, suspects.positions[:count]])
    shown, without_maps = exhibited(run, found.source, evaluation, positions, class_names=names)
    wrong, suspected = shown[: len(found.positions)], shown[len(found.positions) :]
    suggested = [names[k] for k in suspects.suggested.tolist()]
    page, table = (
        workdir / name.format(split=found.split) for name in (rundir.MISTAKES, rundir.SUSPECTS)
    )
    write_page(
        "mistakes.html",
        page,
        run=workdir.name,
        data=dataset.name,
        split=found.split,
        images=len(found.source),
        wrong_count=int((evaluation.predictions != found.source.labels).sum()),
        without_maps=without_maps,
        pairs=found.pairs,
        wrong=wrong,
        suspects=list(zip(suspected, suggested, strict=False)),
        suspects_count=len(suggested),
    )
    files, labels = data_room.file_names(found.source), found.source.labels
    with rundir.replacing(table) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "label", "suggested", "margin"))
        for position, other, margin in zip(
            suspects.positions.tolist(), suggested, suspects.scores.tolist(), strict=True
        ):
            image = files[position] if files else position
            writer.writerow((image, names[labels[position]], other, f"{margin:.6f}"))
    return page, table
