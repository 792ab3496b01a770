"""MobileNet V2: inverted residuals with linear bottlenecks."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import InvertedResidual, SeparableConvolution
from cnn_jax.models.mobile_network import MobileNetwork, StageRow, make_stages, round_channels

# Sandler et al. 2018, "MobileNetV2", table 2.
_ROWS = (
    StageRow(SeparableConvolution, 1, 3, 1, 1, 16),
    StageRow(InvertedResidual, 2, 3, 2, 6, 24),
    StageRow(InvertedResidual, 3, 3, 2, 6, 32),
    StageRow(InvertedResidual, 4, 3, 2, 6, 64),
    StageRow(InvertedResidual, 3, 3, 1, 6, 96),
    StageRow(InvertedResidual, 3, 3, 2, 6, 160),
    StageRow(InvertedResidual, 1, 3, 1, 6, 320),
)


def _variant(width: float):
    stem_features = round_channels(32 * width)
    return partial(
        MobileNetwork,
        stem_features=stem_features,
        stages=make_stages(_ROWS, stem_features=stem_features, width=width, activation=nn.relu6),
        # The paper's footnote: the head shrinks with no multiplier, but grows.
        head_features=max(1280, round_channels(1280 * width)),
        drop_rate=0.2,
    )


VARIANTS = {
    "mobilenet_v2": _variant(1.0),
    "mobilenet_v2_050": _variant(0.5),
    "mobilenet_v2_075": _variant(0.75),
    "mobilenet_v2_140": _variant(1.4),
}
