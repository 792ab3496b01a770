"""Laws that need no reference: linearity, and what happens when an image moves."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn_jax import layers
from tests.layers import cases

NEAR = {"rtol": 1e-4, "atol": 1e-4}

# That layers equal their loops is tried more often; these would show it if both were wrong.
fewer = settings(max_examples=settings.default.max_examples // 5)

LINEAR = {
    "pad": cases.pads(),
    "convolution": cases.convolutions(linear=True),
    "true_convolution": cases.convolutions(linear=True),
    "depthwise_convolution": cases.convolutions(linear=True, depthwise=True),
    "convolution1d": cases.convolutions(linear=True, one_dimension=True),
    "transposed_convolution": cases.convolutions(linear=True, transposed=True),
    "average_pool": cases.poolings(averages=True),
    "average_pool1d": cases.poolings(one_dimension=True, averages=True),
    "adaptive_average_pool": cases.adaptive_poolings(),
    "global_average_pool": cases.global_poolings(),
}


@pytest.mark.parametrize("name", LINEAR)
def test_linear_in_the_images(name):
    """f(a x + b y) = a f(x) + b f(y), for functions without a bias."""
    layer = getattr(layers, name)

    @fewer
    @given(LINEAR[name], st.floats(-2, 2, width=32), st.floats(-2, 2, width=32))
    def holds(case, a, b):
        x, *others = case.arrays
        y = np.cos(3 * x)
        call = cases.hasty_jit(lambda images: layer(images, *others, **case.options))
        of_x, of_y, of_sum = np.split(call(np.concatenate([x, y, a * x + b * y])), 3)
        np.testing.assert_allclose(of_sum, a * of_x + b * of_y, **NEAR)

    holds()


@pytest.mark.parametrize("name", ["convolution", "transposed_convolution"])
def test_linear_in_the_kernel(name):
    layer = getattr(layers, name)

    @fewer
    @given(cases.convolutions(linear=True, transposed=name == "transposed_convolution"))
    def holds(case):
        x, kernel, _ = case.arrays

        @cases.hasty_jit
        def both_sides(x, one, other):
            f = partial(layer, x, **case.options)
            return f(one + other), f(one) + f(other)

        np.testing.assert_allclose(*both_sides(x, kernel, kernel[::-1, ::-1]), **NEAR)

    holds()


def _moved(images, down: int, right: int):
    """Cut a window out of the images that lies further down and to the right."""
    return images[:, down:, right:]


@pytest.mark.parametrize("name", ["convolution", "depthwise_convolution"])
def test_convolution_moves_with_the_image(name):
    """Away from borders: an image moved by whole strides gives the same answers, moved by one."""

    @fewer
    @given(cases.convolutions(linear=True, depthwise=name != "convolution"), st.data())
    def holds(case, data):
        x, kernel, _ = case.arrays
        options = dict(case.options, padding=0, padding_mode="zero")
        _check_moving(
            partial(getattr(layers, name), kernel=kernel, **options),
            x,
            options["stride"],
            kernel.shape[:2],
            options["dilation"],
            data,
        )

    holds()


@pytest.mark.parametrize("name", ["max_pool", "average_pool"])
def test_pooling_moves_with_the_image(name):
    @fewer
    @given(cases.poolings(), st.data())
    def holds(case, data):
        options = dict(case.options, padding=0, ceil_mode=False)
        window = _both(options["window"])
        stride = options.get("stride", window)
        _check_moving(
            partial(getattr(layers, name), **options), *case.arrays, stride, window, 1, data
        )

    holds()


def _both(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _check_moving(layer, images, stride, window, dilation, data):
    steps = data.draw(cases.few(0, 2)), data.draw(cases.few(0, 2))
    moves = [step * length for step, length in zip(steps, _both(stride), strict=True)]
    # Large enough for one position more than it moves over.
    least = [
        move + gap * (length - 1) + 1
        for move, gap, length in zip(moves, _both(dilation), window, strict=True)
    ]
    shape = [max(size, have) for size, have in zip(least, images.shape[1:3], strict=True)]
    images = np.resize(images, (images.shape[0], *shape, images.shape[3]))

    @cases.hasty_jit
    def both(images):
        return layer(_moved(images, *moves)), _moved(layer(images), *steps)

    np.testing.assert_allclose(*both(images), **NEAR)


@fewer
@given(cases.convolutions(linear=True), cases.few(-9, 9), cases.few(-9, 9))
def test_wrapped_convolution_moves_with_the_image_everywhere(case, down, right):
    """On a torus there are no borders, so the law holds for every pixel."""
    images, kernel, _ = case.arrays
    reach = [
        gap * (length - 1)
        for gap, length in zip(_both(case.options["dilation"]), kernel.shape[:2], strict=True)
    ]
    assume(all(distance <= size for distance, size in zip(reach, images.shape[1:3], strict=True)))
    options = dict(
        case.options,
        stride=1,
        padding=((reach[0], 0), (reach[1], 0)),
        padding_mode="wrap",
    )

    @cases.hasty_jit
    def both(images):
        roll = partial(jnp.roll, shift=(down, right), axis=(1, 2))
        f = partial(layers.convolution, kernel=kernel, **options)
        return f(roll(images)), roll(f(images))

    np.testing.assert_allclose(*both(images), **NEAR)


@pytest.mark.parametrize("name", ["global_average_pool", "global_max_pool"])
def test_global_pooling_ignores_where_things_are(name):
    @fewer
    @given(cases.global_poolings(), cases.few(0, 9), cases.few(0, 9))
    def holds(case, down, right):
        (images,) = case.arrays
        moved = np.roll(images, (down, right), axis=(1, 2))
        pool = getattr(layers, name)
        np.testing.assert_allclose(pool(images), pool(moved), **NEAR)

    holds()


@given(st.integers(0, 2**32 - 1), cases.few(0, 3), cases.few(0, 3))
def test_maximum_pooling_ignores_moves_inside_its_window(seed, down, right):
    """A lone bright pixel is found wherever in the window it is."""
    value = 1 + np.random.default_rng(seed).random()
    images = np.zeros((1, 8, 8, 1), np.float32)
    images[0, 4 + down, right] = value
    expected = np.zeros((2, 2))
    expected[1, 0] = value
    pooled = layers.max_pool(images, window=4)
    np.testing.assert_allclose(pooled[0, :, :, 0], expected, rtol=1e-6)


@fewer
@given(cases.convolutions(linear=True))
def test_true_convolution_by_an_even_kernel_is_cross_correlation(case):
    """Turning a kernel that looks the same upside down changes nothing."""
    images, kernel, _ = case.arrays
    even = kernel + kernel[::-1, ::-1]

    @cases.hasty_jit
    def both(images):
        return tuple(
            f(images, even, **case.options) for f in (layers.convolution, layers.true_convolution)
        )

    np.testing.assert_allclose(*both(images), **NEAR)


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        (partial(layers.max_pool, window=2), [[1, 0], [0, 0]]),
        (partial(layers.adaptive_max_pool, output_size=1), [[0.25, 0.25], [0.25, 0.25]]),
        (layers.global_max_pool, [[0.25, 0.25], [0.25, 0.25]]),
    ],
)
def test_which_of_equal_pixels_get_the_gradient(pool, expected):
    gradient = jax.grad(lambda images: pool(images).sum())(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)
