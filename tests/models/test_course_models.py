"""The small networks: published counts, shapes, names and options."""

import chex
import jax
import jax.numpy as jnp
import pytest

from cnn_jax import layers, models
from cnn_jax.errors import InputError


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def variables_of(name: str, shape, **options):
    model = models.create_model(name, **options)
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))


@pytest.mark.parametrize(
    ("name", "shape", "trainable", "statistics"),
    [
        # conv 5x5x1x6+6, 5x5x6x16+16, dense 400x120+120, 120x84+84, 84x10+10
        ("lenet5", (28, 28, 1), 156 + 2416 + 48120 + 10164 + 850, 0),
        # unpadded, the maps before the first dense layer are 4x4: 256x120+120
        ("lenet5_unpadded", (28, 28, 1), 156 + 2416 + 30840 + 10164 + 850, 0),
        ("lenet5_1998", (32, 32, 1), 61_706, 0),
        ("three_block_cnn", (32, 32, 3), 1_343_146, 1_920),
        ("three_block_cnn_keras", (32, 32, 3), 1_343_146, 1_920),
        ("mlp", (224, 224, 3), 154_151_946, 0),
        # convs 896, 18496, 73856; their BN 2 x 224; dense 4x4x128x256+256, 256x10+10
        ("simple_cnn", (32, 32, 3), 896 + 18496 + 73856 + 448 + 524544 + 2570, 448),
        ("simple_cnn_28", (28, 28, 1), 320 + 18496 + 73856 + 448 + 295168 + 2570, 448),
    ],
)
def test_parameter_counts(name, shape, trainable, statistics):
    variables = variables_of(name, shape)
    assert count(variables["params"]) == trainable
    assert count(variables.get("batch_stats", {})) == statistics


def test_published_totals():
    """The totals that courses print, where they print them right."""
    assert count(variables_of("lenet5", (28, 28, 1))) == 61_706
    assert count(variables_of("three_block_cnn", (32, 32, 3))) == 1_345_066
    conv = layers.Conv(64, kernel_size=3)
    shapes = jax.eval_shape(conv.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    assert count(shapes) == 1_792


COURSE_MODELS = ["lenet5*", "simple_cnn*", "three_block_cnn*", "mlp*"]
COURSE_MODELS = [name for pattern in COURSE_MODELS for name in models.list_models(pattern)]


@pytest.mark.parametrize("name", COURSE_MODELS)
def test_outputs_dtypes_and_features(name):
    model = models.create_model(name, num_classes=7, dtype="bfloat16")
    images = jnp.ones((2, model.image_size, model.image_size, model.in_channels))
    logits, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), images)
    chex.assert_shape(logits, (2, 7))
    assert logits.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))

    features = models.create_model(name, num_classes=0)
    output, headless = jax.eval_shape(features.init_with_output, jax.random.key(0), images)
    (head,) = set(variables["params"]) - set(headless["params"])
    chex.assert_shape(output, (2, variables["params"][head]["kernel"].shape[0]))


@pytest.mark.parametrize("name", ["simple_cnn_28", "three_block_cnn", "three_block_cnn_keras"])
def test_dropout_depends_on_the_key(name):
    model = models.create_model(name)
    images = jax.random.uniform(jax.random.key(1), (4, 16, 16, 1))
    variables = jax.jit(model.init)(jax.random.key(0), images)

    @jax.jit
    def logits(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    chex.assert_trees_all_equal(logits(0), logits(0))
    assert jnp.abs(logits(0) - logits(1)).max() > 1e-3


def test_channel_dropout_drops_whole_channels():
    """Only with channel dropout is every map behind a block zero as a whole or not at all."""
    images = jax.random.uniform(jax.random.key(1), (8, 16, 16, 1))
    for name, whole in (("three_block_cnn", True), ("three_block_cnn_keras", False)):
        model = models.create_model(name, widths=(32,), block_drop_rate=0.5)
        variables = model.init(jax.random.key(0), images)
        _, sown = model.apply(
            variables,
            images,
            train=True,
            rngs={"dropout": jax.random.key(3)},
            mutable=["batch_stats", "intermediates"],
            capture_intermediates=lambda module, _: type(module).__name__ == "Dropout",
        )
        maps = sown["intermediates"]["Dropout_0"]["__call__"][0]
        positions = jnp.mean(maps == 0, axis=(1, 2))
        partly = jnp.mean((positions > 0.3) & (positions < 0.7))
        assert (float(partly) == 0) is whole


def test_keras_form_normalises_behind_relu():
    """BN at the very end of a block has negative outputs, ReLU at its end has none."""
    images = jax.random.normal(jax.random.key(1), (8, 16, 16, 3))
    for name, negative in (("three_block_cnn", False), ("three_block_cnn_keras", True)):
        model = models.create_model(name, block_drop_rate=0.0, drop_rate=0.0, num_classes=0)
        variables = model.init(jax.random.key(0), images)
        features, _ = model.apply(
            variables,
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        assert bool((features < 0).any()) is negative


def test_lenet_of_1998_is_the_papers():
    """tanh and averages: negating the image and every bias negates what reaches the last layer."""
    model = models.create_model("lenet5_1998", num_classes=0)
    images = jax.random.normal(jax.random.key(1), (2, 32, 32, 1))
    variables = model.init(jax.random.key(0), images)
    features = model.apply(variables, images)
    chex.assert_shape(features, (2, 84))
    chex.assert_trees_all_close(model.apply(variables, -images), -features, atol=1e-6)


def test_list_models_takes_wildcards():
    assert models.list_models("lenet5*") == ["lenet5", "lenet5_1998", "lenet5_unpadded"]
    assert models.list_models("nothing*") == []
    assert models.list_models() == sorted(models.VARIANTS)


@pytest.mark.parametrize("name", COURSE_MODELS)
def test_a_described_model_can_be_made_again(name):
    model = models.create_model(name, num_classes=4, dtype=jnp.bfloat16)
    described = models.describe_model(model)
    assert described == {"name": name, "num_classes": 4, "dtype": "bfloat16"}
    assert models.describe_model(models.create_model(**described)) == described


def test_wrong_names_and_options_are_told():
    with pytest.raises(
        InputError, match=r"`model` \(='lenet'\) is not a known model: did you mean"
    ):
        models.create_model("lenet")
    with pytest.raises(
        InputError, match=r"`num_clases` \(=3\) is not an option of mlp: did you mean"
    ):
        models.create_model("mlp", num_clases=3)
    with pytest.raises(InputError, match=r"`dtype` \(=None\) must be a floating-point type"):
        models.create_model("mlp", dtype=None)
    with pytest.raises(InputError, match=r"`dtype` \(=int8\) must be a floating-point type"):
        models.create_model("mlp", dtype="int8")
