"""Every layer under jit, vmap and grad, and in bfloat16."""

import inspect
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import parameterized
from jax.test_util import check_grads

from cnn_jax import layers
from tests.layers.examples import EXAMPLES, IMAGES

NEAR = {"rtol": 1e-5, "atol": 1e-5}

each_example = pytest.mark.parametrize("name", EXAMPLES)


def test_every_function_has_an_example():
    functions = {name for name in layers.__all__ if inspect.isfunction(getattr(layers, name))}
    assert functions == set(EXAMPLES)


class Variants(chex.TestCase):
    """jit, no jit, and arrays already on the device: the same numbers."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    @parameterized.parameters(*EXAMPLES)
    def test_each_variant_equals_the_plain_call(self, name):
        function, arrays = EXAMPLES[name]
        actual = self.variant(function)(*arrays)
        jax.tree.map(partial(np.testing.assert_allclose, **NEAR), actual, function(*arrays))


@each_example
def test_vmap_is_a_loop(name):
    function, arrays = EXAMPLES[name]
    stacked = [np.stack([array, array[::-1], -array]) for array in arrays]
    if name in ("batch_norm_eval", "batch_norm_statistics"):
        stacked = [np.abs(array) for array in stacked]  # a variance is not negative
    actual = jax.jit(jax.vmap(function))(*stacked)
    looped = [function(*(array[i] for array in stacked)) for i in range(3)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *looped)
    jax.tree.map(partial(np.testing.assert_allclose, **NEAR), actual, expected)


@each_example
def test_gradients_equal_finite_differences(name):
    function, arrays = EXAMPLES[name]
    with jax.enable_x64(True):
        wide = [jnp.asarray(array, jnp.float64) for array in arrays]
        check_grads(jax.jit(function), wide, order=1, modes=("fwd", "rev"), rtol=1e-6, atol=1e-6)


@each_example
def test_float64_stays_float64(name):
    function, arrays = EXAMPLES[name]
    with jax.enable_x64(True):
        wide = [jnp.asarray(array, jnp.float64) for array in arrays]
        for leaf in jax.tree.leaves(jax.eval_shape(function, *wide)):
            assert leaf.dtype == jnp.float64


@each_example
def test_bfloat16_stays_bfloat16_and_near(name):
    """Within the 8 bits of bfloat16, of what float32 gives for the same rounded numbers."""
    function, arrays = EXAMPLES[name]
    narrow = [jnp.asarray(array, jnp.bfloat16) for array in arrays]
    wide = [array.astype(jnp.float32) for array in narrow]
    actual, expected = jax.jit(function)(*narrow), jax.jit(function)(*wide)
    first = jax.tree.leaves(actual)[0]
    assert first.dtype == jnp.bfloat16
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a.astype(np.float32), b, rtol=0.02, atol=0.05),
        actual,
        expected,
    )


@each_example
def test_gradients_in_bfloat16_are_finite_and_bfloat16(name):
    function, arrays = EXAMPLES[name]
    narrow = [jnp.asarray(array, jnp.bfloat16) for array in arrays]

    def loss(*arrays):
        return sum(leaf.astype(jnp.float32).sum() for leaf in jax.tree.leaves(function(*arrays)))

    gradients = jax.jit(jax.grad(loss, argnums=tuple(range(len(narrow)))))(*narrow)
    for gradient in gradients:
        assert gradient.dtype == jnp.bfloat16
        assert jnp.isfinite(gradient).all()


def test_statistics_of_narrow_images_are_float32():
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    _, mean, var = layers.batch_norm(images, jnp.ones(4), jnp.zeros(4))
    assert mean.dtype == var.dtype == jnp.float32
    np.testing.assert_allclose(mean, images.astype(jnp.float32).mean((0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("name", ["max_pool", "average_pool", "depthwise_convolution"])
def test_both_forms_have_the_same_gradient(name):
    """Where no two pixels tie; `max_pool` says what happens where they do."""
    function, arrays = EXAMPLES[name]
    weights = np.linspace(-1, 1, function(*arrays).size).reshape(function(*arrays).shape)

    def loss(*arrays, plain):
        return jnp.vdot(function(*arrays, plain=plain), weights)

    everywhere = tuple(range(len(arrays)))
    fast = jax.jit(jax.grad(partial(loss, plain=False), everywhere))(*arrays)
    plain = jax.jit(jax.grad(partial(loss, plain=True), everywhere))(*arrays)
    jax.tree.map(partial(np.testing.assert_allclose, **NEAR), fast, plain)


def test_padding_beyond_the_kernel_s_reach_has_a_gradient():
    """As convolutions these gradients need a negative padding, which XLA's CPU backend misreads."""
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 6)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(3, 3, 6, 4)).astype(np.float32)
    padding = ((3, 1), (4, 0))

    def loss(images, padding):
        return (layers.convolution(images, kernel, padding=padding) ** 2).sum()

    actual = jax.jit(jax.grad(partial(loss, padding=padding)))(images)
    around = layers.pad(images, padding)
    expected = jax.grad(partial(loss, padding=0))(around)[:, 3:-1, 4:]
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [(2, 2, 0), (3, 2, 1), ((2, 3), (3, 1), (0, 1)), (3, 1, 0), (2, 3, 0)],
)
def test_of_equal_pixels_the_first_gets_the_gradient(window, stride, padding):
    """As the compiler has it: of few different values, so that nearly every window has ties."""
    images = jnp.round(jax.random.normal(jax.random.key(0), (2, 7, 8, 4)))
    weights = jax.random.normal(jax.random.key(1), (2, 8, 9, 4))

    def everything(plain):
        def value(x):
            options = {"stride": stride, "padding": padding}
            output = layers.max_pool(x, window=window, plain=plain, **options)
            return (output * weights[:, : output.shape[1], : output.shape[2]]).sum()

        return jax.grad(value)(images), jax.jvp(value, (images,), (images**2,))

    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        everything(plain=False),
        everything(plain=True),
    )


def test_large_windows_share_the_gradient_among_equal_pixels():
    def gradient(plain):
        images = jnp.zeros((1, 8, 8, 1))
        return jax.grad(lambda x: layers.max_pool(x, window=8, plain=plain).sum())(images)

    shared, first = gradient(False), gradient(True)
    np.testing.assert_allclose(shared.sum(), 1, rtol=1e-6)
    assert (shared > 0).all()
    assert first[0, 0, 0, 0] == first.sum() == 1


def test_only_depthwise_convolution_is_shifted_and_only_on_a_cpu(monkeypatch):
    def compiled(groups, backend="cpu", **options):
        monkeypatch.setattr(jax, "default_backend", lambda: backend)
        kernel = jnp.ones((3, 3, 4 // groups, 4))
        call = partial(layers.convolution, groups=groups, **options)
        return "conv_general_dilated" in str(jax.make_jaxpr(call)(IMAGES, kernel))

    assert not compiled(4)
    assert compiled(4, plain=True)
    assert compiled(4, backend="gpu")
    assert compiled(2)
    assert compiled(1)
