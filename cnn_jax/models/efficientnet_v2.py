"""EfficientNetV2: fused blocks in the early stages, searched for training speed."""

from functools import partial

import flax.linen as nn

from cnn_jax.models.mobile_blocks import ConvBlock, FusedInvertedResidual, InvertedResidual
from cnn_jax.models.mobile_network import MobileNetwork, StageRow, make_stages

# Tan and Le 2021, "EfficientNetV2", table 4; M and L are in the reference code only.
_SMALL = (
    StageRow(ConvBlock, 2, 3, 1, 1, 24),
    StageRow(FusedInvertedResidual, 4, 3, 2, 4, 48),
    StageRow(FusedInvertedResidual, 4, 3, 2, 4, 64),
    StageRow(InvertedResidual, 6, 3, 2, 4, 128, 0.25),
    StageRow(InvertedResidual, 9, 3, 1, 6, 160, 0.25),
    StageRow(InvertedResidual, 15, 3, 2, 6, 256, 0.25),
)
_MEDIUM = (
    StageRow(ConvBlock, 3, 3, 1, 1, 24),
    StageRow(FusedInvertedResidual, 5, 3, 2, 4, 48),
    StageRow(FusedInvertedResidual, 5, 3, 2, 4, 80),
    StageRow(InvertedResidual, 7, 3, 2, 4, 160, 0.25),
    StageRow(InvertedResidual, 14, 3, 1, 6, 176, 0.25),
    StageRow(InvertedResidual, 18, 3, 2, 6, 304, 0.25),
    StageRow(InvertedResidual, 5, 3, 1, 6, 512, 0.25),
)
_LARGE = (
    StageRow(ConvBlock, 4, 3, 1, 1, 32),
    StageRow(FusedInvertedResidual, 7, 3, 2, 4, 64),
    StageRow(FusedInvertedResidual, 7, 3, 2, 4, 96),
    StageRow(InvertedResidual, 10, 3, 2, 4, 192, 0.25),
    StageRow(InvertedResidual, 19, 3, 1, 6, 224, 0.25),
    StageRow(InvertedResidual, 25, 3, 2, 6, 384, 0.25),
    StageRow(InvertedResidual, 7, 3, 1, 6, 640, 0.25),
)


def _variant(rows, image_size: int, drop_rate: float):
    stem_features = rows[0].features
    return partial(
        MobileNetwork,
        image_size=image_size,
        stem_features=stem_features,
        stages=make_stages(rows, stem_features=stem_features, activation=nn.silu),
        activation=nn.silu,
        # torchvision's; timm's efficientnetv2_s of other training want 1e-5.
        bn_epsilon=1e-3,
        drop_rate=drop_rate,
        drop_path_rate=0.2,
    )


VARIANTS = {
    "efficientnet_v2_s": _variant(_SMALL, 384, 0.2),
    "efficientnet_v2_m": _variant(_MEDIUM, 480, 0.3),
    "efficientnet_v2_l": _variant(_LARGE, 480, 0.4),
}
