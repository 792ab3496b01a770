"""Rows of the parity table: DenseNet and the networks before ResNet."""

from functools import partial

from tests.parity import Row, timm

_DENSENET = (
    "features.norm0",
    "features.denseblock1",
    "features.denseblock2",
    "features.denseblock3",
    "features.norm5",
)


def _timm(name, stages, **options):
    return Row(name, partial(timm.create_model, name), stages=stages, **options)


ROWS = [
    _timm("densenet121", _DENSENET),
    _timm("densenet161", _DENSENET),
    _timm("densenet169", _DENSENET),
    _timm("densenet201", _DENSENET),
    Row(
        "densenet121",
        partial(timm.models.densenet.DenseNet, block_config=(1, 2, 1, 2)),
        image_size=64,
        stages=_DENSENET,
        gradients=True,
        options={"depths": (1, 2, 1, 2)},
    ),
]
