"""Summaries: figures that can be worked out by hand or are published, totals, text."""

import io
import json

import flax.linen as nn
import jax.numpy as jnp
import pytest
from rich.console import Console

from cnn_jax import layers
from cnn_jax.errors import InputError
from cnn_jax.inspect import program, summary, table
from cnn_jax.models import create_model
from tests.conftest import python


def rows(record):
    return {layer.name: layer for layer in record.layers}


def test_a_small_network_by_hand():
    record = summary(create_model("lenet5"))
    assert {name: layer.macs for name, layer in rows(record).items()} == {
        "conv1": 28 * 28 * 6 * 25,
        "conv2": 10 * 10 * 16 * 25 * 6,
        "fc1": 400 * 120,
        "fc2": 120 * 84,
        "fc3": 84 * 10,
    }
    assert rows(record)["conv2"].output_shape == (10, 10, 16)
    assert rows(record)["conv2"].parameters == 16 * 25 * 6 + 16
    assert record.activations == 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84 + 10
    assert record.output_shape == (10,)
    assert record.parameters == 61_706
    # Inference holds the first maps and what they are made of.
    assert record.used_bytes == 4 * (28 * 28 + 28 * 28 * 6)
    assert record.inference_bytes(8) == 4 * 61_706 + 8 * record.used_bytes
    kept = 28 * 28 + 28 * 28 * 6 + 14 * 14 * 6 + 10 * 10 * 16 + 400 + 2 * (120 + 84) + 10
    assert record.kept_bytes == 4 * kept
    assert record.training_bytes(8) == 3 * 4 * 61_706 + 8 * record.kept_bytes
    more = record.training_bytes(8, optimizer_slots=2) - record.training_bytes(8)
    assert more == 4 * 61_706


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        # timm's table of benchmarks; attention's products count.
        ("resnet50", 11.11),
        ("vit_base_patch16", 23.90),
        ("mobilenet_v2", 6.68),
        ("convnext_tiny", 13.44),
        ("vgg16", 13.56),
    ],
)
def test_activations_are_the_published(name, millions):
    assert summary(create_model(name)).activations / 1e6 == pytest.approx(millions, abs=0.006)


def test_attention_counts_its_products():
    record = rows(summary(create_model("vit_tiny_patch32")))
    tokens, channels = 7 * 7 + 1, 192
    assert record["blocks_0/attn"].macs == 2 * tokens**2 * channels
    assert record["blocks_11/attn"].macs == 2 * tokens**2 * channels
    assert record["blocks_0/attn"].activations == 3 * tokens**2 + tokens * channels
    assert record[""].parameters == channels + tokens * channels  # class token, positions


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("plain", [False, True])
def test_grouped_convolutions_count_the_same_however_they_are_computed(groups, plain):
    model = layers.Conv(16, kernel_size=3, padding=1, groups=groups, plain=plain)
    record = summary(model, image_shape=(9, 9, 8))
    assert record.macs == 9 * 9 * 16 * 9 * 8 // groups


class Foreign(nn.Module):
    """Flax's own layers, an einsum, a module called twice and one that is never called."""

    @nn.compact
    def __call__(self, images, *, train=False):
        x = nn.Conv(8, (3, 3), padding=1)(images)
        twice = nn.Dense(8, name="twice")
        x = twice(nn.relu(twice(x)))
        x = layers.ConvTranspose(4, kernel_size=2, stride=2, name="up")(x)
        x = jnp.einsum("nhwc,nhwd->ncd", x, x)
        if self.is_initializing():
            nn.Dense(5, name="idle")(x)
        return x.reshape(len(x), -1)


def test_modules_from_elsewhere():
    record = summary(Foreign(), image_shape=(6, 6, 3))
    found = rows(record)
    assert found["Conv_0"].macs == 36 * 9 * 3 * 8
    assert found["twice"].macs == 2 * 36 * 8 * 8
    assert found["twice"].parameters == 72
    assert found["up"].macs == 36 * 4 * 8 * 4
    assert found[""].macs == 144 * 4 * 4
    assert found["idle"].output_shape is None
    assert found["idle"].parameters == 4 * 5 + 5
    assert record.receptive_field is None


def test_auxiliary_heads_have_parameters_and_no_output():
    record = summary(create_model("googlenet"))
    idle = [layer for layer in record.layers if layer.output_shape is None]
    assert {layer.name.partition("/")[0] for layer in idle} == {"aux1", "aux2"}
    assert record.parameters - sum(layer.parameters for layer in idle) == 6_624_904


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet20_cifar", {}),
        ("shufflenet_v2_x0_5", {"repeats": (3, 3, 2)}),
        ("vit_tiny_patch32", {"depth": 3}),
        ("regnet_y_400mf", {}),
    ],
)
def test_blocks_that_repeat_count_as_if_traced(name, options, monkeypatch):
    model = create_model(name, **options)
    shortcut = summary(model)
    monkeypatch.setattr(program, "likeness", lambda module, args, kwargs: None)
    assert summary(model) == shortcut


def test_the_type_of_the_computation_halves_the_maps():
    float32, bfloat16 = (
        summary(create_model("resnet20_cifar", dtype=dtype)) for dtype in ("float32", "bfloat16")
    )
    assert bfloat16.parameters == float32.parameters
    assert bfloat16.kept_bytes < 0.6 * float32.kept_bytes


def test_other_sizes_and_classes():
    small, large = (summary(create_model("resnet18"), size) for size in (128, 256))
    assert small.parameters == large.parameters
    assert small.macs == pytest.approx(large.macs / 4, rel=0.01)
    assert small.receptive_field == large.receptive_field
    assert summary(create_model("resnet18", num_classes=0)).output_shape == (512,)


def test_bad_input():
    with pytest.raises(InputError, match=r"`image_size` \(=0\) must be at least 1"):
        summary(create_model("resnet18"), 0)
    with pytest.raises(InputError, match=r"`model` \(=Foreign\) has no `image_size`"):
        summary(Foreign())
    record = summary(create_model("lenet5"))
    with pytest.raises(InputError, match=r"`batch_size` \(=0\) must be at least 1"):
        record.training_bytes(0)


def test_the_table_has_every_layer_and_the_totals():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(summary(create_model("resnet20_cifar")), batch_size=128))
    lines = console.export_text().splitlines()
    assert "CifarResNet, images 32×32×3" in lines[0]
    cells = {line.split()[0]: line.split() for line in lines if line}
    assert cells["conv1"] == ["conv1", "Conv", "32×32×16", "432", "442,368", "3×3"]
    assert cells["bn1"] == ["bn1", "BatchNorm", "32×32×16", "32", "+", "32", "3×3"]
    assert cells["linear"] == ["linear", "Dense", "10", "650", "640"]
    assert cells["parameters"][1:] == ["269,722", "trainable,", "1,376", "running", "statistics"]
    assert cells["MACs"][1:3] == ["0.041", "G"]
    assert cells["memory"][-2:] == ["128", "images"]
    assert lines[-1].split() == ["receptive", "field", "81×81", "pixels"]


def test_the_command_imports_no_other_framework(tmp_path):
    """Listing and summarising, in a fresh process."""
    program = """
import json, sys
from cnn_jax.cli import cnn_jax
cnn_jax(["models", "resnet*"], standalone_mode=False)
cnn_jax(["summary", "simple_cnn", "--image-size", "40", "--num-classes", "5", "--batch-size", "8"],
        standalone_mode=False)
print(json.dumps(sorted(name.partition(".")[0] for name in sys.modules)))
"""
    done = python("-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *text, loaded = done.stdout.splitlines()
    assert "resnet18" in text
    assert any(line.split() == ["fc2", "Dense", "5", "1,285", "1,280"] for line in text)
    assert text[-2].startswith("memory") and text[-2].endswith(" 8 images")
    strangers = {"torch", "torchvision", "timm", "tensorflow", "keras", "matplotlib", "sklearn"}
    assert not strangers & set(json.loads(loaded))
