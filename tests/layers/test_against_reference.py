"""The promise of the laboratory: a layer is its loops, on random shapes and options."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import layers, reference
from cnn_jax.reference import output_size, transposed_output_size
from tests.layers import cases
from tests.layers.operations import OPERATIONS, SLIDING

# The layers add up at most 4 x 4 x 3 products of normal numbers in float32 (7 digits); the
# loops work in float64.
NEAR = {"rtol": 2e-5, "atol": 2e-5}


@pytest.mark.parametrize("name", OPERATIONS)
def test_layer_equals_loops(name):
    operation = OPERATIONS[name]

    @given(operation.cases)
    def holds(case):
        layer = partial(operation.layer, **case.options)
        # Shapes of windows are new each time: one program is quicker to compile than each of its
        # steps. The others have few shapes, and their steps are compiled once for all cases.
        actual = (jax.jit(layer) if operation.by_image else layer)(*case.arrays)
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


@given(cases.convolutions(transposed=True, linear=True), st.integers(0, 2**32 - 1))
def test_transposed_convolution_is_the_transpose(case, seed):
    """<T x, y> = <x, C y>, C being the convolution with the same options, turned into a map."""
    images, kernel, _ = case.arrays
    groups = case.options["groups"]
    options = {name: case.options[name] for name in ("stride", "dilation", "groups")}
    kh, kw, channels, written = kernel.shape
    turned = kernel.reshape(kh, kw, groups, channels // groups, written)
    turned = turned.transpose(0, 1, 4, 2, 3).reshape(kh, kw, written, channels)

    @jax.jit
    def products(images, kernel, turned, key):
        up = layers.transposed_convolution(images, kernel, **options)
        y = jax.random.normal(key, up.shape)
        return jnp.vdot(up, y), jnp.vdot(images, layers.convolution(y, turned, **options))

    up, down = products(images, kernel, turned, jax.random.key(seed))
    np.testing.assert_allclose(up, down, rtol=1e-3, atol=1e-3)
