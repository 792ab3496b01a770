"""What every model promises, whatever its family: one step, modes, types, stages, wrapping."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.traverse_util import unflatten_dict

from cnn_jax import layers
from cnn_jax.inspect.program import trace
from cnn_jax.models import VARIANTS, create_model
from cnn_jax.models.features import extract_features
from cnn_jax.state import TrainState, init_state
from cnn_jax.steps import make_eval_step, make_train_step
from cnn_jax.weights.shapes import default_image_shape, variable_shapes


def _short_stages(name, blocks=1, stages=2):
    """The mobile networks and RegNets with fewer stages and blocks."""
    stages = create_model(name).stages[:stages]
    if hasattr(stages[0], "depth"):
        return {"stages": tuple(stage._replace(depth=blocks) for stage in stages)}
    return {"stages": tuple(stage[:blocks] for stage in stages)}


# One variant of each family, with few blocks, and an image size that it takes.
SMALL = {
    "alexnet": (63, {"widths": (8, 16, 16, 16, 8)}),
    "alexnet_2012": (63, {"widths": (8, 16, 16, 16, 8)}),
    "cnn1d": (16, {"widths": (8, 16, 8)}),
    "convnext_tiny": (32, {"depths": (1, 1), "features": (8, 16)}),
    "densenet121": (32, {"depths": (1, 2, 1, 1)}),
    "densenet_bc_100_12_cifar": (8, {"depths": (2, 1, 1)}),
    "efficientnet_b0": (32, _short_stages("efficientnet_b0", blocks=2)),
    "efficientnet_lite0": (33, _short_stages("efficientnet_lite0", blocks=2)),
    "efficientnet_v2_s": (32, _short_stages("efficientnet_v2_s", blocks=2)),
    "googlenet": (32, {}),
    "inception_v3": (80, {}),
    "lenet5_1998": (32, {}),
    "mlp_512_256": (8, {}),
    "mnasnet0_5": (32, _short_stages("mnasnet0_5", blocks=2)),
    "mobilenet_v1_025": (32, _short_stages("mobilenet_v1_025", blocks=2)),
    "mobilenet_v2_050": (32, _short_stages("mobilenet_v2_050", blocks=2)),
    "mobilenet_v3_small": (32, _short_stages("mobilenet_v3_small", blocks=2)),
    "preactresnet18_cifar": (8, {"depth": 1, "widths": (16, 16, 32, 32), "stem_width": 16}),
    "regnet_y_400mf": (32, _short_stages("regnet_y_400mf")),
    "resnet18": (32, {"depths": (1, 1, 1, 1)}),
    "resnet20_cifar": (8, {"depth": 1}),
    "resnext50_32x4d": (32, {"depths": (1, 1, 1, 1)}),
    "seresnet18": (32, {"depths": (1, 1, 1, 1)}),
    "shufflenet_v2_x0_5": (32, {"repeats": (2, 1, 1)}),
    "simple_cnn": (16, {}),
    "squeezenet1_1": (32, {}),
    "three_block_cnn": (16, {}),
    "vgg11_bn": (32, {"hidden": 32}),
    "vit_tiny_patch16": (32, {"depth": 2, "image_size": 32}),
    "wrn_16_4_cifar": (8, {"depth": 10}),
}
# One of each module, for what cannot depend on its table.
KINDS = list({type(create_model(name)): name for name in SMALL}.values())
# Whose training is compared with PyTorch's in test_auxiliary_heads; they take 20 s each to compile.
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
# MobileNetV1 has no shortcuts, so nothing to drop.
WITH_DROP_PATH = [
    name
    for name in SMALL
    if hasattr(create_model(name), "drop_path_rate") and name != "mobilenet_v1_025"
]


def small_model(name: str, **options) -> nn.Module:
    return create_model(name, **{"num_classes": 3, **SMALL[name][1], **options})


def small_images(name: str, count: int = 4) -> np.ndarray:
    size, channels = SMALL[name][0], create_model(name).in_channels
    shape = (size, channels) if name == "cnn1d" else (size, size, channels)
    return np.random.default_rng(1).normal(size=(count, *shape)).astype(np.float32)


def variables_like(model: nn.Module, images: np.ndarray) -> dict:
    return jax.eval_shape(model.init, jax.random.key(0), images)


def drawn_state(model: nn.Module, images: np.ndarray, tx) -> TrainState:
    """A state for SGD, as after initialisation, by NumPy: the real one takes as long to compile."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path[-1:], simple=True)
        if name == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        return np.full(leaf.shape, name not in ("bias", "mean", "step"), leaf.dtype)

    init = partial(init_state, model, tx, image_shape=images.shape[1:])
    shapes = jax.eval_shape(init, jax.random.key(0)).replace(key=None)
    state = jax.tree_util.tree_map_with_path(draw, shapes)
    momentum = jax.eval_shape(tx.init, state.params)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), momentum)
    return state.replace(key=jax.random.key(0), opt_state=zeros)


def _with_two_masks(name: str) -> dict:
    """More blocks, where only one of the few in SMALL drops its branch."""
    if "stages" in SMALL[name][1]:
        return _short_stages(name, blocks=2, stages=3)
    return {"depths": (1, 2)} if name == "convnext_tiny" else {}


def test_a_model_of_every_family_is_tried():
    families = {_family(name) for name in VARIANTS}
    assert {_family(name) for name in SMALL} == families


def _family(name: str) -> tuple:
    """Variants of one module whose fields differ in no switch."""
    model = create_model(name)
    return type(model).__module__, type(model).__name__


@pytest.mark.parametrize("name", [*SMALL, "lenet5", "three_block_cnn_keras", "vgg11"])
def test_evaluation_needs_no_rng_and_changes_nothing(name):
    """Traced for other classes, channels and a bfloat16 computation than the published ones."""
    default = create_model(name)
    dropping = {field: 0.5 for field in vars(default) if field.endswith("drop_rate")}
    if hasattr(default, "drop_path_rate"):
        dropping["drop_path_rate"] = 0.5
    model = default.clone(
        num_classes=7, in_channels=default.in_channels + 1, dtype=jnp.bfloat16, **dropping
    )
    image = default_image_shape(model)
    assert image[-1] == model.in_channels
    program = trace(model, image)  # without rngs
    (logits,) = program.jaxpr.out_avals
    assert logits.shape == (1, 7)
    assert logits.dtype == jnp.bfloat16
    heads = [shape for path, shape in program.shapes.items() if shape[-1] == 7]
    assert heads, "no parameter depends on the number of classes"
    assert {path[0] for path in program.shapes} <= {"params", "batch_stats"}


def test_each_module_is_a_network_by_its_defaults():
    """A variant, or one that can be traced."""
    variants = [create_model(name) for name in VARIANTS]
    for kind in {type(model) for model in variants}:
        model = kind()
        if model not in variants:
            assert trace(model, default_image_shape(model)).jaxpr.out_avals


@pytest.mark.parametrize("name", KINDS)
def test_evaluation_returns_the_statistics_that_it_was_given(name):
    model, images = small_model(name), small_images(name)
    variables = variables_like(model, images)
    leaves, structure = jax.tree.flatten(variables)

    def evaluate(leaves):
        variables = jax.tree.unflatten(structure, leaves)
        return model.apply(variables, images, mutable=["params", "batch_stats"])[1]

    jaxpr = jax.make_jaxpr(evaluate)(leaves).jaxpr
    assert jaxpr.outvars == jaxpr.invars


@pytest.mark.parametrize("name", [name for name in SMALL if name not in WITH_AUXILIARY_HEADS])
def test_one_training_step_has_finite_gradients_and_compiles_once(name):
    model, images = small_model(name), small_images(name)
    tx = optax.sgd(0.1, momentum=0.9)
    chex.clear_trace_counter()
    train_step = make_train_step(model, tx, preprocess=partial(jnp.reshape, shape=images.shape))
    train_step = jax.jit(chex.assert_max_traces(train_step, n=1))
    batch = {"image": images, "label": np.array([0, 1, 2, 0])}
    state = drawn_state(model, images, tx)
    going_on, metrics = train_step(state, batch)
    assert np.isfinite(metrics["loss"])
    # To NumPy: each comparison of JAX's arrays would be a program to compile for their shape.
    after = jax.device_get(going_on.replace(key=None))
    gradients = after.opt_state[0].trace
    chex.assert_trees_all_equal_shapes(gradients, state.params)
    flat = jax.tree.leaves(gradients)
    assert all(np.isfinite(leaf).all() for leaf in flat)
    # Biases before a batch normalisation may have none.
    assert np.mean([leaf.any() for leaf in flat]) > 0.8
    chex.assert_tree_all_finite((after.params, after.batch_stats))
    if state.batch_stats:
        moved = jax.tree.map(
            lambda old, new: bool((old != new).any()), state.batch_stats, after.batch_stats
        )
        assert all(jax.tree.leaves(moved))
    train_step(going_on, batch)


@pytest.mark.parametrize("name", ["resnet20_cifar", "vit_tiny_patch16"])
def test_evaluation_compiles_once_for_each_shape(name):
    model, images = small_model(name), small_images(name)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(make_eval_step(model), n=2))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    for count in (4, 2, 4, 2):
        ones = jnp.ones(count, jnp.int32)
        metrics = step(variables, {"image": images[:count], "label": ones, "mask": ones > 0})
        assert metrics["count"] == count


@pytest.mark.parametrize("name", KINDS)
def test_parameters_and_statistics_stay_float32(name):
    model, images = small_model(name, dtype="bfloat16"), small_images(name)
    variables = variables_like(model, images)
    rngs = {"dropout": jax.random.key(0)}
    logits, updates = jax.eval_shape(
        partial(model.apply, train=True, mutable=["batch_stats", "auxiliary"], rngs=rngs),
        variables,
        images,
    )
    assert logits.dtype == jnp.bfloat16
    for tree in (variables, updates.get("batch_stats", {})):
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("name", KINDS)
def test_without_a_classifier_come_its_inputs(name):
    images = small_images(name)
    size = images.shape[1:]
    with_head = variable_shapes(small_model(name), size)
    model = small_model(name, num_classes=0)
    without = variable_shapes(model, size)
    assert without.items() < with_head.items()
    heads = {
        path[1:-1] for path in with_head.keys() - without.keys() if "aux" not in path[1].lower()
    }
    assert len(heads) == 1, heads
    kernel = with_head["params", *heads.pop(), "kernel"]
    features = jax.eval_shape(model.init_with_output, jax.random.key(0), images)[0]
    assert features.shape == (len(images), kernel[-2])


@pytest.mark.parametrize("name", SMALL)
def test_stages_shrink_from_the_first_to_the_last(name):
    model, images = small_model(name), small_images(name)
    if name == "mlp_512_256":
        pytest.skip("a perceptron has no maps")
    maps = jax.eval_shape(partial(extract_features, model), variables_like(model, images), images)
    sides = [stage.shape[1] for stage in maps.values()]
    assert len(sides) >= 2
    assert all(stage.ndim == images.ndim and stage.shape[0] == 4 for stage in maps.values())
    assert sides == sorted(sides, reverse=True)
    assert images.shape[1] >= sides[0] >= sides[-1] >= 1


@pytest.mark.parametrize("name", WITH_DROP_PATH)
def test_no_two_blocks_share_a_drop_path_mask(name):
    """Two draws of the same key would drop the same images in two blocks."""
    model = small_model(name, drop_path_rate=0.5, **_with_two_masks(name))
    images = small_images(name)
    drawn = []

    def intercept(call, args, kwargs, context):
        module = context.module
        if isinstance(module, layers.Dropout) and module.broadcast_dims and module.rate > 0:
            key = kwargs.get("rng", args[2] if len(args) > 2 else None)
            drawn.append((key if key is not None else module.make_rng("dropout"), module, args[0]))
        return call(*args, **kwargs)

    def keys(variables, key):
        drawn.clear()
        with nn.intercept_methods(intercept):
            model.apply(
                variables, images, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
        return [jax.random.key_data(key) for key, _, _ in drawn]

    shapes = variables_like(model, images)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    seen = [tuple(key.tolist()) for key in jax.jit(keys)(variables, jax.random.key(0))]
    assert len(seen) >= 2
    assert len(set(seen)) == len(seen)
    for _, module, branch in drawn:
        # One number for each image, another for every image.
        assert module.broadcast_dims == tuple(range(1, branch.ndim))


@pytest.mark.parametrize("name", KINDS)
def test_nnx_can_wrap_it(name):
    model, images = small_model(name), small_images(name)

    @nnx.eval_shape
    def wrapped():
        return nnx.bridge.lazy_init(nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0)), images)

    logits = nnx.eval_shape(lambda module: module(images), wrapped)
    assert logits.shape == (4, 3)
    parameters = nnx.state(wrapped, nnx.Param)
    chex.assert_trees_all_equal_shapes(
        unflatten_dict({path: leaf.get_value() for path, leaf in nnx.to_flat_state(parameters)}),
        variables_like(model, images)["params"],
    )
