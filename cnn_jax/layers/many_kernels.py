"""Convolutions in forms that stay fast under `jax.vmap` over their kernels.

There a convolution becomes a grouped one, which XLA's CPU backend computes several times slower
than the same convolutions one after the other. Milliseconds of processor time of a training step
of 4 networks at once, batches of 32 each (the last: 16), by the form of all their convolutions:

| network, side of the images    | 4 single steps | grouped | one by one | tiled |
|--------------------------------|---------------:|--------:|-----------:|------:|
| LeNet-5, 28                    |             22 |      35 |         20 |    10 |
| the small CNN, 8               |             30 |      17 |         26 |    16 |
| the small CNN, 28              |             73 |     271 |        114 |   216 |
| the CNN of three blocks, 28    |            129 |     500 |        153 |   271 |
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from cnn_jax.layers.convolution import add_bias, convolution
from cnn_jax.layers.modules import Conv
from cnn_jax.layers.tiled import tiled_convolution

# Up to so many filters the compiler's convolution leaves most of a vector unused.
_FEW_FILTERS = 16
# Up to so many positions and multiply-adds it takes longer to set up than to compute.
_FEW_POSITIONS = 64
_FEW_PRODUCTS = 1_000_000


def fast_over_kernels(function: Callable) -> Callable:
    """Have the convolutions of a function stay fast where it is mapped over their kernels.

    It acts on every `Conv` while the function is traced: put it around `vmap`, inside of `jit`.
    On other backends than the CPU it does nothing.

    Args:
        function: of arrays.

    Returns:
        A function of the same, with the same result up to rounding; to be differentiated
        backwards only.

    >>> model = Conv(features=2, kernel_size=3)
    >>> images = jnp.ones((5, 1, 4, 4, 3))
    >>> variables = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 5), images)
    >>> jax.jit(fast_over_kernels(jax.vmap(model.apply)))(variables, images).shape
    (5, 1, 2, 2, 2)
    """
    if jax.default_backend() != "cpu":
        return function

    def fast(*args: Any) -> Any:
        with nn.intercept_methods(_intercept):
            return function(*args)

    return fast


def one_by_one(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Have `jax.vmap` compute a function in a loop that is unrolled, and its gradient too.

    Args:
        function: of arrays, differentiable.

    Returns:
        The function; to be differentiated backwards only.

    >>> jax.vmap(one_by_one(jnp.dot))(jnp.ones((2, 3)), jnp.ones((2, 3)))
    Array([3., 3.], dtype=float32)
    """
    forward = _unrolled(function)
    backward = _unrolled(lambda args, cotangent: jax.vjp(function, *args)[1](cotangent))
    differentiable = jax.custom_vjp(lambda *args: forward(*args))
    differentiable.defvjp(lambda *args: (forward(*args), args), backward)
    return differentiable


def _unrolled(function: Callable) -> Callable:
    function = custom_vmap(function)

    @function.def_vmap
    def rule(size: int, batched: list, *args: Any) -> tuple[Any, Any]:
        def member(index: int) -> Any:
            return jax.tree.map(
                lambda leaf, own: leaf[index] if own else leaf, args, tuple(batched)
            )

        results = [function(*member(index)) for index in range(size)]
        together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)
        return together, jax.tree.map(lambda leaf: True, together)

    return function


def _intercept(call: Callable, args: tuple, options: dict, context: Any) -> Any:
    module = context.module
    if not isinstance(module, Conv) or context.method_name != "__call__":
        return call(*args, **options)
    if module.is_initializing():  # it has no kernel yet
        return call(*args, **options)
    (images,) = args
    images = images.astype(module.dtype)
    kernel = module.get_variable("params", "kernel")
    bias = module.get_variable("params", "bias")
    settings = {
        name: getattr(module, name) for name in ("stride", "padding", "dilation", "padding_mode")
    }
    plain = partial(convolution, groups=module.groups, plain=module.plain, **settings)
    if module.groups == images.shape[-1] > 1:  # depthwise: products of whole arrays, fast as it is
        return plain(images, kernel, bias)
    positions = jax.eval_shape(plain, images, kernel).shape[1:3]
    few = positions[0] * positions[1] <= _FEW_POSITIONS
    small = few and positions[0] * positions[1] * kernel.size <= _FEW_PRODUCTS
    if module.groups == 1 and (module.features <= _FEW_FILTERS or small):
        return tiled_convolution(images, kernel, bias, **settings)
    return add_bias(one_by_one(plain)(images, kernel), bias)
