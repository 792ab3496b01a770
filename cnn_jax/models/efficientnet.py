"""EfficientNet B0-B7, and the Lite forms for hardware without squeeze-and-excitation."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import InvertedResidual, SeparableConvolution
from cnn_jax.models.mobile_network import MobileNetwork, StageRow, make_stages, round_channels

# Tan and Le 2019, "EfficientNet", table 1.
_ROWS = (
    StageRow(SeparableConvolution, 1, 3, 1, 1, 16, 0.25),
    StageRow(InvertedResidual, 2, 3, 2, 6, 24, 0.25),
    StageRow(InvertedResidual, 2, 5, 2, 6, 40, 0.25),
    StageRow(InvertedResidual, 3, 3, 2, 6, 80, 0.25),
    StageRow(InvertedResidual, 3, 5, 1, 6, 112, 0.25),
    StageRow(InvertedResidual, 4, 5, 2, 6, 192, 0.25),
    StageRow(InvertedResidual, 1, 3, 1, 6, 320, 0.25),
)
_LITE_ROWS = tuple(row._replace(squeeze=0.0) for row in _ROWS)


def _variant(width: float, depth: float, image_size: int, drop_rate: float, epsilon: float):
    stem_features = round_channels(32 * width)
    return partial(
        MobileNetwork,
        image_size=image_size,
        stem_features=stem_features,
        stages=make_stages(
            _ROWS, stem_features=stem_features, width=width, depth=depth, activation=nn.silu
        ),
        head_features=round_channels(1280 * width),
        activation=nn.silu,
        bn_epsilon=epsilon,
        drop_rate=drop_rate,
        drop_path_rate=0.2,
    )


def _lite_variant(width: float, depth: float, image_size: int, drop_rate: float):
    return partial(
        MobileNetwork,
        image_size=image_size,
        stages=make_stages(
            _LITE_ROWS,
            stem_features=32,
            width=width,
            depth=depth,
            fixed_ends=True,
            activation=nn.relu6,
        ),
        same_padding=True,
        bn_epsilon=1e-3,
        drop_rate=drop_rate,
        drop_path_rate=0.2,
    )


# Width, depth, image size and dropout are the reference code's. B0-B7 compute what torchvision's
# checkpoints of these names expect: even padding, and an epsilon of 1e-5 up to B4, whose weights
# timm trained, and of 1e-3 from B5, whose weights come from TensorFlow. For timm's own
# efficientnet_b5 and up, `bn_epsilon=1e-5`; for its tf_efficientnet_b0 and on,
# `bn_epsilon=1e-3, same_padding=True`. The Lite forms compute what the published TensorFlow
# weights expect; for timm's efficientnet_lite0, `bn_epsilon=1e-5, same_padding=False`.
# `cnn_jax.weights.fitting` sees to it.
VARIANTS = {
    "efficientnet_b0": _variant(1.0, 1.0, 224, 0.2, 1e-5),
    "efficientnet_b1": _variant(1.0, 1.1, 240, 0.2, 1e-5),
    "efficientnet_b2": _variant(1.1, 1.2, 260, 0.3, 1e-5),
    "efficientnet_b3": _variant(1.2, 1.4, 300, 0.3, 1e-5),
    "efficientnet_b4": _variant(1.4, 1.8, 380, 0.4, 1e-5),
    "efficientnet_b5": _variant(1.6, 2.2, 456, 0.4, 1e-3),
    "efficientnet_b6": _variant(1.8, 2.6, 528, 0.5, 1e-3),
    "efficientnet_b7": _variant(2.0, 3.1, 600, 0.5, 1e-3),
    "efficientnet_lite0": _lite_variant(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": _lite_variant(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": _lite_variant(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": _lite_variant(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": _lite_variant(1.4, 1.8, 300, 0.3),
}
