"""The naming rule: both ways, on all names of the families of torchvision and timm."""

import numpy as np
import pytest

from cnn_jax.weights.naming import (
    to_name,
    to_our_layout,
    to_path,
    to_torch_layout,
    torch_shape,
)


@pytest.mark.parametrize(
    ("name", "shape", "path", "ours"),
    [
        ("fc.weight", (10, 64), ("params", "fc", "kernel"), (64, 10)),
        ("bn1.weight", (64,), ("params", "bn1", "scale"), (64,)),
        ("bn1.running_mean", (64,), ("batch_stats", "bn1", "mean"), (64,)),
        ("bn1.running_var", (64,), ("batch_stats", "bn1", "var"), (64,)),
        ("cls_token", (1, 1, 8), ("params", "cls_token"), (1, 1, 8)),
        (
            "layer1.0.conv1.weight",
            (5, 4, 3, 2),
            ("params", "layer1_0", "conv1", "kernel"),
            (3, 2, 4, 5),
        ),
        (
            "layer1.0.downsample.1.bias",
            (4,),
            ("params", "layer1_0", "downsample_1", "bias"),
            (4,),
        ),
        (
            "blocks.0.1.conv.weight",
            (5, 4, 3),
            ("params", "blocks_0_1", "conv", "kernel"),
            (3, 4, 5),
        ),
        ("stages.0.blocks.1.gamma", (7,), ("params", "stages_0", "blocks_1", "gamma"), (7,)),
        (
            "Mixed_5b.branch3x3dbl_2.conv.weight",
            (5, 4, 3, 3),
            ("params", "Mixed_5b", "branch3x3dbl_2", "conv", "kernel"),
            (3, 3, 4, 5),
        ),
    ],
)
def test_name_and_layout_go_both_ways(name, shape, path, ours):
    array = np.arange(np.prod(shape)).reshape(shape)
    assert to_path(name, array.ndim) == path
    assert to_name(path) == name
    turned = to_our_layout(path, array)
    assert turned.shape == ours
    assert torch_shape(path, ours) == shape
    np.testing.assert_array_equal(to_torch_layout(path, turned), array)


def test_counters_have_no_place():
    assert to_path("layer1.0.bn1.num_batches_tracked", 0) is None


# Families whose names are ours: of the others torchvision's are translated first.
_TORCHVISION = (
    "alexnet", "densenet121", "googlenet", "inception_v3", "mnasnet0_5", "resnet18", "resnet50",
    "resnext50_32x4d", "shufflenet_v2_x0_5", "squeezenet1_0", "vgg11_bn", "wide_resnet50_2",
)  # fmt: skip
_TIMM = (
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_lite0", "efficientnetv2_s",
    "inception_v3", "mnasnet_050", "mobilenetv1_100", "mobilenetv2_050", "mobilenetv3_large_100",
    "regnetx_004", "regnety_004", "resnet18", "resnet50", "seresnet18", "vgg11_bn",
    "vit_tiny_patch16_224",
)  # fmt: skip


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_every_name_of_the_families_comes_back(source):
    parity = pytest.importorskip("tests.parity")
    models, build = (
        (_TORCHVISION, parity.torchvision.models.get_model)
        if source == "torchvision"
        else (_TIMM, parity.timm.create_model)
    )
    for model in models:
        options = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
        with parity.torch.device("meta"):
            state = build(model, **(options if source == "torchvision" else {})).state_dict()
        paths = {}
        for name, tensor in state.items():
            path = to_path(name, tensor.ndim)
            if path is not None:
                assert to_name(path) == name, model
                assert paths.setdefault(path, name) == name, model
