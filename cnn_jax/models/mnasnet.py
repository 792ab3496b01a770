"""MnasNet: inverted residuals found by a search that measures a phone's latency."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import InvertedResidual, SeparableConvolution
from cnn_jax.models.mobile_network import MobileNetwork, StageRow, make_stages, round_channels

# Tan et al. 2019, "MnasNet", without squeeze-and-excitation: the B1 of the reference code.
_ROWS = (
    StageRow(SeparableConvolution, 1, 3, 1, 1, 16),
    StageRow(InvertedResidual, 3, 3, 2, 3, 24),
    StageRow(InvertedResidual, 3, 5, 2, 3, 40),
    StageRow(InvertedResidual, 3, 5, 2, 6, 80),
    StageRow(InvertedResidual, 2, 3, 1, 6, 96),
    StageRow(InvertedResidual, 4, 5, 2, 6, 192),
    StageRow(InvertedResidual, 1, 3, 1, 6, 320),
)


def _variant(width: float):
    stem_features = round_channels(32 * width)
    return partial(
        MobileNetwork,
        stem_features=stem_features,
        stages=make_stages(_ROWS, stem_features=stem_features, width=width, activation=nn.relu),
        activation=nn.relu,
        drop_rate=0.2,
    )


VARIANTS = {
    "mnasnet0_5": _variant(0.5),
    "mnasnet0_75": _variant(0.75),
    "mnasnet1_0": _variant(1.0),
    "mnasnet1_3": _variant(1.3),
}
