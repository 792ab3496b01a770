"""Transposed convolution against hand-pasted kernels, and as the transpose of convolution."""

import numpy as np
import pytest

from cnn_jax.reference import convolution, transposed_convolution, transposed_output_size


def test_overlapping_kernels_add_up():
    image = np.array([[1.0, 2.0]])[:, :, None]
    kernel = np.array([[1.0, 10.0, 100.0]])[:, :, None, None]
    answers = transposed_convolution(image, kernel, stride=(1, 2))[0, :, 0]
    np.testing.assert_array_equal(answers, [1, 10, 100 + 2, 20, 200])


def test_padding_cuts_and_output_padding_adds_behind():
    image = np.array([[1.0, 2.0]])[:, :, None]
    kernel = np.array([[1.0, 10.0, 100.0]])[:, :, None, None]
    answers = transposed_convolution(
        image, kernel, [0.5], stride=(1, 2), padding=((0, 0), (1, 0)), output_padding=(0, 1)
    )
    np.testing.assert_array_equal(answers[0, :, 0], [10.5, 102.5, 20.5, 200.5, 0.5])


def test_dilation_spreads_the_pasted_kernel():
    image = np.array([[3.0]])[:, :, None]
    kernel = np.array([[1.0, 10.0]])[:, :, None, None]
    answers = transposed_convolution(image, kernel, dilation=3)
    np.testing.assert_array_equal(answers[0, :, 0], [3, 0, 0, 30])


def test_groups_write_their_own_filters():
    image = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4)
    kernel = np.array([[1, 10], [1, 10], [1, 10], [1, 10]], float).reshape(1, 1, 4, 2)
    answers = transposed_convolution(image, kernel, groups=2)
    np.testing.assert_array_equal(answers, [[[1 + 2, 10 + 20, 3 + 4, 30 + 40]]])


@pytest.mark.parametrize("seed", range(40))
def test_is_the_transpose_of_convolution(seed):
    """For a linear map A: y . A x = A' y . x, whatever x and y."""
    rng = np.random.default_rng(seed)
    groups = int(rng.integers(1, 4))
    channels, filters = groups * rng.integers(1, 3), groups * rng.integers(1, 3)
    kernel_size = rng.integers(1, 4, 2)
    options = {
        "stride": tuple(rng.integers(1, 4, 2).tolist()),
        "padding": tuple(tuple(row) for row in rng.integers(0, 3, (2, 2)).tolist()),
        "dilation": tuple(rng.integers(1, 3, 2).tolist()),
        "groups": groups,
    }
    x = rng.normal(size=(*rng.integers(6, 10, 2), channels))
    kernel = rng.normal(size=(*kernel_size, channels // groups, filters))
    answers = convolution(x, kernel, **options)
    y = rng.normal(size=answers.shape)

    # Where the stride did not come out even, the convolution never read the last pixels.
    left_over = tuple(
        x.shape[axis]
        - transposed_output_size(
            y.shape[axis],
            kernel=int(kernel_size[axis]),
            stride=options["stride"][axis],
            padding=options["padding"][axis],
            dilation=options["dilation"][axis],
        )
        for axis in range(2)
    )
    # The transpose has the filters as its input channels: [kh, kw, F, C / groups].
    parts = np.split(kernel, groups, axis=3)
    turned = np.concatenate([part.swapaxes(2, 3) for part in parts], axis=2)
    back = transposed_convolution(y, turned, output_padding=left_over, **options)

    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(y * answers), np.sum(back * x), rtol=1e-9, atol=1e-9)
