"""Pooling against worked values, and against views of NumPy."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from cnn_jax.errors import InputError
from cnn_jax.reference import (
    adaptive_average_pool,
    adaptive_max_pool,
    average_pool,
    average_pool1d,
    global_average_pool,
    global_max_pool,
    max_pool,
    max_pool1d,
)

COURSE_IMAGE = np.array([[1, 3, 2, 4], [5, 6, 1, 2], [3, 2, 7, 8], [1, 4, 2, 4]], float)


def test_the_course_image():
    # A course prints [[3, 4], [6, 8]]: those are no maxima of 2x2 squares.
    np.testing.assert_array_equal(max_pool(COURSE_IMAGE, window=2), [[6, 4], [4, 8]])


def test_a_photograph_under_four_by_four():
    photograph = np.zeros((427, 640))
    assert max_pool(photograph, window=4).shape == (106, 160)
    assert average_pool(photograph, window=4).shape == (106, 160)


def test_overlapping_windows_by_hand():
    np.testing.assert_array_equal(max_pool(COURSE_IMAGE, window=3, stride=1), [[7, 8], [7, 8]])
    np.testing.assert_array_equal(
        max_pool(COURSE_IMAGE, window=(1, 2), stride=(3, 2)), [[3, 4], [4, 4]]
    )


def test_padding_never_wins_the_maximum():
    answers = max_pool(-np.ones((2, 2)), window=2, padding=1)
    np.testing.assert_array_equal(answers, -np.ones((2, 2)))


def test_the_mean_counts_padding_or_does_not():
    image = np.full((2, 2), 4.0)
    np.testing.assert_array_equal(average_pool(image, window=2, padding=1), np.ones((2, 2)))
    uncounted = average_pool(image, window=2, padding=1, count_include_pad=False)
    np.testing.assert_array_equal(uncounted, image)


def test_ceil_mode_keeps_the_left_over_pixels():
    row = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    assert max_pool(row, window=(1, 2)).tolist() == [[2, 4]]
    assert max_pool(row, window=(1, 2), ceil_mode=True).tolist() == [[2, 4, 5]]


def test_ceil_mode_counts_padding_but_nothing_beyond_it():
    row = np.array([[1.0, 2.0, 3.0, 4.0]])
    # Windows of 3 by steps of 2 on 0 1 2 3 4 0: the last one holds 4, 0 and one pixel of nothing.
    options = {"window": (1, 3), "stride": (1, 2), "padding": ((0, 0), (1, 1)), "ceil_mode": True}
    np.testing.assert_allclose(average_pool(row, **options), [[3 / 3, 9 / 3, 4 / 2]])
    uncounted = average_pool(row, **options, count_include_pad=False)
    np.testing.assert_allclose(uncounted, [[3 / 2, 9 / 3, 4 / 1]])


def test_ceil_mode_drops_a_window_that_starts_behind_the_image():
    row = np.array([[1.0, 2.0, 3.0]])
    options = {"window": (1, 2), "stride": (1, 2), "padding": ((0, 0), (1, 1)), "ceil_mode": True}
    assert max_pool(row, **options).tolist() == [[1, 3]]


def test_ceil_mode_keeps_a_window_that_is_larger_than_the_image():
    """By less than a stride; PyTorch's networks rely on it where images are small."""
    row = np.array([[1.0, 2.0]])
    assert max_pool(row, window=(1, 3), stride=(1, 2), ceil_mode=True).tolist() == [[2]]
    assert average_pool(row, window=(1, 3), stride=(1, 2), ceil_mode=True).tolist() == [[1.5]]
    with pytest.raises(InputError, match=r"`kernel` \(=4\) .* image \(=2\): .* add 1 to `padding`"):
        max_pool(row, window=(1, 4), stride=(1, 2), ceil_mode=True)


@pytest.mark.parametrize("seed", range(40))
def test_ceil_mode_is_pytorchs(seed):
    """In values, in shapes, and in what is refused."""
    rng = np.random.default_rng(seed)
    size, window, stride = (tuple(rng.integers(1, high, 2).tolist()) for high in (9, 7, 5))
    padding = tuple(int(rng.integers(0, wide // 2 + 1)) for wide in window)
    image = rng.normal(size=size)
    tensor = torch.tensor(image)[None, None]
    theirs = {"stride": stride, "padding": padding, "ceil_mode": True}
    ours = {"window": window, **theirs}
    counted = {"count_include_pad": bool(seed % 2)}
    try:
        expected = torch.nn.functional.max_pool2d(tensor, window, **theirs)[0, 0]
    except RuntimeError:
        with pytest.raises(InputError, match="must fit in the padded image"):
            max_pool(image, **ours)
        return
    np.testing.assert_array_equal(max_pool(image, **ours), expected)
    expected = torch.nn.functional.avg_pool2d(tensor, window, **theirs, **counted)[0, 0]
    np.testing.assert_allclose(average_pool(image, **ours, **counted), expected, atol=1e-14)


@pytest.mark.parametrize("seed", range(30))
def test_agrees_with_views(seed):
    rng = np.random.default_rng(seed)
    window, stride = rng.integers(2, 5, 2), rng.integers(1, 4, 2)
    padding = [rng.integers(0, side, 2) for side in window]
    image = rng.normal(size=(*rng.integers(5, 9, 2), 2))
    options = {
        "window": tuple(window.tolist()),
        "stride": tuple(stride.tolist()),
        "padding": tuple(tuple(sides.tolist()) for sides in padding),
    }

    def windows(values, fill):
        padded = np.pad(values, (*options["padding"], (0, 0)), constant_values=fill)
        view = sliding_window_view(padded, options["window"], axis=(0, 1))
        return view[:: stride[0], :: stride[1]]

    sums = windows(image, 0).sum((-2, -1))
    pixels = windows(np.ones_like(image), 0).sum((-2, -1))
    np.testing.assert_array_equal(max_pool(image, **options), windows(image, -np.inf).max((-2, -1)))
    np.testing.assert_allclose(average_pool(image, **options), sums / window.prod(), atol=1e-14)
    np.testing.assert_allclose(
        average_pool(image, **options, count_include_pad=False), sums / pixels, atol=1e-14
    )


def test_adaptive_windows_overlap_where_the_division_leaves_a_rest():
    row = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    # 5 pixels to 3 windows: [0, 2), [1, 4), [3, 5).
    np.testing.assert_array_equal(adaptive_average_pool(row, output_size=(1, 3)), [[1.5, 3, 4.5]])
    np.testing.assert_array_equal(adaptive_max_pool(row, output_size=(1, 3)), [[2, 4, 5]])


def test_adaptive_pooling_repeats_pixels_of_a_smaller_image():
    row = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(adaptive_max_pool(row, output_size=(1, 4)), [[1, 1, 2, 2]])


def test_adaptive_pooling_that_divides_evenly_is_plain_pooling():
    image = np.random.default_rng(0).normal(size=(6, 9, 2))
    np.testing.assert_allclose(
        adaptive_average_pool(image, output_size=3), average_pool(image, window=(2, 3)), atol=1e-15
    )
    np.testing.assert_array_equal(
        adaptive_max_pool(image, output_size=3), max_pool(image, window=(2, 3))
    )


def test_global_pooling_is_one_number_for_each_channel():
    image = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_allclose(global_average_pool(image), image.mean((0, 1)), atol=1e-15)
    np.testing.assert_array_equal(global_max_pool(image), image.max((0, 1)))


def test_signals_are_images_of_height_one():
    signal = np.random.default_rng(0).normal(size=(11, 2))
    options = {"window": 3, "stride": 2, "ceil_mode": True}
    columns = {"window": (3, 1), "stride": (2, 1), "ceil_mode": True}
    np.testing.assert_array_equal(
        max_pool1d(signal, **options), max_pool(signal[:, None], **columns)[:, 0]
    )
    np.testing.assert_allclose(
        average_pool1d(signal, **options, padding=(1, 0)),
        average_pool(signal[:, None], **columns, padding=((1, 0), (0, 0)))[:, 0],
        atol=1e-15,
    )
