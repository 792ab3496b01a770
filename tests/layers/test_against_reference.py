"""The promise of the laboratory: a layer is its loops, on random shapes and options."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cnn_jax import layers, reference
from cnn_jax.reference import output_size, transposed_output_size
from tests.layers import cases
from tests.layers.operations import OPERATIONS, SLIDING

# The layers add up at most 4 x 4 x 3 products of normal numbers in float32 (7 digits); the
# loops work in float64.
NEAR = {"rtol": 2e-5, "atol": 2e-5}


# Windows have a new shape in each case, so each is compiled anew. Five cases in one program, and
# that program hardly optimised, take a quarter of the time.
TOGETHER = 5


@pytest.mark.parametrize("name", [name for name in OPERATIONS if OPERATIONS[name].by_image])
def test_layer_equals_loops_over_an_image(name):
    operation = OPERATIONS[name]

    @settings(max_examples=settings.default.max_examples // TOGETHER)
    @given(st.tuples(*[operation.cases] * TOGETHER))
    def holds(together):
        @cases.hasty_jit
        def all_of_them(arrays):
            calls = zip(together, arrays, strict=True)
            return [operation.layer(*given, **case.options) for case, given in calls]

        for case, actual in zip(together, all_of_them([c.arrays for c in together]), strict=True):
            np.testing.assert_allclose(actual, operation.expected(case), **NEAR)
            assert actual.dtype == np.float32

    holds()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if not OPERATIONS[name].by_image])
def test_layer_equals_loops(name):
    operation = OPERATIONS[name]

    @given(operation.cases)
    def holds(case):
        actual = operation.layer(*case.arrays, **case.options)
        jax.tree.map(partial(np.testing.assert_allclose, **NEAR), actual, operation.expected(case))
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(actual))

    holds()


def test_every_function_of_the_reference_has_a_layer():
    """But those that are drawn from a mask, or that are no operation of a network."""
    own = {"cross_entropy", "channel_dropout", "dropout", "convolution2d", "true_convolution2d"}
    described = {"FILTERS", "ReceptiveField", "Window", "box_blur", "gaussian_blur"}
    counted = {"convolution_parameters", "dense_parameters", "output_size", "receptive_field"}
    rest = set(reference.__all__) - own - described - counted - {"transposed_output_size"}
    assert rest <= set(OPERATIONS)


OTHERS = {
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_activations_without_loops_equal_their_formulas(name):
    @given(cases.numbers())
    def holds(case):
        (x,) = case.arrays
        expected = OTHERS[name](x.astype(np.float64))
        np.testing.assert_allclose(getattr(layers, name)(x), expected, **NEAR)

    holds()


def _along(value, axis: int, *, pads: bool = False):
    """Return an option's value in one direction, whichever way it is spelled."""
    if isinstance(value, int):
        return value
    return value[axis] if not pads or isinstance(value[axis], tuple) else (value[axis],) * 2


@pytest.mark.parametrize("name", SLIDING)
def test_shapes_follow_the_law(name):
    """Only traced, not run: thousands of shapes take seconds."""
    operation = OPERATIONS[name]

    @given(operation.cases)
    def holds(case):
        images, *others = case.arrays
        spatial = images.ndim - 2
        options = dict(case.options)
        kernel = others[0].shape[:spatial] if others else options["window"]
        options.setdefault("stride", kernel)
        shape = jax.eval_shape(partial(operation.layer, **case.options), *case.arrays).shape
        for axis in range(spatial):
            along = {
                key: value if spatial == 1 else _along(value, axis, pads=key == "padding")
                for key, value in options.items()
                if key in ("stride", "padding", "dilation")
            }
            window = kernel if isinstance(kernel, int) else kernel[axis]
            if isinstance(along["stride"], tuple):
                along["stride"] = along["stride"][axis]
            law = output_size(
                images.shape[1 + axis],
                kernel=window,
                ceil_mode=options.get("ceil_mode", False),
                **along,
            )
            assert shape[1 + axis] == law
        filters = others[0].shape[-1] if others else images.shape[-1]
        assert (shape[0], shape[-1]) == (images.shape[0], filters)

    holds()


def test_a_padding_beyond_the_kernel_s_reach_only_cuts():
    """Here the convolution that does the work would need a negative padding."""
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 6)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(2, 3, 6, 2)).astype(np.float32)
    call = partial(layers.transposed_convolution, images, kernel, groups=3)
    actual = jax.jit(partial(call, padding=((2, 0), (3, 2))))()
    np.testing.assert_allclose(actual, call(padding=0)[:, 2:, 3:-2], **NEAR)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((1, 1), {}),
        ((1, 3), {"stride": (2, 1)}),
        ((3, 2), {"stride": (2, 3), "output_padding": (1, 2)}),
    ],
)
def test_gradients_that_cut_off_are_pytorchs(kernel, options):
    """Autodiff gives their convolutions negative paddings: of short kernels, at both sides."""
    rng = np.random.default_rng(0)
    images, weights = rng.normal(size=(2, 6, 5, 7)), rng.normal(size=(6, 4, *kernel))
    tensors = [torch.tensor(array, requires_grad=True) for array in (images, weights)]
    expected = torch.nn.functional.conv_transpose2d(*tensors, **options)
    cotangent = rng.normal(size=expected.shape)
    expected.backward(torch.tensor(cotangent))

    @jax.jit
    def gradients(cotangent, *arrays):
        pasted = partial(layers.transposed_convolution, **options)
        return jax.vjp(pasted, *arrays)[1](cotangent)

    narrow = [array.astype(np.float32) for array in (cotangent, images, weights)]
    found = gradients(
        narrow[0].transpose(0, 2, 3, 1),
        narrow[1].transpose(0, 2, 3, 1),
        narrow[2].transpose(2, 3, 0, 1),
    )
    np.testing.assert_allclose(found[0], tensors[0].grad.numpy().transpose(0, 2, 3, 1), **NEAR)
    np.testing.assert_allclose(found[1], tensors[1].grad.numpy().transpose(2, 3, 0, 1), **NEAR)


def test_a_program_that_once_aborted_compiles():
    """Kernel and stride 2, all that it adds cut off again, and few columns beside it."""
    images = np.random.default_rng(0).normal(size=(1, 6, 2, 1)).astype(np.float32)
    kernel = np.random.default_rng(1).normal(size=(2, 3, 1, 1)).astype(np.float32)
    options = {"stride": (2, 3), "padding": ((2, 2), (0, 2))}
    actual = jax.jit(partial(layers.transposed_convolution, **options))(images, kernel)
    expected = reference.transposed_convolution(images[0], kernel, **options)
    np.testing.assert_allclose(actual[0], expected, **NEAR)


@given(cases.convolutions(transposed=True))
def test_transposed_shapes_follow_the_law(case):
    images, kernel, _ = case.arrays
    operation = partial(layers.transposed_convolution, **case.options)
    shape = jax.eval_shape(operation, *case.arrays).shape
    for axis in (0, 1):
        assert shape[1 + axis] == transposed_output_size(
            images.shape[1 + axis],
            kernel=kernel.shape[axis],
            stride=_along(case.options["stride"], axis),
            padding=_along(case.options["padding"], axis, pads=True),
            output_padding=_along(case.options["output_padding"], axis),
            dilation=_along(case.options["dilation"], axis),
        )


@settings(max_examples=settings.default.max_examples // 5)
@given(cases.convolutions(transposed=True, linear=True), st.integers(0, 2**32 - 1))
def test_transposed_convolution_is_the_transpose(case, seed):
    """<T x, y> = <x, C y>, C being the convolution with the same options, turned into a map."""
    images, kernel, _ = case.arrays
    groups = case.options["groups"]
    options = {name: case.options[name] for name in ("stride", "dilation", "groups")}
    kh, kw, channels, written = kernel.shape
    turned = kernel.reshape(kh, kw, groups, channels // groups, written)
    turned = turned.transpose(0, 1, 4, 2, 3).reshape(kh, kw, written, channels)

    up = partial(layers.transposed_convolution, **options)
    down = partial(layers.convolution, **options)
    shape = jax.eval_shape(up, images, kernel).shape
    y = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    @cases.hasty_jit
    def products(images, y, kernel, turned):
        return jnp.vdot(up(images, kernel), y), jnp.vdot(images, down(y, turned))

    one, other = products(images, y, kernel, turned)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3)
