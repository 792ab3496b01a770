"""The modules: the functions they wrap, their parameters, their statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from cnn_jax import layers, reference
from tests.layers import cases
from tests.layers.examples import IMAGES, SIGNALS

MODULES = {
    "Conv": (layers.Conv(6, kernel_size=(3, 2), padding=1, groups=2), IMAGES),
    "Conv depthwise": (layers.Conv(8, groups=4, stride=2), IMAGES),
    "Conv reflecting": (layers.Conv(5, padding=2, padding_mode="reflect"), IMAGES),
    "Conv1d": (layers.Conv1d(6, kernel_size=3, dilation=2), SIGNALS),
    "ConvTranspose": (layers.ConvTranspose(6, kernel_size=2, stride=2, groups=2), IMAGES),
    "Dense": (layers.Dense(3), IMAGES),
    "BatchNorm": (layers.BatchNorm(), IMAGES),
    "LayerNorm": (layers.LayerNorm(), IMAGES),
}
SHAPES = {
    "Conv": {"kernel": (3, 2, 2, 6), "bias": (6,)},
    "Conv depthwise": {"kernel": (3, 3, 1, 8), "bias": (8,)},
    "Conv reflecting": {"kernel": (3, 3, 4, 5), "bias": (5,)},
    "Conv1d": {"kernel": (3, 4, 6), "bias": (6,)},
    "ConvTranspose": {"kernel": (2, 2, 4, 3), "bias": (6,)},
    "Dense": {"kernel": (4, 3), "bias": (3,)},
    "BatchNorm": {"scale": (4,), "bias": (4,)},
    "LayerNorm": {"scale": (4,), "bias": (4,)},
}
each_module = pytest.mark.parametrize("name", MODULES)


@each_module
def test_parameters_have_their_names_shapes_and_float32(name):
    module, x = MODULES[name]
    for dtype in (jnp.float32, jnp.bfloat16):
        variables = module.clone(dtype=dtype).init(jax.random.key(0), x)
        assert jax.tree.map(jnp.shape, variables["params"]) == SHAPES[name]
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))


@each_module
def test_outputs_are_in_dtype(name):
    module, x = MODULES[name]
    variables = module.init(jax.random.key(0), x)
    narrow = module.clone(dtype=jnp.bfloat16).apply(variables, x)
    assert module.apply(variables, x).dtype == jnp.float32
    assert narrow.dtype == jnp.bfloat16
    expected = module.apply(variables, x)
    np.testing.assert_allclose(narrow.astype(np.float32), expected, rtol=0.05, atol=0.05)


@each_module
def test_evaluation_needs_no_rng_and_mutates_nothing(name):
    """Even when every collection is open to change, and on variables unlike the first ones."""
    module, x = MODULES[name]
    variables = jax.tree.map(lambda leaf: leaf + 0.25, module.init(jax.random.key(0), x))
    before = jax.tree.map(np.array, variables)
    output = module.apply(variables, x)
    again, after = module.apply(variables, x, mutable=True)
    np.testing.assert_array_equal(output, again)
    jax.tree.map(np.testing.assert_array_equal, before, dict(after))
    jax.tree.map(np.testing.assert_array_equal, before, variables)


@pytest.mark.parametrize("name", [name for name in MODULES if "kernel" in SHAPES[name]])
def test_without_bias_there_is_none(name):
    module, x = MODULES[name]
    variables = module.clone(use_bias=False).init(jax.random.key(0), x)
    assert set(variables["params"]) == {"kernel"}


WRAPPED = {
    "Conv": (layers.Conv, layers.convolution, cases.convolutions()),
    "Conv1d": (layers.Conv1d, layers.convolution1d, cases.convolutions(one_dimension=True)),
    "ConvTranspose": (
        layers.ConvTranspose,
        layers.transposed_convolution,
        cases.convolutions(transposed=True),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_module_is_its_function_with_all_options(name):
    """Down to the traced program: no option is forgotten on the way."""
    make, function, strategy = WRAPPED[name]

    @settings(max_examples=settings.default.max_examples // 2)
    @given(strategy)
    def holds(case):
        x, kernel, bias = case.arrays
        spatial = kernel.shape[:-2]
        module = make(
            kernel.shape[-1] * (case.options["groups"] if name == "ConvTranspose" else 1),
            kernel_size=spatial if len(spatial) == 2 else spatial[0],
            use_bias=bias is not None,
            **case.options,
        )
        arrays = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
        as_module = jax.make_jaxpr(lambda p: module.apply({"params": p}, x))(arrays)
        as_function = jax.make_jaxpr(lambda p: function(x, **p, **case.options))(arrays)
        assert str(as_module) == str(as_function)

    holds()


def test_dense_is_a_matrix_product():
    x, kernel, bias = (np.random.default_rng(0).normal(size=s) for s in ((2, 3), (3, 4), (4,)))
    params = {"params": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}}
    output = layers.Dense(4).apply(params, jnp.asarray(x))
    np.testing.assert_allclose(output, x @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_first_kernels_keep_the_variance():
    """He normal: variance 2 / (kh * kw * channels seen), whatever the groups."""
    module = layers.Conv(512, kernel_size=3, groups=4)
    kernel = module.init(jax.random.key(0), jnp.ones((1, 3, 3, 64)))["params"]["kernel"]
    np.testing.assert_allclose(kernel.var(), 2 / (9 * 16), rtol=0.02)


def test_running_statistics_follow_the_reference_with_unbiased_variance():
    module = layers.BatchNorm(momentum=0.8, epsilon=1e-3)
    variables = module.init(jax.random.key(0), IMAGES)
    mean, var = np.zeros(4), np.ones(4)
    for step in range(3):
        images = IMAGES * (step + 1) + step
        output, updates = module.apply(variables, images, train=True, mutable=["batch_stats"])
        expected, batch_mean, batch_var = reference.batch_norm(
            images, np.ones(4), np.zeros(4), epsilon=1e-3
        )
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
        mean, var = reference.batch_norm_statistics(
            mean, var, batch_mean, batch_var, momentum=0.8, count=2 * 5 * 4
        )
        variables = {**variables, **updates}
        np.testing.assert_allclose(updates["batch_stats"]["mean"], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(updates["batch_stats"]["var"], var, rtol=1e-4)
    expected = reference.batch_norm_eval(IMAGES, np.ones(4), np.zeros(4), mean, var, epsilon=1e-3)
    np.testing.assert_allclose(module.apply(variables, IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_statistics_over_a_mapped_axis_are_those_of_the_whole_batch():
    whole, split = layers.BatchNorm(), layers.BatchNorm(axis_name="data")
    images = np.concatenate([IMAGES, 2 * IMAGES + 1])
    variables = whole.init(jax.random.key(0), images)

    def step(images):
        return split.apply(variables, images, train=True, mutable=["batch_stats"])

    parts, updates = jax.vmap(step, axis_name="data")(images.reshape(2, 2, *images.shape[1:]))
    output, expected = whole.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(parts.reshape(output.shape), output, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        lambda both, one: np.testing.assert_allclose(both, [one, one], rtol=1e-4, atol=1e-5),
        dict(updates),
        dict(expected),
    )


@pytest.mark.parametrize("output", [0, 1, 2])
def test_gradients_over_a_mapped_axis_are_those_of_the_whole_batch(output):
    """Of what is normalised, of the mean and of the variance: backwards and forwards."""
    images = np.concatenate([IMAGES, 2 * IMAGES + 1])
    scale, bias, weights = np.arange(1.0, 5), np.arange(4.0), np.cos(images)
    parts = tuple(array.reshape(2, 2, *IMAGES.shape[1:]) for array in (images, weights))

    def total(images, weights, axis_name=None):
        told = layers.batch_norm(images, scale, bias, axis_name=axis_name)[output]
        return (told * (weights if output == 0 else weights[0, 0, 0])).sum()

    def mapped(images, weights):
        # Each device has the same statistics: a half of them each.
        share = 1.0 if output == 0 else 0.5
        weights = weights if output == 0 else jnp.stack([weights[0]] * 2)
        one = partial(total, axis_name="data")
        return share * jax.vmap(one, axis_name="data")(images, weights).sum()

    expected = jax.grad(total)(images, weights)
    np.testing.assert_allclose(
        jax.grad(mapped)(*parts).reshape(images.shape), expected, rtol=1e-4, atol=1e-5
    )
    along = np.sin(images)
    _, change = jax.jvp(lambda x: mapped(x, parts[1]), parts[:1], (along.reshape(parts[0].shape),))
    np.testing.assert_allclose(change, (expected * along).sum(), rtol=1e-3, atol=1e-4)


def test_initialising_leaves_the_statistics_alone():
    variables = layers.BatchNorm(axis_name="data").init(jax.random.key(0), IMAGES, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(4))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(4))


@pytest.mark.parametrize("mean", [0, 100, 10_000])
def test_a_mean_far_from_zero_costs_no_digits_once_the_running_mean_is_near(mean):
    images = IMAGES + np.float32(mean)
    batch_norm = partial(layers.batch_norm, images, jnp.ones(4), jnp.zeros(4))
    exact, *_ = reference.batch_norm(images, np.ones(4), np.zeros(4))
    for shift in (None, np.full(4, mean + 0.5, np.float32)):
        output, *_ = batch_norm(shift=shift)
        np.testing.assert_allclose(output, exact, rtol=1e-3, atol=1e-3)
