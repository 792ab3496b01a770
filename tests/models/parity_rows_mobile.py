"""Rows of the parity table: the networks for small devices, RegNet, ConvNeXt and ViT.

Gradients take XLA long to compile: they are compared on variants with fewer blocks.
"""

from functools import partial

from cnn_jax.models import create_model
from tests.parity import Row, timm, torch, torchvision

_create = timm.create_model


def _numbered(prefix, *numbers):
    return tuple(f"{prefix}{number}" for number in numbers)


def _row(name, build, stages=(), **options):
    """Make a row: of names and shapes alone, where there are no stages."""
    return Row(name, build, image_size=64 if stages else None, stages=stages, **options)


def _short_row(name, build, stages, *, depth=2, gradients=True):
    """Make a row with a few blocks a stage of a mobile network."""

    def build_short():
        model = build()
        for index, stage in enumerate(model.blocks):
            model.blocks[index] = stage[:depth]
        return model

    short = tuple(stage[:depth] for stage in create_model(name).stages)
    return _row(name, build_short, stages, gradients=gradients, options={"stages": short})


def _scaled(generate, name, **multipliers):
    """Build a width of a family that timm has no name for."""
    return partial(getattr(timm.models.efficientnet, generate), name, **multipliers)


_v1 = partial(_scaled, "_gen_mobilenet_v1", "mobilenetv1_100")
_V1_STAGES = _numbered("blocks.", 0, 1, 2, 3, 4)
_STAGES = _numbered("blocks.", 0, 1, 2, 4, 6)
_V3_SMALL_STAGES = ("bn1", *_numbered("blocks.", 0, 1, 3, 5))
# torchvision's epsilon, where timm's default is another.
_v3_large = partial(_create, "mobilenetv3_large_100", bn_eps=1e-3)
_v3_small = partial(_create, "mobilenetv3_small_100", bn_eps=1e-3)

_MOBILE_ROWS = [
    _row("mobilenet_v1", _v1(channel_multiplier=1.0)),
    _row("mobilenet_v1_075", _v1(channel_multiplier=0.75)),
    _row("mobilenet_v1_050", _v1(channel_multiplier=0.5)),
    _row("mobilenet_v1_025", _v1(channel_multiplier=0.25), _V1_STAGES),
    _short_row("mobilenet_v1_025", _v1(channel_multiplier=0.25), _V1_STAGES),
    _row("mobilenet_v2", partial(_create, "mobilenetv2_100"), _STAGES),
    _row("mobilenet_v2_050", partial(_create, "mobilenetv2_050")),
    _row(
        "mobilenet_v2_075", _scaled("_gen_mobilenet_v2", "mobilenetv2_100", channel_multiplier=0.75)
    ),
    _row("mobilenet_v2_140", partial(_create, "mobilenetv2_140")),
    _short_row("mobilenet_v2_050", partial(_create, "mobilenetv2_050"), _STAGES),
    _row("mobilenet_v3_large", _v3_large, _STAGES),
    _row("mobilenet_v3_small", _v3_small, _V3_SMALL_STAGES),
    _short_row("mobilenet_v3_small", _v3_small, _V3_SMALL_STAGES),
    _row("mnasnet0_5", partial(_create, "mnasnet_050"), _STAGES),
    _short_row("mnasnet0_5", partial(_create, "mnasnet_050"), _STAGES),
    _row("mnasnet0_75", partial(_create, "mnasnet_075")),
    _row("mnasnet1_0", partial(_create, "mnasnet_100")),
    _row("mnasnet1_3", _scaled("_gen_mnasnet_b1", "mnasnet_100", channel_multiplier=1.3)),
]

_lite0 = partial(_create, "tf_efficientnet_lite0")
_V2_STAGES = _numbered("blocks.", 0, 1, 2, 4, 5)
_v2_s = partial(_create, "efficientnetv2_s", bn_eps=1e-3)

_EFFICIENTNET_ROWS = [
    _row("efficientnet_b0", partial(_create, "efficientnet_b0"), _STAGES),
    _short_row("efficientnet_b0", partial(_create, "efficientnet_b0"), _STAGES),
    *(
        _row(f"efficientnet_b{index}", partial(_create, f"efficientnet_b{index}"))
        for index in range(1, 8)
    ),
    # SAME padding is another for odd sizes than for even ones.
    Row("efficientnet_lite0", _lite0, image_size=64, stages=_STAGES),
    Row("efficientnet_lite0", _lite0, image_size=75, stages=_STAGES),
    *(
        _row(f"efficientnet_lite{index}", partial(_create, f"tf_efficientnet_lite{index}"))
        for index in range(1, 5)
    ),
    # With random weights the values grow through all 40 blocks until each gate is 0 or 1, and
    # rounding turns some over: only fewer blocks can be compared, for gradients still fewer.
    _row("efficientnet_v2_s", _v2_s),
    _short_row("efficientnet_v2_s", _v2_s, _V2_STAGES, gradients=False),
    _short_row("efficientnet_v2_s", _v2_s, _V2_STAGES, depth=1),
    _row("efficientnet_v2_m", partial(_create, "efficientnetv2_m")),
    _row("efficientnet_v2_l", partial(_create, "efficientnetv2_l")),
]

_SHUFFLE_STAGES = ("conv1", "stage2", "stage3", "stage4")

_SHUFFLE_ROWS = [
    _row("shufflenet_v2_x0_5", torchvision.models.shufflenet_v2_x0_5, _SHUFFLE_STAGES),
    _row(
        "shufflenet_v2_x0_5",
        partial(torchvision.models.ShuffleNetV2, [2, 2, 2], [24, 48, 96, 192, 1024]),
        _SHUFFLE_STAGES,
        gradients=True,
        options={"repeats": (2, 2, 2)},
    ),
    _row("shufflenet_v2_x1_0", torchvision.models.shufflenet_v2_x1_0),
    _row("shufflenet_v2_x1_5", torchvision.models.shufflenet_v2_x1_5),
    _row("shufflenet_v2_x2_0", torchvision.models.shufflenet_v2_x2_0),
]


def _short_regnet_row(name, their_name):
    def build():
        model = _create(their_name)
        for stage in (model.s1, model.s2, model.s3, model.s4):
            for block in list(stage._modules)[2:]:
                delattr(stage, block)
        return model

    stages = create_model(name).stages
    short = tuple(stage._replace(depth=min(stage.depth, 2)) for stage in stages)
    return _row(name, build, _REGNET_STAGES, gradients=True, options={"stages": short})


_REGNET_STAGES = ("stem", "s1", "s2", "s3", "s4")

_REGNET_ROWS = [
    _row("regnet_x_400mf", partial(_create, "regnetx_004_tv"), _REGNET_STAGES),
    _row("regnet_x_800mf", partial(_create, "regnetx_008")),
    _row("regnet_x_1_6gf", partial(_create, "regnetx_016")),
    _row("regnet_x_3_2gf", partial(_create, "regnetx_032")),
    _row("regnet_x_8gf", partial(_create, "regnetx_080")),
    _row("regnet_x_16gf", partial(_create, "regnetx_160")),
    _row("regnet_x_32gf", partial(_create, "regnetx_320")),
    _row("regnet_y_400mf", partial(_create, "regnety_004"), _REGNET_STAGES),
    _short_regnet_row("regnet_y_400mf", "regnety_004"),
    _row("regnet_y_800mf", partial(_create, "regnety_008_tv")),
    _row("regnet_y_1_6gf", partial(_create, "regnety_016")),
    _row("regnet_y_3_2gf", partial(_create, "regnety_032")),
    _row("regnet_y_8gf", partial(_create, "regnety_080_tv")),
    _row("regnet_y_16gf", partial(_create, "regnety_160")),
    _row("regnet_y_32gf", partial(_create, "regnety_320")),
    _row("regnet_y_128gf", partial(_create, "regnety_1280")),
]

_CONVNEXT_STAGES = _numbered("stages.", 0, 1, 2, 3)

_CONVNEXT_ROWS = [
    _row("convnext_tiny", partial(_create, "convnext_tiny"), _CONVNEXT_STAGES),
    _row(
        "convnext_tiny",
        partial(_create, "convnext_tiny", depths=(1, 1, 2, 1)),
        _CONVNEXT_STAGES,
        gradients=True,
        options={"depths": (1, 1, 2, 1)},
    ),
    _row("convnext_small", partial(_create, "convnext_small")),
    _row("convnext_base", partial(_create, "convnext_base")),
    _row("convnext_large", partial(_create, "convnext_large")),
]


def _transformer(patch_size, features, heads, depth=12, image_size=224, **options):
    """Build timm's transformer, with a module for the maps that each block's tokens are."""
    model = timm.models.VisionTransformer(
        img_size=image_size,
        patch_size=patch_size,
        embed_dim=features,
        num_heads=heads,
        depth=depth,
        **options,
    )
    model.maps = torch.nn.ModuleList(torch.nn.Identity() for _ in model.blocks)

    def show(maps, tokens):
        side = round((tokens.shape[1] - 1) ** 0.5)
        maps(tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side)))

    for block, maps in zip(model.blocks, model.maps, strict=True):
        block.register_forward_hook(lambda _, __, tokens, maps=maps: show(maps, tokens))
    return model


def _transformer_stages(depth):
    return {f"blocks.{index}": f"maps.{index}" for index in range(depth)}


_VIT_ROWS = [
    _row("vit_tiny_patch16", partial(_transformer, 16, 192, 3)),
    _row("vit_tiny_patch32", partial(_transformer, 32, 192, 3)),
    _row(
        "vit_tiny_patch16",
        partial(_transformer, 16, 192, 3, depth=2, image_size=64),
        _transformer_stages(2),
        gradients=True,
        options={"depth": 2, "image_size": 64},
    ),
    # 64 pixels, with the position embedding for 224.
    _row(
        "vit_small_patch16",
        partial(_transformer, 16, 384, 6, dynamic_img_size=True),
        _transformer_stages(12),
    ),
    _row("vit_small_patch32", partial(_transformer, 32, 384, 6)),
    _row("vit_base_patch16", partial(_transformer, 16, 768, 12)),
    _row("vit_base_patch32", partial(_transformer, 32, 768, 12)),
    _row("vit_large_patch16", partial(_transformer, 16, 1024, 16, depth=24)),
    _row("vit_large_patch32", partial(_transformer, 32, 1024, 16, depth=24)),
]

ROWS = [
    *_MOBILE_ROWS,
    *_EFFICIENTNET_ROWS,
    *_SHUFFLE_ROWS,
    *_REGNET_ROWS,
    *_CONVNEXT_ROWS,
    *_VIT_ROWS,
]
