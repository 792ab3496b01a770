"""What the parity table does not say of the mobile families: whose numbers the defaults are."""

import pytest

from cnn_jax.models import create_model, efficientnet, efficientnet_v2, mnasnet, mobilenet_v3
from cnn_jax.models.mobile_network import MobileNetwork, round_channels
from tests.parity import torch, torchvision

_NAMES = [
    "mobilenet_v2",
    *mobilenet_v3.VARIANTS,
    *mnasnet.VARIANTS,
    *(name for name in efficientnet.VARIANTS if "lite" not in name),
    *efficientnet_v2.VARIANTS,
]


@pytest.mark.parametrize("name", _NAMES)
def test_epsilon_and_dropout_are_torchvisions(name):
    model = create_model(name)
    with torch.device("meta"):
        theirs = list(getattr(torchvision.models, name)().modules())
    epsilons = {module.eps for module in theirs if isinstance(module, torch.nn.BatchNorm2d)}
    rates = {module.p for module in theirs if isinstance(module, torch.nn.Dropout)}
    assert epsilons == {model.bn_epsilon}
    assert rates == {model.drop_rate}


@pytest.mark.parametrize("width", [0.25, 0.5, 0.75, 1.1, 1.3, 1.4, 1.6, 2.0])
def test_widths_are_multiples_of_8_and_never_a_tenth_too_small(width):
    for channels in (16, 24, 32, 40, 80, 112, 192, 320, 1280):
        rounded = round_channels(channels * width)
        assert rounded % 8 == 0
        assert rounded >= 0.9 * channels * width


def test_variants_are_rows_of_one_module():
    assert {type(create_model(name)) for name in _NAMES} == {MobileNetwork}
