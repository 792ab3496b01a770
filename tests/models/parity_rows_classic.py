"""Rows of the parity table: DenseNet and the networks before ResNet."""

from functools import partial

from tests.parity import Row, timm, torch, torchvision
from tests.torch_alexnet import AlexNet2012

_DENSENET = (
    "features.norm0",
    "features.denseblock1",
    "features.denseblock2",
    "features.denseblock3",
    "features.norm5",
)


_VGG11 = ("features.1", "features.4", "features.9", "features.14", "features.19", "features.20")
_VGG11_BN = ("features.2", "features.6", "features.13", "features.20", "features.27", "features.28")
_TORCHVISION = torchvision.models


def _from_chw(state, names=("classifier.1.weight",), channels=256):
    """Reorder the inputs of a dense layer after maps: PyTorch flattens [C, h, w]."""
    turned = {}
    for name in names:
        features, inputs = state[name].shape
        side = round((inputs / channels) ** 0.5)
        kernel = state[name].reshape(features, channels, side, side)
        turned[name] = kernel.transpose(0, 2, 3, 1).reshape(features, inputs)
    return {**state, **turned}


_auxiliary_from_chw = partial(_from_chw, names=("aux1.fc1.weight", "aux2.fc1.weight"), channels=128)


def _timm(name, stages, **options):
    return Row(name, partial(timm.create_model, name), stages=stages, **options)


def _narrow_vgg(name, stages, *, hidden=64, **options):
    """The variant with dense layers of `hidden` units, which hold 9 of 10 parameters."""

    def build():
        model = timm.create_model(name)
        model.pre_logits = timm.models.vgg.ConvMlp(512, hidden)
        model.head.fc = torch.nn.Linear(hidden, 1000)
        return model

    return Row(name, build, image_size=64, stages=stages, options={"hidden": hidden}, **options)


ROWS = [
    _timm("densenet121", _DENSENET),
    _timm("densenet161", _DENSENET),
    _timm("densenet169", _DENSENET),
    _timm("densenet201", _DENSENET),
    Row(
        "densenet121",
        partial(timm.models.densenet.DenseNet, block_config=(1, 2, 1, 2)),
        image_size=64,
        stages=_DENSENET,
        gradients=True,
        options={"depths": (1, 2, 1, 2)},
    ),
    _timm("vgg11", ()),
    _timm("vgg13", ()),
    _timm("vgg16", ()),
    _timm("vgg19", ()),
    _timm("vgg11_bn", ()),
    _timm("vgg13_bn", ()),
    _timm("vgg16_bn", ()),
    _timm("vgg19_bn", ()),
    _narrow_vgg("vgg11", _VGG11, gradients=True),
    _narrow_vgg("vgg11_bn", _VGG11_BN),
    Row(
        "alexnet",
        _TORCHVISION.alexnet,
        image_size=96,
        stages=("features.1", "features.4", "features.11", "features.12"),
        gradients=True,
        translate=_from_chw,
    ),
    Row(
        "alexnet_2012",
        AlexNet2012,
        image_size=96,
        stages=("features.2", "features.6", "features.13", "features.14"),
        translate=_from_chw,
    ),
    # Sizes at which rounding up matters in the pooling.
    Row(
        "squeezenet1_0",
        _TORCHVISION.squeezenet1_0,
        image_size=66,
        stages=("features.1", "features.5", "features.10", "features.12"),
    ),
    Row(
        "squeezenet1_1",
        _TORCHVISION.squeezenet1_1,
        image_size=68,
        stages=("features.1", "features.4", "features.7", "features.12"),
        gradients=True,
    ),
    Row(
        "googlenet",
        partial(_TORCHVISION.googlenet, init_weights=False),
        image_size=64,
        stages=("conv1", "conv3", "inception3b", "inception4e", "inception5b"),
        gradients=True,
        translate=_auxiliary_from_chw,
    ),
    Row(
        "inception_v3",
        partial(_TORCHVISION.inception_v3, init_weights=False),
        image_size=80,
        stages=("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c"),
        gradients=True,
    ),
]
