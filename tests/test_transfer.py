"""Stages: what is frozen stays and costs nothing, what is trained learns at its own rate."""

from dataclasses import replace
from functools import partial
from itertools import chain

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax import averaging, create_model, gradients, optim, transfer
from cnn_jax.errors import InputError
from cnn_jax.frozen import trained_part
from cnn_jax.models.groups import parameter_groups, trace_calls
from cnn_jax.parameter_rules import Rule, by_path
from cnn_jax.plan import plan
from cnn_jax.state import init_state
from cnn_jax.steps import make_train_step
from cnn_jax.transfer import Stage, trained_in, with_factors
from cnn_jax.weights.shapes import head_paths, variable_shapes
from tests.models.test_every_model import KINDS, small_images, small_model

MODEL = create_model("resnet20_cifar", num_classes=3, depth=1, in_channels=1)
SHAPE = (8, 8, 1)
HEAD = transfer.feature_extraction(1)[0]
EVERYTHING = transfer.fine_tuning(MODEL, 1, image_shape=SHAPE)[0]


TX = optax.sgd(0.5)


def flat(tree) -> dict:
    return flatten_dict(tree, sep="/")


def batch_of(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.random((6, *SHAPE), np.float32),
        "label": np.array([0, 1, 2, 0, 1, 2], np.int32),
    }


def state_of(model=MODEL, tx=TX, **options):
    return init_state(model, tx, jax.random.key(0), image_shape=SHAPE, **options)


def changed(before: dict, after: dict) -> set[str]:
    """Paths of the arrays that differ in a bit."""
    return {path for path, old in flat(before).items() if (old != flat(after)[path]).any()}


def last_groups(model, image_shape) -> Stage:
    """A stage of the head and of the group before it."""
    *before, last, head = parameter_groups(model, image_shape=image_shape)
    return Stage("last", 1, ((head, 1.0), (last, 0.1 if before else 0.0)))


def check_groups(model, image):
    """Every parameter is in one group, the stages are in order, the head is last."""
    groups, shapes = parameter_groups(model, image_shape=image), variable_shapes(model, image)
    paths = ["/".join(path[1:]) for path in shapes if path[0] == "params"]
    assert sorted(chain(*groups.values())) == sorted(paths)
    assert all(groups.values())
    _, stages = trace_calls(model, image_shape=image)
    assert [group for group in groups if group in stages] == [s for s in stages if s in groups]
    assert list(groups)[-1] == "head"
    assert "stem" not in list(groups)[1:]
    assert {"/".join(path[1:]) for path in head_paths(model, image)} <= set(groups["head"])


@pytest.mark.parametrize("name", KINDS)
def test_what_is_frozen_passes_through_a_step_of_every_family(name):
    """As the step's program says: the variable that goes in comes out. So it does to the bit."""
    model, images = small_model(name), small_images(name)
    image = images.shape[1:]
    batch = {"image": images, "label": jnp.array([0, 1, 2, 0])}
    check_groups(model, image)
    stage = last_groups(model, image)
    trained, tx = trained_in(stage, model, image_shape=image), optax.sgd(0.1, momentum=0.9)
    init = partial(init_state, model, tx, image_shape=image, trained=trained)
    state = jax.eval_shape(init, jax.random.key(0))
    step = make_train_step(
        model, tx, trained=trained, preprocess=partial(jnp.reshape, shape=images.shape)
    )
    program, (after, _) = jax.make_jaxpr(step, return_shape=True)(state, batch)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    leaves = len(jax.tree.leaves(state))
    same = [
        given is returned
        for given, returned in zip(
            program.jaxpr.invars[:leaves], program.jaxpr.outvars[:leaves], strict=True
        )
    ]
    unchanged = jax.tree.unflatten(jax.tree.structure(state), same)
    expected = {path: path not in trained.factors for path in flat(state.params)}
    assert flat(unchanged.params) == expected
    assert 0 < sum(expected.values()) < len(expected)
    layers = {path.rpartition("/")[0] for path in trained.factors}
    assert flat(unchanged.batch_stats) == {
        path: path.rpartition("/")[0] not in layers for path in flat(state.batch_stats)
    }
    momenta = flat(state.opt_state[0].trace)
    assert set(momenta) == set(trained.factors)


def operations(jaxpr) -> int:
    """Convolutions and products in a program, and in the programs inside it."""
    inner = [
        getattr(value, "jaxpr", value)
        for equation in jaxpr.eqns
        for name, value in equation.params.items()
        if name in ("jaxpr", "call_jaxpr")
    ]
    own = sum(e.primitive.name in ("conv_general_dilated", "dot_general") for e in jaxpr.eqns)
    return own + sum(map(operations, inner))


def test_what_is_frozen_has_no_gradient():
    """With a frozen backbone, a step has one product more than an evaluation: of the head."""
    trained = trained_in(HEAD, MODEL, image_shape=SHAPE)
    state = state_of(trained=trained)
    step = make_train_step(MODEL, TX, trained=trained)
    backward = jax.make_jaxpr(step)(state, batch_of()).jaxpr
    forward = jax.make_jaxpr(MODEL.apply)(state.variables, batch_of()["image"]).jaxpr
    assert operations(backward) == operations(forward) + 1
    # Nor are its statistics averaged over devices, which of three would change a last bit.
    several = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="data")
    batches = jax.tree.map(lambda array: np.stack([array] * 3), batch_of())
    mapped, (after, _) = jax.make_jaxpr(several, return_shape=True)(state, batches)
    same = [out in mapped.jaxpr.invars for out in mapped.jaxpr.outvars]
    same = jax.tree.unflatten(jax.tree.structure(after), same[: len(jax.tree.leaves(after))])
    assert all(jax.tree.leaves(same.batch_stats))
    assert operations(jax.make_jaxpr(make_train_step(MODEL, TX))(state_of(), batch_of()).jaxpr) > (
        2 * operations(forward)
    )


def test_a_hundred_steps_leave_what_is_frozen_to_the_bit():
    """Parameters and statistics, where the middle is trained, and of that no biases."""
    stage = Stage("middle", 1, (("*/bias", 0.0), ("layer2", 0.5), ("head", 1.0)))
    trained, tx = trained_in(stage, MODEL, image_shape=SHAPE), optim.adamw(1e-2)
    before = state_of(tx=tx, trained=trained)
    # The variables to start from are the caller's, though a step takes over its state's memory.
    after = state_of(tx=tx, trained=trained, variables=before.variables)
    step = jax.jit(make_train_step(MODEL, tx, trained=trained), donate_argnums=0)
    for seed in range(100):
        after, _ = step(after, batch_of(seed))
    kernels = {"conv1/kernel", "conv2/kernel", "bn1/scale", "bn2/scale"}
    assert changed(before.params, after.params) == set(trained.factors)
    assert set(trained.factors) == {"linear/kernel", *(f"layer2_0/{name}" for name in kernels)}
    assert changed(before.batch_stats, after.batch_stats) == {
        f"layer2_0/bn{k}/{name}" for k in (1, 2) for name in ("mean", "var")
    }
    moments = after.opt_state[0]
    assert set(flat(moments.mu)) == set(flat(moments.nu)) == set(trained.factors)


def keeping_gradients(learning_rate):
    """Plain descent, with the gradients for its state."""
    return optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda grads, state, params: (jax.tree.map(lambda g: -learning_rate * g, grads), grads),
    )


def test_each_group_steps_by_its_rate_times_its_gradient():
    """To the bit, at rates that are powers of two."""
    rates = {"head": 1.0, "layer3": 0.25, "layer2": 0.125, "layer1": 0.0625, "stem": 2.0}
    trained = trained_in(Stage("all", 1, tuple(rates.items())), MODEL, image_shape=SHAPE)
    tx = with_factors(keeping_gradients, trained.factors)(0.5)
    before = state_of(tx=tx, trained=trained)
    after, _ = jax.jit(make_train_step(MODEL, tx, trained=trained))(before, batch_of())
    grads, seen = flat(after.opt_state[0]), set()
    for group, paths in parameter_groups(MODEL, image_shape=SHAPE).items():
        for path in paths:
            expected = flat(before.params)[path] - np.float32(0.5 * rates[group]) * grads[path]
            np.testing.assert_array_equal(flat(after.params)[path], expected)
            seen.add(path)
    assert seen == set(grads) == changed(before.params, after.params)


def test_a_frozen_backbone_computes_the_features_that_evaluation_does():
    """Stochastic depth, dropout and the batch's statistics are off; with "all" they are not."""
    model = MODEL.clone(drop_path_rate=0.9)
    batch, losses = batch_of(), {}
    for statistics in transfer.STATISTICS:
        trained = trained_in(replace(HEAD, statistics=statistics), model, image_shape=SHAPE)
        state = state_of(model, trained=trained)
        after, metrics = jax.jit(make_train_step(model, TX, trained=trained))(state, batch)
        losses[statistics] = metrics["loss"]
        assert changed(state.params, after.params) == {"linear/kernel", "linear/bias"}
        moved = changed(state.batch_stats, after.batch_stats)
        assert len(moved) == (len(flat(state.batch_stats)) if statistics == "all" else 0)
    logits = model.apply(state.variables, batch["image"])
    truth = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).sum()
    np.testing.assert_allclose(losses["trained"], truth, rtol=1e-6)
    assert losses["none"] == losses["trained"]
    assert abs(losses["all"] - truth) > 1e-3


@pytest.mark.parametrize(
    ("name", "stage", "off"),
    [
        ("alexnet", HEAD, {"Dropout_0", "Dropout_1"}),  # both before hidden layers
        ("alexnet", Stage("", 1, (("classifier_*", 1.0),)), set()),
        ("vgg11_bn", HEAD, {"pre_logits/Dropout_0"}),  # head/Dropout_0 is the head's
        ("resnet18", HEAD, {f"layer{k}_0/Dropout_0" for k in (1, 2, 3, 4)}),
        ("resnet18", Stage("", 1, (("layer4", 1.0), ("head", 1.0))), {
            f"layer{k}_0/Dropout_0" for k in (1, 2, 3)
        }),
        ("resnet18", Stage("", 1, (("*", 1.0),)), set()),
        ("vit_tiny_patch16", Stage("", 1, (("blocks.1", 1.0), ("head", 1.0))), {
            "blocks_0/Dropout_0", "blocks_0/Dropout_1"  # the last one before what is trained
        }),
    ],
)  # fmt: skip
def test_dropout_is_off_where_features_are_frozen(name, stage, off):
    model = small_model(name)
    trained = trained_in(stage, model, image_shape=small_images(name, 1).shape[1:])
    assert {path for path in trained.evaluating if "Dropout" in path} == off


def test_the_factors_are_inside_of_an_average():
    """By hand: the average is of the parameters as they are after the step."""
    params, gradients_ = ({name: jnp.float32(8) for name in "ab"} for _ in range(2))
    optimizer = partial(averaging.ema, decay=0.75, optimizer=optax.sgd)
    tx = with_factors(optimizer, {"a": 1.0, "b": 0.5})(0.5)
    updates, state = tx.update(gradients_, tx.init(params), params)
    assert jax.tree.map(float, updates) == {"a": -4.0, "b": -2.0}
    assert jax.tree.map(float, state.average) == {"a": 7.0, "b": 7.5}
    assert averaging.averaged({**params, "frozen": 1}, state)["frozen"] == 1


def test_rules_for_what_is_frozen_are_left_out():
    rules = (Rule("stem/*", learning_rate=3.0), Rule("*/bias", learning_rate=4.0))
    factors = {"head/bias": 0.5, "head/kernel": 1.0}
    optimizer = partial(by_path, optimizer=optim.sgd, rules=rules)
    bounded = partial(gradients.clipped, value=1.0, optimizer=optimizer)
    tx = with_factors(bounded, factors)(1.0)
    params = {"head": {"bias": jnp.float32(1), "kernel": jnp.float32(1)}}
    updates, _ = tx.update(params, tx.init(params), params)
    assert jax.tree.map(float, updates) == {"head": {"bias": -2.0, "kernel": -1.0}}
    params["stem"] = {"bias": jnp.float32(1)}
    assert trained_part(params, transfer.Trained(factors)) == {"head": params["head"]}


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (
            Stage("tune", 1, (("layr3", 1.0),)),
            "`rates` of stage 'tune' name 'layr3', which is no group of the model and no path of "
            "its parameters: its groups are stem, layer1, layer2, layer3, head",
        ),
        (
            Stage("tune", 1, (("*", 0.0),)),
            "`rates` (=(('*', 0.0),)) of stage 'tune' train nothing: name one of its groups, "
            "stem, layer1, layer2, layer3, head",
        ),
        (
            Stage("tune", 1, (("head", -1.0),)),
            "`rates of head` (=-1.0) must not be negative: 0 freezes",
        ),
        (
            Stage("tune", 0, (("head", 1.0),)),
            "`epochs of stage tune` (=0) must be a whole number of at least 1: leave the stage out",
        ),
        (
            Stage("tune", 1, (("head", 1.0),), statistics="some"),
            "`statistics` (='some') of stage 'tune' must be one of trained, all, none",
        ),
    ],
)
def test_a_stage_that_cannot_be_is_told(stage, words):
    with pytest.raises(InputError) as told:
        plan((stage,), MODEL, image_shape=SHAPE)
    assert str(told.value) == words


def test_sequences_that_cannot_be_are_told():
    with pytest.raises(InputError, match=r"`decay` \(=0\) must be positive: 0.75 is usual"):
        transfer.layer_wise_decay(MODEL, 1, decay=0, image_shape=SHAPE)
    words = r"`groups` \(=6\) must be from 1 to the 5 groups of the model, head, layer3, layer2"
    with pytest.raises(InputError, match=words):
        transfer.gradual_unfreezing(MODEL, 1, groups=6, image_shape=SHAPE)


def test_statistics_of_other_layers_cannot_be_frozen():
    class Foreign(nn.Module):
        num_classes: int = 3

        @nn.compact
        def __call__(self, x, *, train=False):
            x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
            return nn.Dense(self.num_classes, name="fc")(x.mean((1, 2)))

    with pytest.raises(InputError, match=r"freeze those of bn, which is a flax.*layers.BatchNorm"):
        trained_in(HEAD, Foreign(), image_shape=SHAPE)
    trained = trained_in(replace(HEAD, statistics="all"), Foreign(), image_shape=SHAPE)
    assert trained == transfer.Trained({"fc/bias": 1.0, "fc/kernel": 1.0})
