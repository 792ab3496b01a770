"""MobileNet V3: searched inverted residuals, hard swish and a head after the average."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import (
    Block,
    ConvBlock,
    InvertedResidual,
    SeparableConvolution,
)
from cnn_jax.models.mobile_network import MobileNetwork, round_channels


def _block(kernel_size, expanded, features, squeeze, activation, stride, kind=InvertedResidual):
    squeezed = round_channels(expanded / 4) if squeeze else 0
    return Block(
        kind,
        features,
        kernel_size=kernel_size,
        stride=stride,
        expanded=expanded,
        squeezed=squeezed,
        activation=activation,
    )


_RE, _HS = nn.relu, nn.hard_swish

# Howard et al. 2019, "Searching for MobileNetV3", table 1: kernel, expanded channels, output
# channels, squeeze-and-excitation, activation, stride.
_LARGE = (
    (_block(3, 16, 16, False, _RE, 1, SeparableConvolution),),
    (_block(3, 64, 24, False, _RE, 2), _block(3, 72, 24, False, _RE, 1)),
    (
        _block(5, 72, 40, True, _RE, 2),
        _block(5, 120, 40, True, _RE, 1),
        _block(5, 120, 40, True, _RE, 1),
    ),
    (
        _block(3, 240, 80, False, _HS, 2),
        _block(3, 200, 80, False, _HS, 1),
        _block(3, 184, 80, False, _HS, 1),
        _block(3, 184, 80, False, _HS, 1),
    ),
    (_block(3, 480, 112, True, _HS, 1), _block(3, 672, 112, True, _HS, 1)),
    (
        _block(5, 672, 160, True, _HS, 2),
        _block(5, 960, 160, True, _HS, 1),
        _block(5, 960, 160, True, _HS, 1),
    ),
    (Block(ConvBlock, 960, kernel_size=1, activation=_HS),),
)

# Table 2.
_SMALL = (
    (_block(3, 16, 16, True, _RE, 2, SeparableConvolution),),
    (_block(3, 72, 24, False, _RE, 2), _block(3, 88, 24, False, _RE, 1)),
    (
        _block(5, 96, 40, True, _HS, 2),
        _block(5, 240, 40, True, _HS, 1),
        _block(5, 240, 40, True, _HS, 1),
    ),
    (_block(5, 120, 48, True, _HS, 1), _block(5, 144, 48, True, _HS, 1)),
    (
        _block(5, 288, 96, True, _HS, 2),
        _block(5, 576, 96, True, _HS, 1),
        _block(5, 576, 96, True, _HS, 1),
    ),
    (Block(ConvBlock, 576, kernel_size=1, activation=_HS),),
)

# torchvision's epsilon; timm's checkpoints of mobilenetv3_large_100 and mobilenetv3_small_100
# want `bn_epsilon=1e-5` (`cnn_jax.weights.fitting` sees to it).
_MobileNetV3 = partial(
    MobileNetwork,
    stem_features=16,
    activation=nn.hard_swish,
    pooled_head=True,
    squeeze_activation=nn.relu,
    gate=nn.hard_sigmoid,
    bn_epsilon=1e-3,
    drop_rate=0.2,
)

VARIANTS = {
    "mobilenet_v3_large": partial(_MobileNetV3, stages=_LARGE, head_features=1280),
    "mobilenet_v3_small": partial(_MobileNetV3, stages=_SMALL, head_features=1024),
}
