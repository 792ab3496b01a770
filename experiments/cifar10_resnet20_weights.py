"""ResNet-20 for CIFAR-10 (He et al. 2016, table 6) with weights that PyTorch trained and saved.

    python experiments/cifar10_resnet20_weights.py --data cifar10-jpeg.zip \
        --weights resnet20-12fca82f.th

The weights are those of akamaster/pytorch_resnet_cifar10. The data are CIFAR-10's images as JPEG
files of quality 75, in folders `test/CLASS/` (a zip archive, or unpacked). With PyTorch installed
the network is run there too, written out below, and the predictions are compared.

Measured: 8,103 of the 10,000 images right, 81.03 %, here and in PyTorch; no prediction differs,
and the logits differ by at most 1.9e-5. (On the images before the JPEG compression PyTorch gets
91.73 %.)
"""

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import click
import jax
import numpy as np
from PIL import Image

from cnn_jax import create_model
from cnn_jax.errors import InputError
from cnn_jax.steps import normalize, to_float
from cnn_jax.weights import load_weights
from cnn_jax.weights.pretrained import IMAGENET_MEAN, IMAGENET_STD

# The order of the network's outputs; that of the folders' names happens to be the same.
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def read_test_images(data: Path, *, every: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Read the test images.

    Args:
        data: the archive or the folder.
        every: 1 for all images, n for every n-th of each class.

    Returns:
        Images, uint8 [N, 32, 32, 3], and labels, int [N].

    Raises:
        InputError: a class has no images.
    """
    images, labels = [], []
    root = zipfile.Path(data) if data.is_file() else data
    for label, name in enumerate(CLASSES):
        files = sorted(_files(root, name), key=lambda file: file.name)[::every]
        if not files:
            raise InputError(f"`data` (={data}) has no folder test/{name} with images")
        for file in files:
            with file.open("rb") as opened, Image.open(opened) as image:
                images.append(np.asarray(image.convert("RGB")))
            labels.append(label)
    return np.stack(images), np.array(labels)


def our_logits(images: np.ndarray, weights: Path, *, batch_size: int = 250) -> np.ndarray:
    """Compute the logits, float32 [N, 10], of uint8 images [N, 32, 32, 3]."""
    model = create_model("resnet20_cifar")
    variables = load_weights(model, weights)

    @jax.jit
    def forward(variables, batch):
        return model.apply(
            variables, normalize(to_float(batch), mean=IMAGENET_MEAN, std=IMAGENET_STD)
        )

    batches = np.split(images, range(batch_size, len(images), batch_size))
    return np.concatenate([forward(variables, batch) for batch in batches])


def pytorch_logits(images: np.ndarray, weights: Path, *, batch_size: int = 250) -> np.ndarray:
    """Compute the same with PyTorch, from the names of the file."""
    import torch
    import torch.nn.functional as F

    state = torch.load(weights, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}

    def layer(x, number, block, index, stride=1):
        name = f"layer{number}.{block}." if number else ""
        x = F.conv2d(x, state[f"{name}conv{index}.weight"], stride=stride, padding=1)
        norm = f"{name}bn{index}."
        statistics = state[f"{norm}running_mean"], state[f"{norm}running_var"]
        return F.batch_norm(x, *statistics, state[f"{norm}weight"], state[f"{norm}bias"])

    def forward(batch):
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        x = F.relu(layer((pixels - mean) / std, 0, 0, 1))
        for number in (1, 2, 3):
            for block in range(3):
                stride = 2 if number > 1 and block == 0 else 1
                y = F.relu(layer(x, number, block, 1, stride))
                y = layer(y, number, block, 2)
                added = (y.shape[1] - x.shape[1]) // 2
                skipped = F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, added, added))
                x = F.relu(y + skipped)
        return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])

    with torch.no_grad():
        batches = np.split(images, range(batch_size, len(images), batch_size))
        return np.concatenate([forward(batch).numpy() for batch in batches])


def _files(root, name: str) -> Iterator:
    inner = [root, *(folder for folder in root.iterdir() if folder.is_dir())]
    folders = [folder / "test" / name for folder in inner]
    return (file for folder in folders if folder.is_dir() for file in folder.iterdir())


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--weights", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--every", type=int, default=1, help="Take every n-th image only.")
def main(data: Path, weights: Path, every: int) -> None:
    """Print the accuracy of both implementations, and how many predictions differ."""
    images, labels = read_test_images(data, every=every)
    started = time.perf_counter()
    ours = our_logits(images, weights)
    seconds = time.perf_counter() - started
    right = np.sum(ours.argmax(1) == labels)
    click.echo(f"cnn_jax: {right:,} of {len(labels):,} right, {100 * right / len(labels):.2f} %")
    click.echo(f"         {seconds:.1f} s, loading and compiling included")
    try:
        theirs = pytorch_logits(images, weights)
    except ImportError:
        click.echo("PyTorch is not installed: nothing to compare with")
        return
    right = np.sum(theirs.argmax(1) == labels)
    click.echo(f"PyTorch: {right:,} of {len(labels):,} right, {100 * right / len(labels):.2f} %")
    click.echo(
        f"{np.sum(ours.argmax(1) != theirs.argmax(1))} predictions differ; largest difference of "
        f"logits {np.abs(ours - theirs).max():.1e}"
    )


if __name__ == "__main__":
    main()
