"""Sizes against worked values, against counting, and against gradients of nothing but indices."""

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.reference import (
    ReceptiveField,
    Window,
    convolution,
    convolution_parameters,
    dense_parameters,
    output_size,
    receptive_field,
    transposed_output_size,
)


@pytest.mark.parametrize(
    ("size", "options", "expected"),
    [
        (32, {"kernel": 3}, 30),
        (32, {"kernel": 3, "padding": 1}, 32),
        (32, {"kernel": 3, "stride": 2}, 15),
        (427, {"kernel": 4, "stride": 4}, 106),
        (640, {"kernel": 4, "stride": 4}, 160),
        (224, {"kernel": 7, "stride": 2, "padding": 3}, 112),
        (112, {"kernel": 3, "stride": 2, "padding": 1}, 56),
        (112, {"kernel": 3, "stride": 2, "ceil_mode": True}, 56),
        (2, {"kernel": 3, "stride": 2, "ceil_mode": True}, 1),
        (28, {"kernel": 5, "dilation": 2}, 20),
        (4, {"kernel": 2, "padding": (0, 1)}, 4),
    ],
)
def test_worked_output_sizes(size, options, expected):
    assert output_size(size, **options) == expected


@pytest.mark.parametrize("seed", range(100))
def test_counting_the_positions_gives_the_same(seed):
    rng = np.random.default_rng(seed)
    kernel, stride, dilation = map(int, rng.integers(1, 5, 3))
    before, after = map(int, rng.integers(0, 5, 2))
    reach = dilation * (kernel - 1) + 1
    size = max(1, reach - before - after) + int(rng.integers(0, 20))
    positions = [i for i in range(0, 100, stride) if i + reach <= size + before + after]
    options = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": (before, after)}
    assert output_size(size, **options) == len(positions)
    # One more window, unless nothing is left or it would start behind the image.
    extra = positions[-1] + stride
    left_over = positions[-1] + reach < size + before + after and extra < size + before
    assert output_size(size, **options, ceil_mode=True) == len(positions) + left_over
    # The transpose gives a size back that the convolution turns into the same again.
    if positions[-1] + reach <= before + after:
        return  # only padding was seen
    back = transposed_output_size(len(positions), **options)
    assert output_size(back, **options) == len(positions)
    assert 0 <= size - back < stride


def test_worked_transposed_sizes():
    assert transposed_output_size(16, kernel=2, stride=2) == 32
    assert transposed_output_size(16, kernel=4, stride=2, padding=1) == 32
    assert transposed_output_size(16, kernel=3, stride=2, padding=1, output_padding=1) == 32


def test_impossible_sizes_are_named():
    with pytest.raises(
        InputError, match=r"`kernel` \(=5\).* padded image \(=4\): .* add 1 to `padding`"
    ):
        output_size(4, kernel=5)
    with pytest.raises(
        InputError, match=r"`kernel` \(=3\), which `dilation` \(=4\) spreads over 9, must"
    ):
        output_size(4, kernel=3, dilation=4, padding=1)
    with pytest.raises(InputError, match=r"`output_padding` \(=2\) .* choose at most 1"):
        transposed_output_size(4, kernel=3, stride=2, output_padding=2)
    with pytest.raises(InputError, match=r"`padding` \(=2 and 2\) .* of the 3 pixels"):
        transposed_output_size(1, kernel=3, padding=2)
    with pytest.raises(InputError, match=r"`stride` \(=0\) must be at least 1"):
        output_size(4, kernel=3, stride=0)
    with pytest.raises(InputError, match=r"`kernel` \(=3.0\) must be a whole number"):
        output_size(4, kernel=3.0)


def test_published_receptive_fields():
    vgg16_conv5 = [
        window
        for convolutions in (2, 2, 3, 3, 3)
        for window in [Window(3, padding=1)] * convolutions + [Window(2, stride=2)]
    ][:-1]
    assert receptive_field(vgg16_conv5).size == 196
    alexnet = [Window(11, 4), Window(3, 2), Window(5, padding=2), Window(3, 2)]
    alexnet += [Window(3, padding=1)] * 3 + [Window(3, 2)]
    assert receptive_field(alexnet).size == 195
    assert receptive_field([]) == ReceptiveField(size=1, stride=1, offset=0)


def test_the_receptive_field_is_where_the_answer_comes_from():
    layers = [
        Window(3, stride=2, padding=1),
        Window(2, dilation=3),
        Window(3, stride=2, padding=2),
    ]
    field = receptive_field(layers)

    def answers(row):
        row = row[None, :, None]
        for layer in layers:
            row = convolution(
                row,
                np.ones((1, layer.kernel, 1, 1)),
                stride=(1, layer.stride),
                padding=((0, 0), (layer.padding, layer.padding)),
                dilation=(1, layer.dilation),
            )
        return row.ravel()

    # All weights are positive, so an answer depends on a pixel exactly if that pixel lights it up.
    lit = np.stack([answers(pixel) for pixel in np.eye(40)]) > 0
    for i in range(lit.shape[1]):
        seen = np.flatnonzero(lit[:, i])
        first, last = field.offset + i * field.stride, field.offset + i * field.stride + field.size
        assert seen.min() >= max(first, 0)
        assert seen.max() < last
        if first >= 0 and last <= 40:
            assert (seen.min(), seen.max()) == (first, last - 1)


def test_parameter_counts():
    assert dense_parameters(28 * 28, 128) == 100_480
    assert convolution_parameters(3, 64, kernel=7, use_bias=False) == 9_408
    assert convolution_parameters(32, 32, kernel=3, groups=32) == 320
    assert convolution_parameters(1, 8, kernel=(3, 5)) == 128
    with pytest.raises(InputError, match=r"`groups` \(=3\) must divide the image channels \(=4\)"):
        convolution_parameters(4, 6, kernel=3, groups=3)
