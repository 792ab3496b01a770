"""What does a pretrained network look at? Every method on the photographs that are at hand.

    pip install 'cnn_jax[pretrained]' scikit-image
    python -m experiments.explain_photographs --out explained.png

A row for each photograph, with the class that EfficientNet-Lite0 names and its probability; a
column for each method: experiments/figures/explained_photographs.png. The maps of the class
activation lie on the palace, the flower, the helmet, the tripod, the cat, the cup, the
motorcycle and the rocket; those of pixels are noisier.

Measured on 2 CPU cores: Grad-CAM of 64 images takes 0.62 s, and so does their forward pass; in
another measurement of the same 0.93 and 0.67 s, 1.40 times.
"""

import statistics
import sys
import time
from functools import partial
from pathlib import Path

import click
import jax
import matplotlib.pyplot as plt
import numpy as np

from cnn_jax import explain
from cnn_jax.cli import call
from cnn_jax.data.decoding import read_input
from cnn_jax.predict import Classifier, pretrained_classifier
from cnn_jax.steps import normalize, to_float
from experiments.pretrained_predictions import photographs

METHODS = {
    "Grad-CAM": explain.grad_cam,
    "Grad-CAM++": explain.grad_cam_plus_plus,
    "saliency": explain.saliency,
    "SmoothGrad": partial(explain.smooth_grad, jax.random.key(0)),
    "integrated gradients": explain.integrated_gradients,
    "occlusion": lambda model, variables, images: explain.occlusion(
        model, variables, images, size=images.shape[1] // 4
    ),
}


def explained(classifier: Classifier, images: np.ndarray) -> dict[str, np.ndarray]:
    """Explain the most probable class of each image by every method.

    Args:
        classifier: the network.
        images: uint8 [N, H, W, 3].

    Returns:
        Method -> float32 [N, H, W], the parts that speak for the class.
    """
    shown = normalize(
        to_float(images),
        mean=classifier.preprocessing.mean,
        std=classifier.preprocessing.std,
    )
    maps = {
        name: np.asarray(method(classifier.model, classifier.variables, shown))
        for name, method in METHODS.items()
    }
    return {
        name: _clipped(found.sum(-1) if found.ndim == 4 else found) for name, found in maps.items()
    }


def _clipped(maps: np.ndarray) -> np.ndarray:
    """Cut what is negative, and the highest 0.5 % of a map: single pixels would hide the rest."""
    return np.clip(maps, 0, np.maximum(np.quantile(maps, 0.995, axis=(1, 2), keepdims=True), 0))


def draw(classifier: Classifier, images: np.ndarray, out: Path) -> None:
    """Draw a row for each image and a column for each method."""
    maps = explained(classifier, images)
    shown = normalize(
        to_float(images), mean=classifier.preprocessing.mean, std=classifier.preprocessing.std
    )
    chances = jax.nn.softmax(classifier.model.apply(classifier.variables, shown))
    figure, axes = plt.subplots(
        len(images), 1 + len(maps), figsize=(1.7 * (1 + len(maps)), 1.75 * len(images)),
        layout="constrained",
    )  # fmt: skip
    for row, image in enumerate(images):
        best = int(chances[row].argmax())
        axes[row, 0].imshow(image)
        title = f"{classifier.class_names[best]} {float(chances[row, best]):.0%}"
        axes[row, 0].set_title(title, fontsize=8)
        for axis, (name, found) in zip(axes[row, 1:], maps.items(), strict=True):
            picture = explain.overlaid(image[None] / 255, found[row : row + 1])[0]
            axis.imshow(picture)
            if row == 0:
                axis.set_title(name, fontsize=8)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(out, dpi=72)
    plt.close(figure)


def cost(classifier: Classifier, *, images: int = 64, times: int = 5) -> tuple[float, float]:
    """Time Grad-CAM and the forward pass in turns; return the medians in seconds."""
    size = classifier.preprocessing.size
    batch = np.random.default_rng(0).normal(size=(images, *size, 3)).astype(np.float32)
    forward = jax.jit(classifier.model.apply)
    mapped = jax.jit(partial(explain.grad_cam, classifier.model))
    seconds: dict = {forward: [], mapped: []}
    for turn in range(times + 1):
        for function, found in seconds.items():
            began = time.perf_counter()
            jax.block_until_ready(function(classifier.variables, batch))
            if turn:
                found.append(time.perf_counter() - began)
    return statistics.median(seconds[mapped]), statistics.median(seconds[forward])


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.option("--out", type=click.Path(path_type=Path), default="explained_photographs.png")
@click.option("--timed", default=64, help="Images to time; 0 for none.")
def main(out: Path, timed: int) -> None:
    """Draw, and time."""
    classifier = pretrained_classifier("efficientnet_lite0")
    files = photographs()
    images = np.stack([read_input(path, classifier.preprocessing) for path in files])
    draw(classifier, images, out)
    click.echo(f"picture: {out}")
    if timed:
        mapped, forward = cost(classifier, images=timed)
        click.echo(
            f"Grad-CAM of {timed} images {mapped:.2f} s, their forward pass {forward:.2f} s: "
            f"{mapped / forward:.2f} times"
        )


if __name__ == "__main__":
    sys.exit(call(main))
