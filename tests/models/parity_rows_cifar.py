"""Rows of the parity table: the networks for CIFAR's 32x32 images."""

from functools import partial

from tests import torch_cifar
from tests.parity import Row

_THREE = ("layer1", "layer2", "layer3")
_FOUR = (*_THREE, "layer4")


def _resnet(layers, **options):
    build = partial(torch_cifar.resnet, (layers - 2) // 6)
    return Row(f"resnet{layers}_cifar", build, stages=_THREE, **options)


def _wide_resnet(depth, factor, **options):
    build = partial(torch_cifar.wide_resnet, depth, factor)
    return Row(f"wrn_{depth}_{factor}_cifar", build, stages=_THREE, **options)


ROWS = [
    _resnet(20, image_size=32, gradients=True),
    _resnet(32),
    _resnet(44),
    _resnet(56),
    _resnet(110),
    Row(
        "preactresnet18_cifar",
        torch_cifar.preactivation_resnet18,
        image_size=32,
        stages=_FOUR,
    ),
    _wide_resnet(16, 4, image_size=32, gradients=True),
    _wide_resnet(40, 2),
    _wide_resnet(28, 10),
    Row(
        "resnet18_cifar",
        torch_cifar.resnet18_small_stem,
        image_size=32,
        stages={"act1": "relu", **{name: name for name in _FOUR}},
    ),
    Row("densenet_bc_100_12_cifar", partial(torch_cifar.densenet_bc, (16, 16, 16), 12)),
    Row(
        "densenet_bc_100_12_cifar",
        partial(torch_cifar.densenet_bc, (2, 1, 2), 12),
        image_size=16,
        stages=("features.denseblock1", "features.denseblock2", "features.norm5"),
        options={"depths": (2, 1, 2)},
    ),
]
