"""How many images `cnn-jax predict` looks at in a second, against a plain loop over the files.

    python -m experiments.predict_speed --images cifar10-jpeg.zip

The loop reads a file with Pillow, brings it to size and asks the compiled network, one image after
the other; `predict` reads in threads while the network looks at a batch. They take turns, all files
are timed, and both have compiled before. Measured on 2 CPU cores with little beside
it, the middle one of three runs:

    1000 JPEG files, simple_cnn: 3,414 images a second, 2,262 one by one: 1.51 times
    200 photographs, efficientnet_lite0: 107 images a second, 103 one by one: 1.04 times

The larger network takes both cores alone, so that little is to be gained there by threads (1.00
to 1.19 times in the three runs); larger batches leave the caches (see `predict.usual_batch_size`).
"""

import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import jax
import numpy as np

from cnn_jax import create_model
from cnn_jax.data.decoding import read_input
from cnn_jax.predict import Classifier, classify, predict, pretrained_classifier, usual_batch_size
from cnn_jax.weights.pretrained import Preprocessing
from experiments.loader_speed import make_photographs


def small_classifier() -> Classifier:
    """Make a small network for 32x32 pixels; of random parameters, which take as long as others."""
    model = create_model("simple_cnn", num_classes=10, in_channels=3)
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    whole = Preprocessing(size=(32, 32), crop_fraction=1.0)
    return Classifier(model, variables, whole, tuple(map(str, range(10))))


def loop(classifier: Classifier, paths: Sequence[Path]) -> float:
    """Look at the files one by one: images a second."""
    answer = jax.jit(lambda images: classify(classifier, images).argmax(-1))

    def look(path: Path) -> int:
        return int(answer(read_input(path, classifier.preprocessing)[None])[0])

    look(paths[0])
    start = time.perf_counter()
    for path in paths:
        look(path)
    return len(paths) / (time.perf_counter() - start)


def batched(classifier: Classifier, paths: Sequence[Path]) -> float:
    """Look at the files by `predict`: images a second."""
    list(predict(classifier, paths[: usual_batch_size(classifier.preprocessing)], top_k=1))
    start = time.perf_counter()
    count = len(list(predict(classifier, paths, top_k=1)))
    return count / (time.perf_counter() - start)


def compare(classifier: Classifier, paths: Sequence[Path], *, rounds: int) -> str:
    """Time both in turns, and say what the median of each is."""
    rates: dict[Callable, list[float]] = {loop: [], batched: []}
    for _ in range(rounds):
        for function, found in rates.items():
            found.append(function(classifier, paths))
    plain, ours = (statistics.median(found) for found in rates.values())
    return f"{ours:,.0f} images a second, {plain:,.0f} one by one: {ours / plain:.2f} times"


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="A .zip of small JPEG files.")
@click.option("--count", type=int, default=1000, help="How many of them.")
@click.option("--photographs", type=int, default=200, help="How many of 500x375.")
@click.option("--rounds", type=int, default=3)
def main(images: Path | None, count: int, photographs: int, rounds: int) -> None:
    """Compare on small images, if they are given, and on photographs."""
    with tempfile.TemporaryDirectory() as folder:
        if images is not None:
            with zipfile.ZipFile(images) as archive:
                members = [name for name in archive.namelist() if name.endswith((".jpg", ".jpeg"))]
                archive.extractall(Path(folder) / "small", members[:count])
            files = sorted((Path(folder) / "small").rglob("*.jp*g"))
            told = compare(small_classifier(), files, rounds=rounds)
            click.echo(f"{len(files)} JPEG files, simple_cnn: {told}")
        make_photographs(Path(folder) / "photographs", count=photographs)
        files = sorted((Path(folder) / "photographs").rglob("*.jpg"))
        told = compare(pretrained_classifier("efficientnet_lite0"), files, rounds=rounds)
        click.echo(f"{len(files)} photographs, efficientnet_lite0: {told}")


if __name__ == "__main__":
    main()
