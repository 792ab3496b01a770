"""Convolutions mapped over kernels: the values stay, and no grouped convolution is left."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from cnn_jax.errors import InputError
from cnn_jax.layers import Conv
from cnn_jax.layers.many_kernels import fast_over_kernels, one_by_one
from cnn_jax.layers.tiled import tiled_convolution


def program(function, *args) -> str:
    return str(jax.make_jaxpr(function)(*args))


def groups_in(function, *args) -> set[int]:
    """Numbers of groups of the convolutions in a program."""
    found = re.findall(r"(?:feature|batch)_group_count=(\d+)", program(function, *args))
    return set(map(int, found))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "kernel", "options"),
    [
        ((9, 8, 3), (3, 2, 5), {"tile": 1}),
        ((9, 8, 3), (3, 3, 5), {"tile": (2, 3), "padding": 1}),
        ((11, 7, 1), (5, 3, 6), {"tile": 4, "stride": (2, 1)}),
        ((12, 13, 2), (3, 3, 4), {"stride": 3, "dilation": 2, "padding": (2, 1), "tile": (2, 1)}),
        ((6, 6, 2), (1, 1, 4), {"stride": 2}),
        ((5, 5, 4), (5, 5, 40), {}),
    ],
)
def test_tiles_are_pytorchs_convolution_and_so_are_the_gradients(size, kernel, options):
    images, output_bias = normal(2, *size), normal(kernel[-1], seed=1)
    weights = normal(*kernel[:2], size[2], kernel[2], seed=2)
    tensors = [
        torch.tensor(array, requires_grad=True)
        for array in (images.transpose(0, 3, 1, 2), weights.transpose(3, 2, 0, 1), output_bias)
    ]
    rest = {name: value for name, value in options.items() if name != "tile"}
    expected = torch.nn.functional.conv2d(*tensors, **rest)
    cotangent = normal(*expected.shape, seed=3)
    expected.backward(torch.tensor(cotangent))

    @jax.jit
    def with_gradients(cotangent, *arrays):
        output, backward = jax.vjp(partial(tiled_convolution, **options), *arrays)
        return output, backward(cotangent)

    output, gradients = with_gradients(
        cotangent.transpose(0, 2, 3, 1), images, weights, output_bias
    )
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    close(output, expected.detach().numpy().transpose(0, 2, 3, 1))
    close(gradients[0], tensors[0].grad.numpy().transpose(0, 2, 3, 1))
    close(gradients[1], tensors[1].grad.numpy().transpose(2, 3, 1, 0))
    close(gradients[2], tensors[2].grad.numpy())


def test_tiles_without_bias_and_with_a_padding_that_copies():
    images = jnp.arange(16.0).reshape(1, 4, 4, 1)
    output = tiled_convolution(images, jnp.ones((3, 1, 1, 1)), padding=(1, 0), padding_mode="wrap")
    expected = jnp.roll(images, 1, 1) + images + jnp.roll(images, -1, 1)
    np.testing.assert_array_equal(output, expected)


def test_a_kernel_that_does_not_fit_is_told():
    images = jnp.zeros((1, 4, 4, 2))
    with pytest.raises(InputError, match=r"`kernel` \(=5\) must fit in the padded image \(=4\)"):
        tiled_convolution(images, jnp.zeros((5, 1, 2, 1)))
    with pytest.raises(InputError, match=r"with 3 channels .* must have 2 there"):
        tiled_convolution(images, jnp.zeros((1, 1, 3, 1)))


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"features": 4, "padding": 1}, False),  # tiled
        ({"features": 4, "padding": 1}, True),
        ({"features": 40, "stride": 2}, False),  # one by one
        ({"features": 8, "groups": 2, "use_bias": False}, True),  # one by one
        ({"features": 4, "groups": 4}, False),  # depthwise: as it is
    ],
)
def test_values_and_gradients_stay(options, shared):
    """Per member, as `vmap` alone gives them, with images of their own or the same for all."""
    model, images = Conv(kernel_size=3, **options), jnp.asarray(normal(3, 2, 19, 19, 4))
    keys = jax.random.split(jax.random.key(0), 3)
    variables = jax.jit(jax.vmap(lambda key: model.init(key, images[0])))(keys)
    images, axis = (images[0], None) if shared else (images, 0)

    def value(variables, images):
        return jnp.sin(model.apply(variables, images)).sum()

    mapped = jax.vmap(jax.value_and_grad(value, argnums=(0, 1)), in_axes=(0, axis))
    fast = fast_over_kernels(mapped)
    chex.assert_trees_all_close(
        jax.jit(fast)(variables, images), jax.jit(mapped)(variables, images), rtol=1e-4, atol=1e-4
    )
    own = options.get("groups", 1)
    assert not groups_in(fast, variables, images) - {1, own}
    assert own == 4 or 3 * own in groups_in(mapped, variables, images)


def test_the_gradient_of_a_map_is_the_map_of_gradients():
    model, images = Conv(features=20, kernel_size=3), jnp.asarray(normal(2, 1, 12, 12, 1))
    variables = jax.vmap(lambda key: model.init(key, images[0]))(
        jax.random.split(jax.random.key(0), 2)
    )

    def values(variables):
        return (jax.vmap(model.apply)(variables, images) ** 2).sum()

    chex.assert_trees_all_close(
        jax.jit(jax.grad(fast_over_kernels(values)))(variables),
        jax.jit(jax.grad(values))(variables),
        rtol=1e-4,
    )


def test_parameters_are_drawn_inside_as_outside():
    model, images = Conv(features=4, kernel_size=3), jnp.zeros((2, 1, 5, 5, 1))
    init, keys = jax.vmap(model.init), jax.random.split(jax.random.key(0), 2)
    chex.assert_trees_all_equal(fast_over_kernels(init)(keys, images), init(keys, images))


def test_outside_the_program_is_what_it_was():
    model, images = Conv(features=4, kernel_size=3), jnp.zeros((1, 5, 5, 1))
    variables = model.init(jax.random.key(0), images)
    before = program(model.apply, variables, images)
    jax.jit(fast_over_kernels(jax.vmap(model.apply, in_axes=(None, 0))))(variables, images[None])
    assert program(model.apply, variables, images) == before
    assert "conv_general_dilated" in before


def test_one_by_one_maps_over_any_argument_and_twice():
    form = one_by_one(jnp.dot)
    rows, columns = jnp.arange(6.0).reshape(2, 3), jnp.arange(12.0).reshape(4, 3)
    pairs = jax.vmap(jax.vmap(form, in_axes=(None, 0)), in_axes=(0, None))
    np.testing.assert_array_equal(pairs(rows, columns), rows @ columns.T)
    gradient = jax.vmap(jax.grad(form), in_axes=(0, None))(rows, columns[1])
    np.testing.assert_array_equal(gradient, jnp.stack([columns[1]] * 2))
