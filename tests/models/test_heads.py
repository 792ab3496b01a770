"""The head of a network: its name, its input, and another one, for every family."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax import layers
from cnn_jax.errors import InputError
from cnn_jax.models import create_model, describe_model
from cnn_jax.models.heads import (
    embed,
    feature_head,
    get_head,
    head_name,
    put_head,
    replace_head,
)
from cnn_jax.weights import load_weights, save_weights
from cnn_jax.weights.shapes import variable_shapes
from tests.models.test_every_model import KINDS, small_images, small_model


def drawn(model: nn.Module, image: tuple[int, ...]) -> dict:
    """Variables drawn by NumPy: to initialise a network takes as long to compile."""
    rng, flat = np.random.default_rng(0), {}
    for path, shape in variable_shapes(model, image).items():
        flat[path] = np.ones(shape, np.float32)
        if path[-1] == "kernel":
            fan = np.prod(shape[:-1])
            flat[path] = rng.standard_normal(shape, np.float32) / np.float32(fan**0.5)
    return unflatten_dict(flat)


def logits_of(model: nn.Module, variables: dict, images: jax.Array) -> np.ndarray:
    return np.asarray(jax.jit(model.apply)(variables, images))


def check_replaced(name: str, hidden: int | None) -> None:
    """For 7 classes instead of 8; traced, since to draw a head takes long to compile."""
    model, image = small_model(name, num_classes=8), small_images(name).shape[1:]
    old = {
        path: np.zeros(shape, np.float32) for path, shape in variable_shapes(model, image).items()
    }

    def replace(key):
        new, variables = replace_head(
            model, unflatten_dict(old), key, num_classes=7, hidden=hidden, image_shape=image
        )
        flat = flatten_dict(variables)
        assert {path: leaf.shape for path, leaf in flat.items()} == variable_shapes(new, image)
        head = ("params", *head_name(new, image_shape=image).split("/"))
        for path, leaf in flat.items():
            fresh = path[: len(head)] == head or "aux" in path[1].lower()
            assert fresh or leaf is old[path], path
        kernels = [flat[p] for p in flat if p[: len(head)] == head and p[-1] == "kernel"]
        assert kernels[-1].shape[-1] == 7
        assert len(kernels) == (1 if hidden is None else 2)
        assert not any(isinstance(kernel, np.ndarray) for kernel in kernels)
        assert create_model(**describe_model(new)) == new
        return kernels

    jax.eval_shape(replace, jax.random.key(0))


@pytest.mark.parametrize("name", KINDS)
def test_another_head_leaves_the_rest_as_it_is(name):
    check_replaced(name, None)
    check_replaced(name, 5)


@pytest.mark.parametrize("name", KINDS)
def test_the_head_is_what_num_classes_0_leaves_out_and_on_features_it_is_the_network(name):
    """Traced: the features go into the same operations as in the network, and give its logits."""
    model, images = small_model(name, num_classes=7), small_images(name)
    image = images.shape[1:]
    whole_shapes = variable_shapes(model, image)
    left_out = {
        "/".join(path[1:-1])
        for path in whole_shapes.keys() - variable_shapes(model.clone(num_classes=0), image).keys()
        if "aux" not in path[1].lower()
    }
    assert left_out == {head_name(model, image_shape=image)}
    if name.startswith("squeezenet"):
        with pytest.raises(InputError, match=r"classifier_1, which is not the last step"):
            feature_head(model, image_shape=image)
        return
    head = feature_head(model, image_shape=image)
    if name in ("inception_v3", "googlenet", "mobilenet_v3_small", "wrn_16_4_cifar"):
        return  # many layers, and heads like those of others: to trace them twice takes seconds
    variables = unflatten_dict(
        {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in whole_shapes.items()}
    )

    def joined(variables):
        params = get_head(model, variables, image_shape=image)
        return head.apply({"params": params}, embed(model, variables, images))

    together = jax.make_jaxpr(joined)(variables)
    whole = jax.make_jaxpr(lambda variables: model.apply(variables, images))(variables)
    assert str(together) == str(whole)


@pytest.mark.parametrize("hidden", [None, 4])
@pytest.mark.parametrize("name", ["mlp_512_256", "squeezenet1_1"])
def test_a_head_that_begins_at_zero_can_be_trained(name, hidden):
    """As many hidden units as classes, to be told apart by their place alone."""
    model, image = small_model(name), small_images(name).shape[1:]
    new, variables = replace_head(
        model,
        drawn(model, image),
        jax.random.key(0),
        num_classes=4,
        hidden=hidden,
        zero=True,
        image_shape=image,
    )
    if (name, hidden) == ("squeezenet1_1", None):
        assert np.asarray(get_head(new, variables, image_shape=image)["kernel"]).any()
        return
    head = feature_head(new, image_shape=image)
    params = get_head(new, variables, image_shape=image)
    features = jnp.ones((2, 512 if name == "squeezenet1_1" else 256))

    def loss(params):
        return -jax.nn.log_softmax(head.apply({"params": params}, features))[:, 0].mean()

    value, gradient = jax.value_and_grad(loss)(params)
    assert value == pytest.approx(np.log(4))
    last = gradient if hidden is None else gradient["fc2"]
    assert np.asarray(last["kernel"]).any()


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("mlp_512_256", None), ("squeezenet1_1", None), ("simple_cnn", 5), ("vit_tiny_patch16", 5)],
)
def test_saved_and_loaded_it_predicts_the_same(name, hidden, tmp_path):
    model, images = small_model(name), small_images(name, count=2)
    image = images.shape[1:]
    new, variables = replace_head(
        model,
        drawn(model, image),
        jax.random.key(0),
        num_classes=4,
        hidden=hidden,
        image_shape=image,
    )
    for path, leaf in flatten_dict(get_head(new, variables, image_shape=image)).items():
        assert (np.asarray(leaf).std() > 0) == (path[-1] == "kernel")
    save_weights(variables, tmp_path / "new.safetensors")
    again = create_model(**describe_model(new))
    loaded = load_weights(again, tmp_path / "new.safetensors", image_shape=image)
    for path, leaf in flatten_dict(loaded).items():
        np.testing.assert_array_equal(leaf, flatten_dict(variables)[path], err_msg=str(path))
    np.testing.assert_array_equal(
        logits_of(again, loaded, images), logits_of(new, variables, images)
    )


def test_of_a_convolution_s_input_the_average_is_embedded():
    model, images = (
        small_model("squeezenet1_1"),
        jax.random.normal(jax.random.key(0), (2, 47, 47, 3)),
    )
    variables = drawn(model, images.shape[1:])
    features = jax.jit(lambda v, x: embed(model, v, x))(variables, images)
    expected = logits_of(model.clone(num_classes=0), variables, images)
    np.testing.assert_allclose(features, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["mlp_512_256", "simple_cnn"])
def test_cached_features_give_the_logits_of_the_network(name):
    model, images = small_model(name), small_images(name)
    image = images.shape[1:]
    model, variables = replace_head(
        model, drawn(model, image), jax.random.key(0), num_classes=4, hidden=8, image_shape=image
    )
    features = jax.jit(lambda v, x: embed(model, v, x))(variables, images)
    head = feature_head(model, image_shape=image)
    trained = jax.tree.map(lambda leaf: leaf + 0.01, get_head(model, variables, image_shape=image))
    after = put_head(model, variables, trained, image_shape=image)
    np.testing.assert_allclose(
        head.apply({"params": trained}, features), logits_of(model, after, images), rtol=1e-5
    )
    assert flatten_dict(after).keys() == flatten_dict(variables).keys()
    for path, leaf in flatten_dict(after).items():
        assert (leaf is flatten_dict(variables)[path]) == ("hidden_head" not in path)


def test_the_dropout_before_the_head_goes_with_it():
    head = feature_head(create_model("efficientnet_b0", num_classes=3))
    assert head.drop_rate == 0.2
    variables = head.init(jax.random.key(0), jnp.ones((1, 1000)))
    assert variables["params"].keys() == {"kernel", "bias"}
    ones = jnp.ones((1, 1000))
    dropped = head.apply(variables, ones, train=True, rngs={"dropout": jax.random.key(1)})
    assert not np.allclose(dropped, head.apply(variables, ones))
    assert feature_head(create_model("resnet20_cifar")).drop_rate == 0


def test_a_hidden_head_comes_and_goes():
    """And options of the backbone pass through it."""
    images = jnp.ones((2, 32, 32, 3))
    model = create_model("resnet20_cifar", head_hidden=8, head_drop_rate=0.25, dtype="bfloat16")
    described = {
        "name": "resnet20_cifar",
        "dtype": "bfloat16",
        "head_hidden": 8,
        "head_drop_rate": 0.25,
    }
    assert describe_model(model) == described
    assert (model.image_size, model.in_channels, model.dtype) == (32, 3, jnp.bfloat16)
    assert model.clone(image_size=64, num_classes=3).backbone.image_size == 64
    with pytest.raises(AttributeError, match="signal_length"):
        _ = model.signal_length
    variables = drawn(model, (32, 32, 3))
    plain, back = replace_head(model, variables, jax.random.key(0), num_classes=3)
    assert describe_model(plain) == {
        "name": "resnet20_cifar",
        "dtype": "bfloat16",
        "num_classes": 3,
    }
    assert "hidden_head" not in back["params"]
    assert back["params"]["conv1"]["kernel"] is variables["params"]["conv1"]["kernel"]
    assert jax.eval_shape(model.apply, variables, images).dtype == jnp.bfloat16


class Own(nn.Module):
    """A network from elsewhere, a field of which has no hash."""

    num_classes: int = 3
    widths: tuple[int, ...] | list[int] = (4,)

    @nn.compact
    def __call__(self, images, *, train=False):
        """Map [N, H, W, C] to logits [N, num_classes]."""
        for width in self.widths:
            images = layers.Conv(width)(images)
        x = images.mean((1, 2))
        return layers.Dense(self.num_classes, name="out")(x) if self.num_classes else x


class Bare(nn.Module):
    """A network that does not say how many classes it has."""

    @nn.compact
    def __call__(self, images):
        """Map [N, ...] to [N, 2]."""
        return layers.Dense(2)(images.reshape(len(images), -1))


def test_networks_from_elsewhere():
    image = (8, 8, 3)
    model = Own(widths=[4, 5])
    variables = drawn(model, image)
    assert head_name(model, image_shape=image) == "out"
    assert embed(model, variables, jnp.ones((2, *image))).shape == (2, 5)
    _, replaced = replace_head(
        model, variables, jax.random.key(0), num_classes=9, image_shape=image
    )
    assert replaced["params"]["out"]["kernel"].shape == (5, 9)
    assert head_name(Bare(), image_shape=image) == "Dense_0"


def replaced(model=None, variables=None, **options):
    model = create_model("mlp", widths=(4,), image_size=8) if model is None else model
    variables = drawn(model, (8, 8, 3)) if variables is None else variables
    options = {"num_classes": 3, "image_shape": (8, 8, 3), **options}
    return replace_head(model, variables, jax.random.key(0), **options)


BAD_INPUT = {
    "classes": (lambda: replaced(num_classes=0), "`num_classes` (=0) must be at least 1"),
    "hidden": (lambda: replaced(hidden=0), "`hidden` (=0) must be at least 1"),
    "drop rate": (lambda: replaced(drop_rate=1.0), "`drop_rate` (=1.0) must be at least 0"),
    "no num_classes": (lambda: replaced(Bare()), "`model` (=Bare) has no `num_classes`"),
    "of another": (
        lambda: replaced(variables={"params": {"conv1": {"kernel": np.ones(3)}}}),
        "`variables` lack params/fc1/bias and 1 more of the model's: pass those of this model",
    ),
    "no size": (lambda: head_name(Own()), "say `image_shape=(height, width, channels)`"),
    "no head": (
        lambda: head_name(create_model("mlp", num_classes=0)),
        "`model` (=MLP) has `num_classes` (=0) and so no head",
    ),
    "other shapes": (
        lambda: put_head(*replaced(), {"kernel": np.ones((4, 2))}, image_shape=(8, 8, 3)),
        "{'kernel': (4, 2)}) must have the names and shapes of the network's ({'bias': (3,)",
    ),
    "head of another": (
        lambda: get_head(replaced()[0], {"params": {}}, image_shape=(8, 8, 3)),
        "`variables` lack fc2 of the head",
    ),
    "create 0": (
        lambda: create_model("mlp", head_hidden=0),
        "`head_hidden` (=0) must be at least 1",
    ),
    "create rate": (
        lambda: create_model("mlp", head_hidden=1, head_drop_rate=-1),
        "`head_drop_rate` (=-1) must be at least 0 and below 1",
    ),
    "rate alone": (
        lambda: create_model("mlp", head_drop_rate=0.5),
        "`head_hidden` (=None) must be at least 1",
    ),
    "misspelt": (
        lambda: create_model("mlp", head_hiden=1),
        "did you mean 'head_hidden'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case):
    make, words = BAD_INPUT[case]
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
