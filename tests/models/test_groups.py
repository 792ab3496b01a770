"""The groups of parameters of networks: where they belong. Of every family: test_transfer.py."""

import flax.linen as nn
import jax
import pytest

from cnn_jax import create_model, layers
from cnn_jax.models.features import mark
from cnn_jax.models.groups import parameter_groups
from tests.models.test_every_model import SMALL, small_images, small_model

# First names of the paths in each group, by hand from the papers' tables.
BY_HAND = {
    "resnet18": {
        "act1": {"conv1", "bn1"},
        **{f"layer{k}": {f"layer{k}_0"} for k in (1, 2, 3, 4)},
        "head": {"fc"},
    },
    "efficientnet_lite0": {
        "stem": {"conv_stem", "bn1"},
        **{f"blocks.{k}": {f"blocks_{k}_{j}" for j in range(1 + (k > 0))} for k in range(2)},
        "neck": {"conv_head", "bn2"},
        "head": {"classifier"},
    },
    "googlenet": {
        "conv1": {"conv1"},
        "conv3": {"conv2", "conv3"},
        "inception3b": {"inception3a", "inception3b"},
        "inception4e": {f"inception4{letter}" for letter in "abcde"},
        "inception5b": {"inception5a", "inception5b"},
        "head": {"aux1", "aux2", "fc"},
    },
    "vit_tiny_patch16": {
        "stem": {"cls_token", "pos_embed", "patch_embed"},
        "blocks.0": {"blocks_0"},
        "blocks.1": {"blocks_1"},
        "neck": {"norm"},
        "head": {"head"},
    },
    "mlp_512_256": {"stem": {"fc1", "fc2"}, "head": {"fc3"}},
    "three_block_cnn": {
        **{
            f"conv{k}_2": {f"{layer}{k}_{j}" for layer in ("conv", "bn") for j in (1, 2)}
            for k in (1, 2, 3)
        },
        "neck": {"fc1", "bn_fc1"},
        "head": {"fc2"},
    },
}


def groups_of(name):
    image = small_images(name, 1).shape[1:]
    return parameter_groups(small_model(name), image_shape=image), image


@pytest.mark.parametrize("name", BY_HAND)
def test_groups_by_hand(name):
    groups, _ = groups_of(name)
    found = {group: {path.split("/")[0] for path in paths} for group, paths in groups.items()}
    assert found == BY_HAND[name]
    assert list(found) == list(BY_HAND[name])


def test_a_head_of_its_own_ends_the_network():
    options = {**SMALL["resnet18"][1], "num_classes": 3}
    model = create_model("resnet18", head_hidden=8, **options)
    groups = parameter_groups(model, image_shape=(32, 32, 3))
    layers_of_head = {f"hidden_head/fc{k}/{leaf}" for k in (1, 2) for leaf in ("bias", "kernel")}
    assert set(groups["head"]) == layers_of_head
    without = parameter_groups(create_model("resnet18", **{**options, "num_classes": 0}))
    assert list(without) == ["act1", "layer1", "layer2", "layer3", "layer4"]


def test_a_network_of_yours():
    """Its stages by its own marks, whatever its layers are called; the inside of its parts, too."""

    class Backbone(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = layers.Conv(2, name="zebra")(x)
            x = mark(self, "one", layers.Conv(2, name="apple")(x))
            return mark(self, "two", layers.Conv(2, name="middle")(x))

    class Whole(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            scale = self.param("scale", nn.initializers.ones, ())
            return layers.Dense(3, name="out")(Backbone(name="body")(scale * x).mean((1, 2)))

    groups = parameter_groups(Whole(), image_shape=(8, 8, 3))
    assert {group: {path.rpartition("/")[0] for path in of} for group, of in groups.items()} == {
        "body.one": {"", "body/zebra", "body/apple"},
        "body.two": {"body/middle"},
        "head": {"out"},
    }
    shapes = jax.eval_shape(Whole().init, jax.random.key(0), jax.numpy.ones((1, 8, 8, 3)))
    assert sum(map(len, groups.values())) == len(jax.tree.leaves(shapes))


def test_a_stage_with_a_parameter_of_its_own():
    class Scaled(nn.Module):
        @nn.compact
        def __call__(self, x):
            return self.param("gamma", nn.initializers.ones, ()) * layers.Conv(2, name="conv")(x)

    class Whole(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            x = mark(self, "stages.0", Scaled(name="stages_0")(layers.Conv(2, name="entry")(x)))
            return layers.Dense(3, name="out")(x.mean((1, 2)))

    groups = parameter_groups(Whole(), image_shape=(8, 8, 3))
    assert groups["stem"] == ("entry/bias", "entry/kernel")
    assert "stages_0/gamma" in groups["stages.0"]
