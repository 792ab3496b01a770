"""Other names for the same models: torchvision's where timm differs, and EfficientNet-PyTorch's.

Our models are named as timm names them. Each layout here is a table of (pattern, replacement),
applied from top to bottom to every name of the file.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Rows = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


@dataclass(frozen=True)
class Layout:
    """How another library names a family.

    Attributes:
        file: a pattern that a name of the file must match from its beginning.
        model: a name that the model must have.
        rows: (pattern, replacement), applied with `re.sub`.
        blocks: pattern of a block that is numbered through all stages, with `{}` for its number
            and then the number of the first; the block becomes `blocks.STAGE.INDEX`.
        reshaped: pattern of the new names whose numbers the model keeps in another shape.
    """

    file: str
    model: str
    rows: Rows
    blocks: tuple[str, int] | None = None
    reshaped: str | None = None


# The depthwise-separable block of the first stage, then the inverted residual: torchvision
# numbers what is there, so that the projection is one later where there is squeeze-and-excitation.
_INVERTED_RESIDUALS: Rows = (
    (r"^(blocks\.0\.\d+)\.block\.0\.0\.", r"\1.conv_dw."),
    (r"^(blocks\.0\.\d+)\.block\.0\.1\.", r"\1.bn1."),
    (r"^(blocks\.0\.\d+)\.block\.[12]\.0\.", r"\1.conv_pw."),
    (r"^(blocks\.0\.\d+)\.block\.[12]\.1\.", r"\1.bn2."),
    (r"\.block\.0\.0\.", ".conv_pw."),
    (r"\.block\.0\.1\.", ".bn1."),
    (r"\.block\.1\.0\.", ".conv_dw."),
    (r"\.block\.1\.1\.", ".bn2."),
    (r"\.block\.[12]\.fc1\.", ".se.conv_reduce."),
    (r"\.block\.[12]\.fc2\.", ".se.conv_expand."),
    (r"\.block\.[23]\.0\.", ".conv_pwl."),
    (r"\.block\.[23]\.1\.", ".bn3."),
)

_EFFICIENTNET_ENDS: Rows = (
    (r"^features\.0\.0\.", "conv_stem."),
    (r"^features\.0\.1\.", "bn1."),
    (r"^features\.[78]\.0\.weight$", "conv_head.weight"),
    (r"^features\.[78]\.1\.(\w+)$", r"bn2.\1"),
    (r"^classifier\.1\.", "classifier."),
    (r"^features\.(\d+)\.(\d+)\.", lambda match: f"blocks.{int(match[1]) - 1}.{match[2]}."),
)

TORCHVISION_VGG = Layout(
    file=r"classifier\.0\.weight$",
    model="pre_logits.fc1.weight",
    rows=(
        (r"^classifier\.0\.", "pre_logits.fc1."),
        (r"^classifier\.3\.", "pre_logits.fc2."),
        (r"^classifier\.6\.", "head.fc."),
    ),
    # A dense layer on flattened [C, H, W] is a convolution with a kernel of the whole map.
    reshaped=r"pre_logits\.fc[12]\.weight",
)

TORCHVISION_MOBILENET_V2 = Layout(
    file=r"features\.1\.conv\.0\.0\.weight$",
    model="conv_stem.weight",
    blocks=(r"^features\.{}\.(?=conv)", 1),
    rows=(
        (r"^features\.0\.0\.", "conv_stem."),
        (r"^features\.0\.1\.", "bn1."),
        (r"^features\.18\.0\.", "conv_head."),
        (r"^features\.18\.1\.", "bn2."),
        (r"^classifier\.1\.", "classifier."),
        (r"^blocks\.0\.0\.conv\.0\.0\.", "blocks.0.0.conv_dw."),
        (r"^blocks\.0\.0\.conv\.0\.1\.", "blocks.0.0.bn1."),
        (r"^blocks\.0\.0\.conv\.1\.", "blocks.0.0.conv_pw."),
        (r"^blocks\.0\.0\.conv\.2\.", "blocks.0.0.bn2."),
        (r"\.conv\.0\.0\.", ".conv_pw."),
        (r"\.conv\.0\.1\.", ".bn1."),
        (r"\.conv\.1\.0\.", ".conv_dw."),
        (r"\.conv\.1\.1\.", ".bn2."),
        (r"\.conv\.2\.", ".conv_pwl."),
        (r"\.conv\.3\.", ".bn3."),
    ),
)

TORCHVISION_MOBILENET_V3 = Layout(
    file=r"features\.1\.block\.0\.0\.weight$",
    model="conv_stem.weight",
    blocks=(r"^features\.{}\.", 1),
    rows=(
        (r"^features\.0\.0\.", "conv_stem."),
        (r"^features\.0\.1\.", "bn1."),
        (r"^(blocks\.\d+\.0)\.0\.weight$", r"\1.conv.weight"),
        (r"^(blocks\.\d+\.0)\.1\.(\w+)$", r"\1.bn1.\2"),
        (r"^classifier\.0\.", "conv_head."),
        (r"^classifier\.3\.", "classifier."),
        *_INVERTED_RESIDUALS,
    ),
    reshaped=r"conv_head\.weight",
)

TORCHVISION_EFFICIENTNET = Layout(
    file=r"features\.1\.0\.block\.0\.0\.weight$",
    model="blocks.0.0.conv_dw.weight",
    rows=_EFFICIENTNET_ENDS + _INVERTED_RESIDUALS,
)

TORCHVISION_EFFICIENTNET_V2 = Layout(
    file=r"features\.1\.0\.block\.0\.0\.weight$",
    model="blocks.0.0.conv.weight",
    rows=(
        *_EFFICIENTNET_ENDS,
        (r"^(blocks\.0\.\d+)\.block\.0\.0\.", r"\1.conv."),
        (r"^(blocks\.0\.\d+)\.block\.0\.1\.", r"\1.bn1."),
        (r"^(blocks\.[12]\.\d+)\.block\.0\.0\.", r"\1.conv_exp."),
        (r"^(blocks\.[12]\.\d+)\.block\.0\.1\.", r"\1.bn1."),
        (r"^(blocks\.[12]\.\d+)\.block\.1\.0\.", r"\1.conv_pwl."),
        (r"^(blocks\.[12]\.\d+)\.block\.1\.1\.", r"\1.bn2."),
        *_INVERTED_RESIDUALS,
    ),
)

_MNASNET_STEPS = {
    "0": "conv_pw",
    "1": "bn1",
    "3": "conv_dw",
    "4": "bn2",
    "6": "conv_pwl",
    "7": "bn3",
}

TORCHVISION_MNASNET = Layout(
    file=r"layers\.8\.0\.layers\.0\.weight$",
    model="conv_stem.weight",
    rows=(
        (r"^layers\.0\.", "conv_stem."),
        (r"^layers\.1\.", "bn1."),
        (r"^layers\.3\.", "blocks.0.0.conv_dw."),
        (r"^layers\.4\.", "blocks.0.0.bn1."),
        (r"^layers\.6\.", "blocks.0.0.conv_pw."),
        (r"^layers\.7\.", "blocks.0.0.bn2."),
        (r"^layers\.14\.", "conv_head."),
        (r"^layers\.15\.", "bn2."),
        (r"^classifier\.1\.", "classifier."),
        (
            r"^layers\.(\d+)\.(\d+)\.layers\.([013467])\.",
            lambda match: f"blocks.{int(match[1]) - 7}.{match[2]}.{_MNASNET_STEPS[match[3]]}.",
        ),
    ),
)

TORCHVISION_CONVNEXT = Layout(
    file=r"features\.1\.0\.layer_scale$",
    model="stem.0.weight",
    rows=(
        (r"^features\.0\.", "stem."),
        (
            r"^features\.([1357])\.(\d+)\.",
            lambda match: f"stages.{int(match[1]) // 2}.blocks.{match[2]}.",
        ),
        (r"^features\.([246])\.", lambda match: f"stages.{int(match[1]) // 2}.downsample."),
        (r"\.block\.0\.", ".conv_dw."),
        (r"\.block\.2\.", ".norm."),
        (r"\.block\.3\.", ".mlp.fc1."),
        (r"\.block\.5\.", ".mlp.fc2."),
        (r"\.layer_scale$", ".gamma"),
        (r"^classifier\.0\.", "head.norm."),
        (r"^classifier\.2\.", "head.fc."),
    ),
    reshaped=r".*\.gamma",
)

TORCHVISION_REGNET = Layout(
    file=r"trunk_output\.block1\.",
    model="stem.conv.weight",
    rows=(
        (r"^stem\.0\.", "stem.conv."),
        (r"^stem\.1\.", "stem.bn."),
        (
            r"^trunk_output\.block(\d)\.block\1-(\d+)\.",
            lambda match: f"s{match[1]}.b{int(match[2]) + 1}.",
        ),
        (r"\.f\.a\.0\.", ".conv1.conv."),
        (r"\.f\.a\.1\.", ".conv1.bn."),
        (r"\.f\.b\.0\.", ".conv2.conv."),
        (r"\.f\.b\.1\.", ".conv2.bn."),
        (r"\.f\.c\.0\.", ".conv3.conv."),
        (r"\.f\.c\.1\.", ".conv3.bn."),
        (r"\.f\.se\.", ".se."),
        (r"\.proj\.0\.", ".downsample.conv."),
        (r"\.proj\.1\.", ".downsample.bn."),
        (r"^fc\.", "head.fc."),
    ),
)

TORCHVISION_VIT = Layout(
    file=r"encoder\.pos_embedding$",
    model="patch_embed.proj.weight",
    rows=(
        (r"^class_token$", "cls_token"),
        (r"^conv_proj\.", "patch_embed.proj."),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"^encoder\.ln\.", "norm."),
        (r"^heads\.head\.", "head."),
        (r"\.ln_([12])\.", r".norm\1."),
        # Both pack queries, keys and values, in this order.
        (r"\.self_attention\.in_proj_", ".attn.qkv."),
        (r"\.self_attention\.out_proj\.", ".attn.proj."),
        (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
        (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    ),
)

OLD_DENSENET = Layout(
    file=r"features\.denseblock1\.denselayer1\.norm\.1\.weight$",
    model="features.denseblock1.denselayer1.norm1.weight",
    rows=((r"\.(norm|conv)\.([12])\.", r".\1\2."),),
)

EFFICIENTNET_PYTORCH = Layout(
    file=r"_conv_stem\.weight$",
    model="conv_stem.weight",
    blocks=(r"^_blocks\.{}\.", 0),
    rows=(
        (r"^_conv_(stem|head)\.", r"conv_\1."),
        (r"^_bn0\.", "bn1."),
        (r"^_bn1\.", "bn2."),
        (r"^_fc\.", "classifier."),
        (r"^(blocks\.0\.\d+)\._depthwise_conv\.", r"\1.conv_dw."),
        (r"^(blocks\.0\.\d+)\._project_conv\.", r"\1.conv_pw."),
        (r"^(blocks\.0\.\d+)\._bn([12])\.", r"\1.bn\2."),
        (r"\._expand_conv\.", ".conv_pw."),
        (r"\._depthwise_conv\.", ".conv_dw."),
        (r"\._project_conv\.", ".conv_pwl."),
        (r"\._bn([012])\.", lambda match: f".bn{int(match[1]) + 1}."),
        (r"\._se_(reduce|expand)\.", r".se.conv_\1."),
    ),
)

LAYOUTS = (
    TORCHVISION_VGG,
    TORCHVISION_MOBILENET_V2,
    TORCHVISION_MOBILENET_V3,
    TORCHVISION_EFFICIENTNET,
    TORCHVISION_EFFICIENTNET_V2,
    TORCHVISION_MNASNET,
    TORCHVISION_CONVNEXT,
    TORCHVISION_REGNET,
    TORCHVISION_VIT,
    OLD_DENSENET,
    EFFICIENTNET_PYTORCH,
)


def translate(
    state: dict[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Give the entries of another library's file the names that our model has.

    Args:
        state: name -> array, as in the file.
        shapes: name -> shape, as timm would have it for the model.

    Returns:
        The entries under their new names; `state` itself where no layout is recognised.
    """
    for layout in LAYOUTS:
        if layout.model in shapes and any(re.match(layout.file, name) for name in state):
            return _renamed(state, shapes, layout)
    return state


def _renamed(
    state: dict[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], layout: Layout
) -> dict[str, np.ndarray]:
    rows = (*_block_rows(layout, shapes), *layout.rows)
    renamed = {}
    for name, array in state.items():
        new = name
        for pattern, replacement in rows:
            new = re.sub(pattern, replacement, new)
        wanted = shapes.get(new, array.shape)
        if (
            layout.reshaped
            and re.fullmatch(layout.reshaped, new)
            and math.prod(wanted) == array.size
        ):
            array = array.reshape(wanted)
        # Two entries that end under one name are left apart: the merge will list them.
        renamed[name if new in renamed else new] = array
    return renamed


def _block_rows(layout: Layout, names: Iterable[str]) -> Rows:
    if layout.blocks is None:
        return ()
    pattern, first = layout.blocks
    found = {
        (int(match[1]), int(match[2]))
        for match in (re.match(r"blocks\.(\d+)\.(\d+)\.", name) for name in names)
        if match
    }
    return tuple(
        (pattern.format(first + index), f"blocks.{stage}.{block}.")
        for index, (stage, block) in enumerate(sorted(found))
    )
