"""Convolution against the worked values of the courses, and against scipy.signal."""

import numpy as np
import pytest
from scipy import signal as scipy_signal

from cnn_jax.reference import (
    convolution,
    convolution1d,
    convolution2d,
    depthwise_convolution,
    output_size,
    pad,
    true_convolution,
    true_convolution2d,
)

COURSE_IMAGE = np.array(
    [[1, 2, 3, 0, 1], [4, 5, 6, 1, 2], [7, 8, 9, 2, 3], [1, 3, 5, 4, 0], [2, 4, 6, 1, 2]], float
)
CROSS = np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], float)
VERTICAL_EDGE = np.array([[1, 0, -1]] * 3, float)


def with_gaps(kernel, dilation):
    """Return the kernel with zeros between its entries: what dilation means."""
    down, right = dilation
    size = (down * (kernel.shape[0] - 1) + 1, right * (kernel.shape[1] - 1) + 1)
    spread = np.zeros((*size, *kernel.shape[2:]))
    spread[::down, ::right] = kernel
    return spread


def by_scipy(image, kernel, bias, *, stride, padding, dilation, groups, padding_mode):
    """Convolve plane by plane at every position, and keep those that the stride visits."""
    image = pad(image, padding, mode=padding_mode)
    kernel = with_gaps(kernel, dilation)
    channels, filters = image.shape[2], kernel.shape[3]
    planes = []
    for f in range(filters):
        group = f // (filters // groups)
        seen = range(group * (channels // groups), (group + 1) * (channels // groups))
        planes.append(
            bias[f]
            + sum(
                scipy_signal.correlate2d(image[:, :, c], kernel[:, :, k, f], mode="valid")
                for k, c in enumerate(seen)
            )
        )
    return np.stack(planes, axis=-1)[:: stride[0], :: stride[1]]


def test_the_course_image_under_the_cross():
    answers = convolution2d(COURSE_IMAGE, CROSS)
    assert answers[0, 0] == 1 + 3 + 5 + 7 + 9 == 25
    np.testing.assert_array_equal(answers, [[25, 18, 17], [24, 22, 15], [27, 20, 24]])


def test_the_course_patch_under_the_vertical_edge():
    patch = np.array([[1, 2, 0], [0, 1, 3], [2, 1, 1]], float)
    np.testing.assert_array_equal(convolution2d(patch, VERTICAL_EDGE), [[-1]])


def test_a_stride_of_two_keeps_every_second_answer():
    np.testing.assert_array_equal(
        convolution2d(COURSE_IMAGE, CROSS, stride=2), [[25, 17], [27, 24]]
    )


def test_a_stride_is_given_down_then_right():
    answers = convolution2d(COURSE_IMAGE, CROSS, stride=(2, 1))
    np.testing.assert_array_equal(answers, [[25, 18, 17], [27, 20, 24]])


def test_zero_padding_by_hand():
    answers = convolution2d([[1.0, 2.0], [3.0, 4.0]], np.ones((3, 3)), padding=1)
    np.testing.assert_array_equal(answers, [[10, 10], [10, 10]])
    corner = convolution2d(COURSE_IMAGE, CROSS, padding=1)[0, 0]
    assert corner == 1 + 5


def test_dilation_by_hand():
    kernel = np.array([[1, 10], [100, 1000]], float)[:, :, None, None]
    answers = convolution(COURSE_IMAGE[:, :, None], kernel, dilation=(3, 4))
    np.testing.assert_array_equal(answers[:, :, 0], [[1 + 10 + 100], [4 + 20 + 200 + 2000]])


def test_groups_by_hand():
    image = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 1, 4)
    kernel = np.ones((1, 1, 2, 2))
    np.testing.assert_array_equal(convolution(image, kernel, groups=2), [[[11, 1100]]])


def test_a_filter_adds_up_its_channels_and_its_bias():
    image = np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3)
    kernel = np.array([[1, 0], [10, 0], [100, 1]], float).reshape(1, 1, 3, 2)
    np.testing.assert_array_equal(convolution(image, kernel, [0.5, -1.0]), [[[321.5, 2]]])


def test_true_convolution_answers_a_dot_with_the_kernel_itself():
    dot = np.zeros((3, 3))
    dot[1, 1] = 1
    kernel = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(true_convolution2d(dot, kernel, padding=1), kernel)
    np.testing.assert_array_equal(convolution2d(dot, kernel, padding=1), kernel[::-1, ::-1])


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [(32, {}, 30), (32, {"padding": 1}, 32), (32, {"stride": 2}, 15)],
)
def test_sizes_of_the_courses(size, options, expected):
    assert convolution2d(np.zeros((size, size)), VERTICAL_EDGE, **options).shape == (expected,) * 2


@pytest.mark.parametrize("seed", range(40))
def test_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    channels, filters = groups * rng.integers(1, 3), groups * rng.integers(1, 3)
    kernel_size, height, width = rng.integers(1, 4, 2), *rng.integers(7, 11, 2)
    options = {
        "stride": tuple(rng.integers(1, 4, 2).tolist()),
        "padding": tuple(tuple(row) for row in rng.integers(0, 4, (2, 2)).tolist()),
        "dilation": tuple(rng.integers(1, 4, 2).tolist()),
        "groups": groups,
        "padding_mode": rng.choice(["zero", "reflect", "edge", "wrap"]).item(),
    }
    image = rng.normal(size=(height, width, channels))
    kernel = rng.normal(size=(*kernel_size, channels // groups, filters))
    bias = rng.normal(size=filters)

    answers = convolution(image, kernel, bias, **options)

    np.testing.assert_allclose(answers, by_scipy(image, kernel, bias, **options), atol=1e-12)
    assert answers.shape[:2] == tuple(
        output_size(
            size,
            kernel=int(kernel_size[axis]),
            stride=options["stride"][axis],
            padding=options["padding"][axis],
            dilation=options["dilation"][axis],
        )
        for axis, size in enumerate((height, width))
    )


@pytest.mark.parametrize(("mode", "boundary"), [("zero", "fill"), ("wrap", "wrap")])
def test_true_convolution_agrees_with_scipy_at_the_borders_too(mode, boundary):
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=(6, 7)), rng.normal(size=(3, 5))
    expected = scipy_signal.convolve2d(image, kernel, mode="same", boundary=boundary)
    answers = true_convolution2d(image, kernel, padding=(1, 2), padding_mode=mode)
    np.testing.assert_allclose(answers, expected, atol=1e-12)


def test_true_convolution_commutes():
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    np.testing.assert_allclose(
        true_convolution2d(first, second, padding=3),
        true_convolution2d(second, first, padding=3),
        atol=1e-12,
    )


def test_one_channel_is_the_simple_convolution():
    image, kernel = COURSE_IMAGE[:, :, None], VERTICAL_EDGE[:, :, None, None]
    options = {"stride": 2, "padding": (0, 1), "padding_mode": "edge"}
    np.testing.assert_array_equal(
        convolution(image, kernel, **options)[:, :, 0],
        convolution2d(COURSE_IMAGE, VERTICAL_EDGE, **options),
    )
    np.testing.assert_array_equal(
        true_convolution(image, kernel, **options)[:, :, 0],
        true_convolution2d(COURSE_IMAGE, VERTICAL_EDGE, **options),
    )


def test_depthwise_filters_every_channel_on_its_own():
    rng = np.random.default_rng(3)
    image, kernel, bias = rng.normal(size=(6, 6, 2)), rng.normal(size=(3, 3, 1, 4)), np.arange(4.0)
    answers = depthwise_convolution(image, kernel, bias, stride=2, padding=1)
    for f, channel in enumerate([0, 0, 1, 1]):
        expected = convolution2d(image[:, :, channel], kernel[:, :, 0, f], stride=2, padding=1)
        np.testing.assert_allclose(answers[:, :, f], expected + bias[f], atol=1e-12)


def test_a_signal_agrees_with_scipy():
    rng = np.random.default_rng(4)
    signal, kernel = rng.normal(size=(20, 2)), rng.normal(size=(5, 2, 3))
    answers = convolution1d(signal, kernel, [1.0, 2.0, 3.0], stride=2, padding=(1, 0))
    padded = np.pad(signal, ((1, 0), (0, 0)))
    for f in range(3):
        expected = sum(np.correlate(padded[:, c], kernel[:, c, f], "valid") for c in range(2))
        np.testing.assert_allclose(answers[:, f], expected[::2] + f + 1, atol=1e-12)
