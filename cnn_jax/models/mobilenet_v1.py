"""MobileNet V1: every convolution but the first is depthwise, then pointwise."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import SeparableConvolution
from cnn_jax.models.mobile_network import MobileNetwork, StageRow, make_stages, round_channels

# Howard et al. 2017, "MobileNets", table 1.
_ROWS = (
    StageRow(SeparableConvolution, 1, 3, 1, 1, 64),
    StageRow(SeparableConvolution, 2, 3, 2, 1, 128),
    StageRow(SeparableConvolution, 2, 3, 2, 1, 256),
    StageRow(SeparableConvolution, 6, 3, 2, 1, 512),
    StageRow(SeparableConvolution, 2, 3, 2, 1, 1024),
)


def _variant(width: float):
    stem_features = round_channels(32 * width)
    return partial(
        MobileNetwork,
        stem_features=stem_features,
        stages=make_stages(
            _ROWS,
            stem_features=stem_features,
            width=width,
            residual=False,
            activation=nn.relu6,
            last_activation=True,
        ),
        head_features=0,
    )


# The width multipliers of table 7. ReLU6, as in the reference code, where the paper says ReLU.
VARIANTS = {
    "mobilenet_v1": _variant(1.0),
    "mobilenet_v1_075": _variant(0.75),
    "mobilenet_v1_050": _variant(0.5),
    "mobilenet_v1_025": _variant(0.25),
}
