"""Bad input meets one sentence: the argument, its value, the rule and the remedy."""

import re

import numpy as np
import pytest

from cnn_jax import reference
from cnn_jax.errors import InputError

PLANE = np.ones((4, 4))
IMAGE = np.ones((4, 4, 4))
SIGNAL = np.ones((4, 4))


def kernel(side, seen, filters):
    return np.ones((side, side, seen, filters))


CASES = {
    "reflect takes less than the image": (
        lambda: reference.pad(PLANE, 4, mode="reflect"),
        "`padding` (=4) must be at most 3 for mode 'reflect' on an image of 4 pixels: pad less",
    ),
    "wrap goes round once": (
        lambda: reference.pad(PLANE, (5, 0), mode="wrap"),
        "`padding` (=5) must be at most 4 for mode 'wrap'",
    ),
    "reflect inside a convolution": (
        lambda: reference.convolution(IMAGE, kernel(3, 4, 1), padding=4, padding_mode="reflect"),
        "`padding` (=4) must be at most 3 for mode 'reflect'",
    ),
    "unknown padding mode": (
        lambda: reference.convolution2d(PLANE, PLANE, padding_mode="same"),
        "(='same') is unknown: choose zero, reflect, edge or wrap",
    ),
    "negative padding": (
        lambda: reference.convolution2d(PLANE, PLANE, padding=-1),
        "`padding` (=-1) must be at least 0",
    ),
    "three paddings": (
        lambda: reference.pad(PLANE, (1, 2, 3)),
        "`padding` (=(1, 2, 3)) must be one number, (height, width) or ((top, bottom), (left",
    ),
    "padding by name": (
        lambda: reference.convolution2d(PLANE, PLANE, padding="SAME"),
        "`padding` (='SAME') must be",
    ),
    "groups that do not divide the channels": (
        lambda: reference.convolution(IMAGE, kernel(3, 1, 3), groups=3),
        "`groups` (=3) must divide the image channels (=4): choose 1, 2 or 4",
    ),
    "groups that do not divide the filters": (
        lambda: reference.convolution(IMAGE, kernel(3, 2, 3), groups=2),
        "`groups` (=2) must divide the filters (=3): choose 1 or 3",
    ),
    "groups of a transposed convolution": (
        lambda: reference.transposed_convolution(IMAGE, kernel(3, 4, 1), groups=3),
        "`groups` (=3) must divide the image channels (=4): choose 1, 2 or 4",
    ),
    "groups of no number": (
        lambda: reference.transposed_convolution(IMAGE, kernel(3, 4, 1), groups=None),
        "`groups` (=None) must be a whole number",
    ),
    "groups of a signal": (
        lambda: reference.convolution1d(SIGNAL, np.ones((3, 1, 3)), groups=3),
        "`groups` (=3) must divide the image channels (=4)",
    ),
    "depthwise filters": (
        lambda: reference.depthwise_convolution(IMAGE, kernel(3, 1, 6)),
        "`groups` (=4) must divide the filters (=6)",
    ),
    "kernel that sees other channels": (
        lambda: reference.convolution(IMAGE, kernel(3, 3, 2)),
        "`kernel` (with 3 channels on its last axis but one) must have 4 there (= image channels "
        "4 / groups 1): change the kernel, or `groups`",
    ),
    "transposed kernel for other channels": (
        lambda: reference.transposed_convolution(IMAGE, kernel(3, 2, 4)),
        "`kernel` (with 2 channels on its last axis but one) must have 4 there",
    ),
    "kernel larger than the image": (
        lambda: reference.convolution2d(PLANE, np.ones((5, 3))),
        "`kernel` (=5) must fit in the padded image (=4): shrink it, or add 1 to `padding` in all",
    ),
    "kernel larger than the padded image": (
        lambda: reference.convolution(IMAGE, kernel(3, 4, 1), dilation=3, padding=1),
        "`kernel` (=3), which `dilation` (=3) spreads over 7, must fit in the padded image (=6)",
    ),
    "kernel larger than the signal": (
        lambda: reference.convolution1d(SIGNAL, np.ones((5, 4, 1))),
        "must fit in the padded image (=4)",
    ),
    "window larger than the image": (
        lambda: reference.max_pool(PLANE, window=5),
        "must fit in the padded image (=4)",
    ),
    "window of padding alone": (
        lambda: reference.average_pool(PLANE, window=2, padding=2),
        "`padding` (=2) must be smaller than `window` (=2)",
    ),
    "bias of another length": (
        lambda: reference.convolution(IMAGE, kernel(3, 4, 2), np.ones(3)),
        "`bias` (of shape (3,)) must hold one value for each filter: give it the shape (2,)",
    ),
    "stride of nothing": (
        lambda: reference.convolution2d(PLANE, PLANE, stride=0),
        "`stride` (=0) must be at least 1",
    ),
    "stride of three": (
        lambda: reference.convolution2d(PLANE, PLANE, stride=(1, 1, 1)),
        "`stride` (=(1, 1, 1)) must be two numbers, or one for both",
    ),
    "stride by halves": (
        lambda: reference.max_pool(PLANE, window=2, stride=0.5),
        "`stride` (=0.5) must be a whole number",
    ),
    "true is no number": (
        lambda: reference.max_pool(PLANE, window=True),
        "`window` (=True) must be a whole number",
    ),
    "adaptive pooling to nothing": (
        lambda: reference.adaptive_max_pool(PLANE, output_size=(0, 2)),
        "`output_size` (=0) must be at least 1",
    ),
    "a wrong rank names all the right ones": (
        lambda: reference.max_pool(np.ones(4), window=2),
        "`image` (of shape (4,)) must be [height, width] or [height, width, channels]: add the",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_sentence_says_what_is_wrong(case):
    call, words = CASES[case]
    with pytest.raises(InputError, match=re.escape(words)) as error:
        call()
    assert "\n" not in str(error.value)
    assert ": " in str(error.value), "no remedy after the rule"


def takers_of_arrays():
    """Yield name, function of one array, and a good array, for every operation on arrays."""
    one = np.ones(1)
    yield "pad", lambda x: reference.pad(x, 1), PLANE
    yield "convolution2d", lambda x: reference.convolution2d(x, np.ones((2, 2))), PLANE
    yield "convolution2d kernel", lambda x: reference.convolution2d(PLANE, x), PLANE
    yield "true_convolution2d", lambda x: reference.true_convolution2d(x, np.ones((2, 2))), PLANE
    for operation in ("convolution", "true_convolution", "transposed_convolution"):
        function = getattr(reference, operation)
        yield operation, lambda x, f=function: f(x, kernel(2, 4, 1)), IMAGE
        yield f"{operation} kernel", lambda x, f=function: f(IMAGE, x), kernel(2, 4, 1)
    yield "depthwise", lambda x: reference.depthwise_convolution(x, kernel(2, 1, 4)), IMAGE
    yield "convolution1d", lambda x: reference.convolution1d(x, np.ones((2, 4, 1))), SIGNAL
    for operation in ("max_pool", "average_pool", "max_pool1d", "average_pool1d"):
        function = getattr(reference, operation)
        yield operation, lambda x, f=function: f(x, window=2), SIGNAL
    for operation in ("adaptive_max_pool", "adaptive_average_pool"):
        function = getattr(reference, operation)
        yield operation, lambda x, f=function: f(x, output_size=1), IMAGE
    yield "global_average_pool", reference.global_average_pool, IMAGE
    yield "global_max_pool", reference.global_max_pool, IMAGE
    yield "batch_norm", lambda x: reference.batch_norm(x, one, one), np.ones((2, 1))
    yield "batch_norm_eval", lambda x: reference.batch_norm_eval(x, *[one] * 4), np.ones((2, 1))
    yield "statistics", lambda x: reference.batch_norm_statistics(x, one, one, one), one
    yield "layer_norm", lambda x: reference.layer_norm(x, one, one), np.ones((2, 1))
    yield "local_response_norm", reference.local_response_norm, IMAGE
    for operation in ("relu", "leaky_relu", "elu", "gelu", "silu", "hard_swish", "softmax"):
        yield operation, getattr(reference, operation), PLANE
    yield "dropout", lambda x: reference.dropout(x, np.ones(x.shape), rate=0.5), PLANE
    yield "channel_dropout", lambda x: reference.channel_dropout(x, np.ones(4), rate=0.5), IMAGE
    yield "cross_entropy", lambda x: reference.cross_entropy(x, [0] * len(x)), PLANE


TAKERS = {name: (function, good) for name, function, good in takers_of_arrays()}
ANY_RANK = {"relu", "leaky_relu", "elu", "gelu", "silu", "hard_swish", "softmax", "dropout"}
ANY_RANK_BUT_0 = {"batch_norm", "batch_norm_eval", "layer_norm", "local_response_norm"}


@pytest.mark.parametrize("name", TAKERS)
def test_integers_are_refused(name):
    function, good = TAKERS[name]
    function(good)
    words = r"`\w+` \(of type uint8\) must hold floats: convert it with \w+\.astype\('float32'\)"
    with pytest.raises(InputError, match=words):
        function(good.astype(np.uint8))


@pytest.mark.parametrize("name", sorted(set(TAKERS) - ANY_RANK))
def test_a_wrong_rank_is_refused(name):
    function, _ = TAKERS[name]
    bad = np.array(1.0) if name in ANY_RANK_BUT_0 else np.ones((1, 1, 1, 1, 1))
    with pytest.raises(InputError, match=r"`\w+` \(of shape \([1, ]*\)\) must be \["):
        function(bad)
