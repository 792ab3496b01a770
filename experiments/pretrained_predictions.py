"""EfficientNet-Lite0 (Tan and Le 2019) with published weights, on photographs that are at hand.

    pip install -e '.[test]' scikit-image
    python experiments/pretrained_predictions.py

The photographs are scikit-learn's and scikit-image's samples; nothing is downloaded. Each is shown
to our network and to a network in PyTorch, which is written out below, from the same file of
weights.

Measured: the logits, from -3.97 to 11.40, differ by at most 1.1e-5. The most probable class, and
what the network gives it:

    china.jpg            palace 29.8 % (bell cote 17.1 %, monastery 6.6 %)
    flower.jpg           daisy 31.5 % (it is a dahlia, which ImageNet does not have)
    astronaut.png        football helmet 16.2 % (ImageNet has neither astronauts nor spacesuits)
    camera.png           tripod 93.7 %
    chelsea.png          tiger cat 39.5 % (Egyptian cat 35.5 %, tabby 17.0 %)
    coffee.png           espresso 95.1 %
    motorcycle_left.png  moped 54.0 % (motor scooter 12.0 %, disk brake 7.5 %)
    rocket.jpg           missile 27.2 % (projectile 18.9 %)
"""

import importlib
from pathlib import Path

import click
import numpy as np

from cnn_jax.data.decoding import read_input
from cnn_jax.predict import Classifier, classify, pretrained_classifier, rank
from cnn_jax.weights.pretrained import pretrained_file

MODEL = "efficientnet_lite0"
PHOTOGRAPHS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("skimage", "data/astronaut.png"),
    ("skimage", "data/camera.png"),
    ("skimage", "data/chelsea.png"),
    ("skimage", "data/coffee.png"),
    ("skimage", "data/motorcycle_left.png"),
    ("skimage", "data/rocket.jpg"),
)
# Blocks of each stage, and the stride of the first.
STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


def photographs() -> list[Path]:
    """Return the paths of the photographs, as they are installed."""
    return [
        Path(importlib.import_module(package).__file__).parent / path
        for package, path in PHOTOGRAPHS
    ]


def pytorch_logits(images: np.ndarray) -> np.ndarray:
    """Compute the logits with PyTorch, from the names and layouts of the file.

    Args:
        images: uint8 [N, 224, 224, 3].

    Returns:
        float32 [N, 1000].
    """
    import torch
    import torch.nn.functional as F

    weights = torch.load(pretrained_file(MODEL), map_location="cpu", weights_only=True)

    def convolve(x, name, *, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        pads = []
        for length, size in zip(x.shape[:1:-1], kernel.shape[:1:-1], strict=True):
            # TensorFlow's SAME: the odd pixel of padding goes to the right and to the bottom.
            total = max((-(-length // stride) - 1) * stride + size - length, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), kernel, stride=stride, groups=groups)

    def normalise(x, name):
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return F.batch_norm(x, mean, variance, scale, bias, eps=1e-3)

    def block(x, name, stride):
        y = x
        if f"{name}._expand_conv.weight" in weights:
            y = F.relu6(normalise(convolve(y, f"{name}._expand_conv"), f"{name}._bn0"))
        y = convolve(y, f"{name}._depthwise_conv", stride=stride, groups=y.shape[1])
        y = F.relu6(normalise(y, f"{name}._bn1"))
        y = normalise(convolve(y, f"{name}._project_conv"), f"{name}._bn2")
        return x + y if y.shape == x.shape else y

    strides = [stride if index == 0 else 1 for blocks, stride in STAGES for index in range(blocks)]
    with torch.no_grad():
        x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128
        x = F.relu6(normalise(convolve(x, "_conv_stem", stride=2), "_bn0"))
        for index, stride in enumerate(strides):
            x = block(x, f"_blocks.{index}", stride)
        x = F.relu6(normalise(convolve(x, "_conv_head"), "_bn1"))
        return F.linear(x.mean((2, 3)), weights["_fc.weight"], weights["_fc.bias"]).numpy()


def compare(classifier: Classifier) -> tuple[np.ndarray, np.ndarray]:
    """Compute the logits of the photographs twice.

    Returns:
        Ours and PyTorch's, both float32 [N, 1000].
    """
    images = np.stack([read_input(path, classifier.preprocessing) for path in photographs()])
    return np.asarray(classify(classifier, images)), pytorch_logits(images)


@click.command(help=__doc__)
def main() -> None:
    """Print what is in each photograph, and how far the two implementations are apart."""
    classifier = pretrained_classifier(MODEL)
    ours, theirs = compare(classifier)
    for path, logits in zip(photographs(), ours, strict=True):
        guesses = rank(logits, classifier.class_names, top_k=3)
        named = ", ".join(f"{guess.name} {100 * guess.probability:.1f} %" for guess in guesses)
        click.echo(f"{path.name:<20}{named}")
    click.echo(
        f"logits from {theirs.min():.2f} to {theirs.max():.2f}, largest difference from PyTorch "
        f"{np.abs(ours - theirs).max():.1e}"
    )


if __name__ == "__main__":
    main()
