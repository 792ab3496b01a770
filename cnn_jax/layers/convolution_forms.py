"""The forms that a convolution is computed in, and which of them is the fast one.

The compiler's own form is right on every backend, and all that a GPU or TPU ever gets. XLA's CPU
backend is many times slower in it than it need be at some shapes. Milliseconds of processor time
there (two cores, the least of many; float32, jaxlib 0.10.2), by the compiler and in our form:

| what                                                         | compiler's | ours |
|--------------------------------------------------------------|-----------:|-----:|
| depthwise 3x3, 16x28x28x128                                  |         36 |  1.4 |
| gradient of 1x1 kernels, 8x28x28x128 to 512                  |         22 |  5.2 |
| the same, 8x14x14x256 to 1024                                |         17 |  4.8 |
| 3x3 on maps of 2x2, 4x2x2x512 to 512                         |         46 |  0.7 |
| 3x3, 64x16x16x64 to 64, by Winograd's form                   |        6.4 |  4.4 |
| the same, 8x14x14x256 to 256                                 |        8.9 |  4.9 |
| gradient of the images, 3x3 on 8x7x7x512 to 512              |       11.6 |  9.2 |
| in `lax.scan`, 4 steps of three 3x3 with BatchNorm and ReLU, |            |      |
| ... 8x16x16x32 to 32 (9 outside of a loop)                   |        349 |    8 |
"""

import contextlib
import functools
import operator
from collections.abc import Callable, Iterator
from contextvars import ContextVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from cnn_jax.layers.arguments import widened
from cnn_jax.layers.computed_once import computed_once
from cnn_jax.layers.winograd import winograd

LAYOUT = ("NHWC", "HWIO", "NHWC")
Pairs = tuple[tuple[int, int], tuple[int, int]]
Form = Callable[..., jax.Array]

# Above it the unrolled program grows too long to compile; 7x7 (ConvNeXt) is still well below.
_MOST_SHIFTS = 64
# Up to so many positions an image, a product of matrices beats the compiler's convolution.
_FEW_POSITIONS = 4
# Up to so many, one product with the kernel and additions beat convolving with the turned kernel.
_FEW_FOR_SPREADING = 49
# ... with kernels of so many entries; each is an addend of the program.
_MOST_SPREAD = 25
# With more channels images are small, and little leads to them.
_MOST_COMPUTED_ONCE = 32
# Fewer channels are spent on adding; fewer multiplications than 20 million are not worth the
# third of a second that it takes to compile.
_CHANNELS_FOR_WINOGRAD = 64
_WORK_FOR_WINOGRAD = 20_000_000

# What forms are chosen for; None for where we are.
_BACKEND: ContextVar[str | None] = ContextVar("backend", default=None)


def fastest(
    images: jax.Array, kernel: jax.Array, strides, pads: Pairs, dilations, groups: int
) -> Form:
    """Choose the form of a convolution by its shape and the backend: here, and nowhere else.

    Args:
        images: [N, H, W, C].
        kernel: [kh, kw, C // groups, F].
        strides: (down, right).
        pads: ((top, bottom), (left, right)), so small that every position sees a pixel.
        dilations: (down, right).
        groups: number of groups.

    Returns:
        A function of the same, equal to `compiled` up to rounding.
    """
    if (_BACKEND.get() or jax.default_backend()) != "cpu":
        return compiled
    size = kernel.shape[0] * kernel.shape[1]
    if groups == images.shape[3] > 1:
        return _shifted if size <= _MOST_SHIFTS else compiled
    if groups > 1:
        return compiled
    if size == 1:
        return _product
    height, width = jax.eval_shape(
        lambda *arrays: compiled(*arrays, strides, pads, dilations, 1), images, kernel
    ).shape[1:3]
    if height * width > _FEW_POSITIONS:
        return _dense
    if tuple(strides) == kernel.shape[:2] and max(dilations) == 1 and not np.any(pads):
        return _tiles_product
    return _patches_product if size <= _MOST_SHIFTS else _dense


@contextlib.contextmanager
def forms_for(backend: str) -> Iterator[None]:
    """Have convolutions take the forms for a backend, wherever they are traced.

    Args:
        backend: "cpu", "gpu" or "tpu".

    >>> with forms_for("cpu"):
    ...     print(fastest(jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 3)), 0, 0, 0, 1).__name__)
    _product
    """
    token = _BACKEND.set(backend)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def as_compiled() -> contextlib.AbstractContextManager[None]:
    """Have convolutions take the compiler's form: for those who read a program, not run it.

    >>> with as_compiled():
    ...     print(fastest(jnp.ones((1, 4, 4, 2)), jnp.ones((1, 1, 2, 3)), 0, 0, 0, 1).__name__)
    compiled
    """
    return forms_for("gpu")


def compiled(images, kernel, strides, pads, dilations, groups):
    """Convolve as the compiler does."""
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=strides,
        padding=pads,
        rhs_dilation=dilations,
        feature_group_count=groups,
        dimension_numbers=LAYOUT,
    )


def _shifted(images, kernel, strides, pads, dilations, groups):
    """Add up the images once for each entry of a depthwise kernel: moved by it, times it."""
    multiplier = kernel.shape[3] // groups
    # One product at a time, the sum is not the compiler's own and would round at each step.
    padded = jnp.repeat(widened(_padded(images, pads)), multiplier, axis=3)
    kernel = widened(kernel)
    entries = [(a, b) for a in range(kernel.shape[0]) for b in range(kernel.shape[1])]
    seen = _seen_by_entries(padded, kernel.shape, strides, dilations)
    products = (part * kernel[a, b, 0] for part, (a, b) in zip(seen, entries, strict=True))
    return functools.reduce(operator.add, products).astype(images.dtype)


def _padded(images: jax.Array, pads: Pairs) -> jax.Array:
    return jnp.pad(images, ((0, 0), *pads, (0, 0)))


def _seen_by_entries(padded: jax.Array, kernel_shape, strides, dilations):
    """Yield what each entry of a kernel meets at all positions, [N, H', W', C], row by row."""
    (down, right), (apart_down, apart_right) = strides, dilations
    batch, height, width, channels = padded.shape
    tall = height - apart_down * (kernel_shape[0] - 1)
    wide = width - apart_right * (kernel_shape[1] - 1)
    for a in range(kernel_shape[0]):
        for b in range(kernel_shape[1]):
            top, left = a * apart_down, b * apart_right
            end = (batch, top + tall, left + wide, channels)
            yield lax.slice(padded, (0, top, left, 0), end, (1, down, right, 1))


def _product(images, kernel, strides, pads, dilations, groups):
    """Convolve with 1x1 kernels: a matrix product at every position."""
    seen = images[:, :: strides[0], :: strides[1]]
    return lax.dot_general(seen, kernel[0, 0], (((3,), (0,)), ((), ())))


def _patches_product(images, kernel, strides, pads, dilations, groups):
    """Convolve at few positions: one matrix product of what each position sees."""
    seen = _seen_by_entries(_padded(images, pads), kernel.shape, strides, dilations)
    matrix = kernel.reshape(-1, kernel.shape[3])
    return lax.dot_general(jnp.concatenate(list(seen), 3), matrix, (((3,), (0,)), ((), ())))


def _tiles_product(images, kernel, strides, pads, dilations, groups):
    """Convolve at few positions whose pixels lie side by side: one product, and nothing moved."""
    (count, height, width, channels), (tall, wide) = images.shape, kernel.shape[:2]
    rows, columns = height // tall, width // wide
    tiles = images[:, : rows * tall, : columns * wide]
    tiles = tiles.reshape(count, rows, tall, columns, wide, channels)
    return lax.dot_general(tiles, kernel, (((2, 4, 5), (0, 1, 2)), ((), ())))


def _dense(images, kernel, strides, pads, dilations, groups):
    """Convolve as the compiler does, but for the gradient of the kernel."""
    return _with_own_gradient(images, kernel, tuple(strides), tuple(pads), tuple(dilations))


# Networks have many layers of few shapes: jit traces, derives and transposes each shape once.
@functools.partial(jax.jit, static_argnums=(2, 3, 4))
@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _with_own_gradient(images, kernel, strides, pads, dilations):
    if strides == dilations == (1, 1):
        return _unstrided(images, kernel, pads)
    return compiled(images, kernel, strides, pads, dilations, 1)


@functools.partial(_with_own_gradient.__wrapped__.defjvp, symbolic_zeros=True)
def _derivative(strides, pads, dilations, primals, tangents):
    """Derive it: what is linear in an array is written as the transpose of that one's gradient.

    So the gradients come out as they are written, and derivatives of every kind and order work.
    """
    images, kernel = primals
    output = _with_own_gradient(images, kernel, strides, pads, dilations)
    gradients = (
        lambda cotangent: _images_gradient(
            cotangent, kernel, images.shape[1:3], strides, pads, dilations
        ),
        lambda cotangent: _kernel_gradient(
            images, cotangent, kernel.shape[:2], strides, pads, dilations
        ),
    )
    parts = [
        jax.linear_transpose(gradient, output)(tangent)[0]
        for gradient, tangent in zip(gradients, tangents, strict=True)
        if not isinstance(tangent, SymbolicZero)
    ]
    return output, functools.reduce(operator.add, parts, jnp.zeros_like(output))


def _unstrided(images, kernel, pads):
    """Convolve at stride 1, in fewer multiplications where there are enough of them."""
    (count, *sizes, channels), filters = images.shape, kernel.shape[3]
    height, width = (size + sum(pad) - 2 for size, pad in zip(sizes, pads, strict=True))
    if (
        kernel.shape[:2] == (3, 3)
        and isinstance(count, int)  # it has no number in an export for batches of any size
        and images.dtype == jnp.float32
        and min(channels, filters) >= _CHANNELS_FOR_WINOGRAD
        and height * width > _FEW_FOR_SPREADING
        and count * height * width * channels * filters >= _WORK_FOR_WINOGRAD
    ):
        return winograd(images, kernel, pads)
    return compiled(images, kernel, (1, 1), pads, (1, 1), 1)


def _images_gradient(cotangent, kernel, sizes, strides, pads, dilations):
    """Spread the cotangent over the pixels that each position saw: [N, *sizes, C]."""
    few = cotangent.shape[1] * cotangent.shape[2] <= _FEW_FOR_SPREADING
    if (few or max(strides) > 1) and kernel.shape[0] * kernel.shape[1] <= _MOST_SPREAD:
        return _spread(cotangent, kernel, sizes, strides, pads, dilations)
    pairs = []
    for axis, (before, _) in enumerate(pads):
        reach = (kernel.shape[axis] - 1) * dilations[axis]
        last = (cotangent.shape[1 + axis] - 1) * strides[axis]
        pairs.append((reach - before, sizes[axis] + before - last - 1))
    turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    if strides == dilations == (1, 1):
        return _unstrided(cotangent, turned, pairs)
    return lax.conv_general_dilated(
        cotangent,
        turned,
        window_strides=(1, 1),
        padding=pairs,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        dimension_numbers=LAYOUT,
    )


def _spread(cotangent, kernel, sizes, strides, pads, dilations):
    """Take one product with the kernel, and add up what it gives each pixel: [N, *sizes, C].

    Neither is the cotangent spaced out with zeros nor the kernel turned, which for 512 to 512
    channels takes as long as the product.
    """
    products = lax.dot_general(widened(cotangent), widened(kernel), (((3,), (3,)), ((), ())))
    zero = np.zeros((), products.dtype)
    parts = []
    for entry in np.ndindex(kernel.shape[:2]):
        frame = [(0, 0, 0)]
        for axis in (0, 1):
            start = entry[axis] * dilations[axis] - pads[axis][0]
            stop = start + (cotangent.shape[1 + axis] - 1) * strides[axis] + 1
            frame.append((start, sizes[axis] - stop, strides[axis] - 1))
        parts.append(lax.pad(products[:, :, :, *entry], zero, [*frame, (0, 0, 0)]))
    return functools.reduce(operator.add, parts).astype(cotangent.dtype)


def _kernel_gradient(images, cotangent, size, strides, pads, dilations):
    """Convolve images with the cotangent as their kernel, channels as the batch: [*size, C, F]."""
    pairs = []
    for axis, (before, _) in enumerate(pads):
        length, positions = images.shape[1 + axis], cotangent.shape[1 + axis]
        reach = (size[axis] - 1) * dilations[axis] + (positions - 1) * strides[axis] + 1
        after = reach - length - before
        if after < 0:  # pixels that no position sees; XLA's CPU backend fails at negative paddings
            images = lax.slice_in_dim(images, 0, length + after, axis=1 + axis)
        pairs.append((before, max(after, 0)))
    seen = computed_once(images) if images.shape[3] <= _MOST_COMPUTED_ONCE else images
    gradient = lax.conv_general_dilated(
        seen.transpose(3, 1, 2, 0),
        cotangent.transpose(1, 2, 0, 3),
        window_strides=dilations,
        padding=pairs,
        rhs_dilation=strides,
        dimension_numbers=LAYOUT,
    )
    return gradient.transpose(1, 2, 0, 3)
