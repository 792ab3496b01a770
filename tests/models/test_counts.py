"""Every published architecture has the published number of parameters and of multiply-adds."""

import csv
import re
from pathlib import Path

import pytest

from cnn_jax.inspect import summary
from cnn_jax.models import VARIANTS, create_model
from tests.conftest import ROOT

# Model, image size, trainable parameters, GMACs: what torchvision states with its weights.
# Multiply-adds count what attention multiplies too, and neither normalisation nor activation.
TORCHVISION = [
    ("alexnet", 224, 61_100_840, 0.714),
    ("convnext_base", 224, 88_591_464, 15.355),
    ("convnext_large", 224, 197_767_336, 34.361),
    ("convnext_small", 224, 50_223_688, 8.684),
    ("convnext_tiny", 224, 28_589_128, 4.456),
    ("densenet121", 224, 7_978_856, 2.834),
    ("densenet161", 224, 28_681_000, 7.728),
    ("densenet169", 224, 14_149_480, 3.36),
    ("densenet201", 224, 20_013_928, 4.291),
    ("efficientnet_b0", 224, 5_288_548, 0.386),
    ("efficientnet_b1", 240, 7_794_184, 0.687),
    ("efficientnet_b2", 288, 9_109_994, 1.088),
    ("efficientnet_b3", 300, 12_233_232, 1.827),
    ("efficientnet_b4", 380, 19_341_616, 4.394),
    ("efficientnet_b5", 456, 30_389_784, 10.266),
    ("efficientnet_b6", 528, 43_040_704, 19.068),
    ("efficientnet_b7", 600, 66_347_960, 37.746),
    ("efficientnet_v2_l", 480, 118_515_272, 56.08),
    ("efficientnet_v2_m", 480, 54_139_356, 24.582),
    ("efficientnet_v2_s", 384, 21_458_488, 8.366),
    ("googlenet", 224, 6_624_904, 1.498),
    ("inception_v3", 299, 27_161_264, 5.713),
    ("mnasnet0_5", 224, 2_218_512, 0.104),
    ("mnasnet0_75", 224, 3_170_208, 0.215),
    ("mnasnet1_0", 224, 4_383_312, 0.314),
    ("mnasnet1_3", 224, 6_282_256, 0.526),
    ("mobilenet_v2", 224, 3_504_872, 0.301),
    ("mobilenet_v3_large", 224, 5_483_032, 0.217),
    ("mobilenet_v3_small", 224, 2_542_856, 0.057),
    ("regnet_x_16gf", 224, 54_278_536, 15.941),
    ("regnet_x_1_6gf", 224, 9_190_136, 1.603),
    ("regnet_x_32gf", 224, 107_811_560, 31.736),
    ("regnet_x_3_2gf", 224, 15_296_552, 3.177),
    ("regnet_x_400mf", 224, 5_495_976, 0.414),
    ("regnet_x_800mf", 224, 7_259_656, 0.8),
    ("regnet_x_8gf", 224, 39_572_648, 7.995),
    ("regnet_y_128gf", 224, 644_812_894, 127.518),
    ("regnet_y_128gf", 384, 644_812_894, 374.57),
    ("regnet_y_16gf", 224, 83_590_140, 15.912),
    ("regnet_y_16gf", 384, 83_590_140, 46.735),
    ("regnet_y_1_6gf", 224, 11_202_430, 1.612),
    ("regnet_y_32gf", 224, 145_046_770, 32.28),
    ("regnet_y_32gf", 384, 145_046_770, 94.826),
    ("regnet_y_3_2gf", 224, 19_436_338, 3.176),
    ("regnet_y_400mf", 224, 4_344_144, 0.402),
    ("regnet_y_800mf", 224, 6_432_512, 0.834),
    ("regnet_y_8gf", 224, 39_381_472, 8.473),
    ("resnet101", 224, 44_549_160, 7.801),
    ("resnet152", 224, 60_192_808, 11.514),
    ("resnet18", 224, 11_689_512, 1.814),
    ("resnet34", 224, 21_797_672, 3.664),
    ("resnet50", 224, 25_557_032, 4.089),
    ("resnext101_32x8d", 224, 88_791_336, 16.414),
    ("resnext101_64x4d", 224, 83_455_272, 15.46),
    ("resnext50_32x4d", 224, 25_028_904, 4.23),
    ("shufflenet_v2_x0_5", 224, 1_366_792, 0.04),
    ("shufflenet_v2_x1_0", 224, 2_278_604, 0.145),
    ("shufflenet_v2_x1_5", 224, 3_503_624, 0.296),
    ("shufflenet_v2_x2_0", 224, 7_393_996, 0.583),
    ("squeezenet1_0", 224, 1_248_424, 0.819),
    ("squeezenet1_1", 224, 1_235_496, 0.349),
    ("vgg11", 224, 132_863_336, 7.609),
    ("vgg11_bn", 224, 132_868_840, 7.609),
    ("vgg13", 224, 133_047_848, 11.308),
    ("vgg13_bn", 224, 133_053_736, 11.308),
    ("vgg16", 224, 138_357_544, 15.47),
    ("vgg16_bn", 224, 138_365_992, 15.47),
    ("vgg19", 224, 143_667_240, 19.632),
    ("vgg19_bn", 224, 143_678_248, 19.632),
    ("vit_base_patch16", 224, 86_567_656, 17.564),
    ("vit_base_patch16", 384, 86_859_496, 55.484),
    ("vit_base_patch32", 224, 88_224_232, 4.409),
    ("vit_large_patch16", 224, 304_326_632, 61.555),
    ("vit_large_patch16", 512, 305_174_504, 361.986),
    ("vit_large_patch32", 224, 306_535_400, 15.378),
    ("wide_resnet101_2", 224, 126_886_696, 22.753),
    ("wide_resnet50_2", 224, 68_883_240, 11.398),
]

# Where torchvision has another name.
SPELLINGS = {
    "vit_b_16": "vit_base_patch16",
    "vit_b_32": "vit_base_patch32",
    "vit_l_16": "vit_large_patch16",
    "vit_l_32": "vit_large_patch32",
}
# What torchvision has and this zoo does not.
ABSENT = {
    "maxvit_t",
    "swin_t",
    "swin_s",
    "swin_b",
    "swin_v2_t",
    "swin_v2_s",
    "swin_v2_b",
    "vit_h_14",
}
# torchvision's published weights of this one come without the auxiliary heads.
OPTIONS = {"googlenet": {"auxiliary": False}}

# He et al. 2016, table 6 (0.27 M, 0.46 M, 0.66 M, 0.85 M, 1.7 M); Zagoruyko and Komodakis 2016,
# table 4 (36.5 M); Huang et al. 2017, table 2 (0.8 M). Option A shortcuts have no parameters.
CIFAR = [
    ("resnet20_cifar", 269_722),
    ("resnet32_cifar", 464_154),
    ("resnet44_cifar", 658_586),
    ("resnet56_cifar", 853_018),
    ("resnet110_cifar", 1_727_962),
    ("wrn_28_10_cifar", 36_479_194),
    ("densenet_bc_100_12_cifar", 769_162),
]


@pytest.mark.parametrize(("name", "image_size", "parameters", "gmacs"), TORCHVISION)
def test_parameters_and_multiply_adds_are_the_published(name, image_size, parameters, gmacs):
    record = summary(create_model(name, image_size=image_size, **OPTIONS.get(name, {})))
    assert record.parameters == parameters
    # Within 1 %, and the half of the last digit that is published.
    assert record.gmacs == pytest.approx(gmacs, abs=0.01 * gmacs + 0.0005)


@pytest.mark.parametrize(("name", "parameters"), CIFAR)
def test_parameters_of_networks_for_cifar_are_the_published(name, parameters):
    assert summary(create_model(name)).parameters == parameters


@pytest.mark.parametrize(("layers", "macs"), [(20, 40.55e6), (56, 125.49e6), (110, 252.89e6)])
def test_multiply_adds_of_residual_networks_for_cifar_are_the_published(layers, macs):
    """Lin et al. 2020, "HRank", tables 2 and 3, before pruning; and by hand."""
    record = summary(create_model(f"resnet{layers}_cifar"))
    assert record.macs == pytest.approx(macs, rel=1e-3)
    stem_and_classifier = 32 * 32 * 16 * 27 + 640
    # Each stage has half the resolution and twice the width; two convolutions halve their inputs.
    assert record.macs == stem_and_classifier + (layers - 3) * 32 * 32 * 16 * 16 * 9


def test_the_table_is_the_published_one():
    """Compare with the file that the figures come from, where it lies beside the project."""
    places = [folder / "shared/reference/torchvision_weights.csv" for folder in ROOT.parents]
    found = [
        place
        for place in [ROOT / "shared/reference/torchvision_weights.csv", *places]
        if place.exists()
    ]
    if not found:
        pytest.skip("reference/torchvision_weights.csv is not here")
    assert set(TORCHVISION) == set(_published(found[0]))


def _published(path: Path):
    with path.open() as file:
        for row in csv.DictReader(file):
            name = row["model"].lower()
            size = int(re.search(r"'crop_size': (\d+)", row["crop_resize"])[1])
            if name not in ABSENT:
                name = SPELLINGS.get(name, name)
                assert name in VARIANTS
                yield name, size, int(row["num_params"]), float(row["gmacs"])
