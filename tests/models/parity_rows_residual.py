"""Rows of the parity table: the residual networks."""

from functools import partial

from tests.parity import Row, timm

_STAGES = ("act1", "layer1", "layer2", "layer3", "layer4")


def _row(name, **options):
    return Row(name, partial(timm.create_model, name), stages=_STAGES, **options)


def _shallow(name, depths=(1, 2, 1, 1), **options):
    """The variant with fewer blocks, which compiles in a quarter of the time."""
    return Row(
        name,
        partial(timm.create_model, name, layers=depths),
        image_size=64,
        stages=_STAGES,
        options={"depths": depths},
        **options,
    )


ROWS = [
    _row("resnet18", image_size=64, gradients=True),
    _row("resnet34"),
    _row("resnet50"),
    _row("resnet101"),
    _row("resnet152"),
    _row("resnext50_32x4d"),
    _row("resnext101_32x8d"),
    _row("resnext101_64x4d"),
    _row("wide_resnet50_2"),
    _row("wide_resnet101_2"),
    _row("seresnet18"),
    _row("seresnet34"),
    _row("seresnet50"),
    _row("seresnet101"),
    _row("seresnet152"),
    _shallow("resnet50"),
    _shallow("resnext50_32x4d"),
    _shallow("seresnet18"),
    _shallow("seresnet50"),
]
