"""The floor of bytes, against sums by hand on a network of one block."""

from collections import Counter

import jax.numpy as jnp
import pytest
from click.testing import CliRunner

from cnn_jax import create_model
from cnn_jax.inspect import summary
from cnn_jax.models.resnet import ResNet
from experiments.resnet50_bytes import kept_bytes, main, measured, passes

TINY = ResNet(num_classes=10, depths=(1, 0, 0, 0), small_stem=True)
IMAGES = (2, 4, 4, 3)
MAPS, FIRST, KERNEL = 2 * 4 * 4 * 64, 27 * 64, 9 * 64 * 64
POSITIONS = 2 * 4 * 4


def by_kind(found) -> Counter:
    counts = Counter()
    for one in found:
        counts[one.what, one.forward] += one.bytes
    return counts


@pytest.mark.parametrize("width", [4, 2])
def test_one_block_by_hand(width):
    found = passes(TINY, IMAGES, width=width)
    stem, inner = 96 + FIRST + MAPS, 2 * (MAPS + KERNEL + MAPS)
    dense = 2 * 64 + 64 * 10 + 2 * 10
    numbers = FIRST + 2 * KERNEL + 3 * 2 * 64 + 650
    optimizer = numbers * (5 * 4 if width == 4 else 4 * 4 + 2 + 6)
    hand = {
        ("convolution", True): stem + inner + dense,
        ("gradient of the kernel", False): stem + inner + dense,
        ("gradient of the input", False): inner + dense,
        ("batch statistics", True): 3 * MAPS,
        ("normalisation", True): 3 * 2 * MAPS,
        ("batch statistics", False): 3 * 2 * MAPS,
        ("normalisation", False): 3 * 3 * MAPS,
        ("shortcut", True): MAPS,
        ("shortcut", False): 4 * MAPS,
        ("pooling", True): MAPS + 128,
        ("pooling", False): MAPS + 128,
    }
    expected = {kind: width * count for kind, count in hand.items()}
    assert by_kind(found) == expected | {("optimizer", False): optimizer}
    assert sum(one.flops for one in found if one.forward) == 2 * (
        POSITIONS * (FIRST + 2 * KERNEL) + 2 * 640
    )
    assert {one.stage for one in found} == {"stem", "layer1", "head", "optimizer"}


def test_recomputing_costs_bytes_and_saves_memory():
    plain, again = (by_kind(passes(TINY, IMAGES, width=4, remat=remat)) for remat in (False, True))
    assert again - plain == {("normalisation again", False): 4 * 3 * 2 * MAPS}
    # Images; what three convolutions put out and two of them took; the sum at the end of the block.
    assert kept_bytes(TINY, IMAGES, width=4) == 4 * (96 + 6 * MAPS)
    assert kept_bytes(TINY, IMAGES, width=4, remat=True) == 4 * (96 + 5 * MAPS)


def test_resnet50_multiplies_as_its_summary_says():
    model = create_model("resnet50")
    found = passes(model, (3, 64, 64, 3), width=2)
    forward = sum(one.flops for one in found if one.forward)
    assert forward == 2 * 3 * summary(model, 64).macs
    pooled = [one.bytes for one in found if one.what == "pooling" and one.stage == "stem"]
    large, small = (2 * 3 * side**2 * 64 for side in (32, 16))
    assert pooled == [large + small, 2 * large + small]
    shortcuts = [one for one in found if one.what == "shortcut" and one.forward and not one.bytes]
    assert [one.layer for one in shortcuts] == [f"layer{stage}_0" for stage in (1, 2, 3, 4)]


def test_time_is_that_of_the_scarcer():
    (one, *_) = passes(TINY, IMAGES, width=4)
    assert one.seconds(1.0, 1e12) == one.bytes and one.seconds(1e12, 1.0) == one.flops


def test_stages_are_timed_and_the_table_is_printed():
    times = measured(TINY.clone(dtype=jnp.bfloat16), IMAGES, steps=1)
    assert list(times) == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    done = CliRunner().invoke(main, ["--model", "resnet18", "--batch", "2", "--image-size", "32"])
    assert done.exit_code == 0, done.output
    assert "images a second" in done.output and "layer4" in done.output
