"""Bad input meets one sentence, with the argument's name, its value, the rule and the remedy.

Each mistake is made in the layer and in the loops: the words are the same.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax
from cnn_jax import layers, reference

IMAGES = np.ones((2, 5, 4, 4), np.float32)
SIGNALS = np.ones((2, 7, 4), np.float32)
KERNEL = np.ones((3, 3, 4, 6), np.float32)
PASTED = np.ones((3, 3, 4, 6), np.float32)
CHANNELS = np.ones(4, np.float32)


def _call(name, *arrays, **options):
    return name, arrays, options


MISTAKES = {
    "integers in pad": (_call("pad", IMAGES.astype(int), padding=1), "int64|int32", "float32"),
    "integers": (_call("convolution", IMAGES.astype(np.uint8), KERNEL), "uint8", "float32"),
    "integer kernel": (_call("convolution", IMAGES, KERNEL.astype(int)), "`kernel`", "floats"),
    "booleans": (_call("max_pool", IMAGES > 0, window=2), "bool", "float32"),
    "rank": (_call("convolution", IMAGES[0], KERNEL), r"\(5, 4, 4\)|\(4, 4\)", "channels"),
    "rank of signals": (_call("convolution1d", IMAGES, KERNEL[0]), r"5, 4, 4\)", "length"),
    "rank of the kernel": (_call("convolution", IMAGES, KERNEL[0]), r"\(3, 4, 6\)", "filters"),
    "rank in pooling": (_call("global_max_pool", SIGNALS), r"7, 4\)|\(7, 4\)|\(4,\)", "height"),
    "groups and channels": (
        _call("convolution", IMAGES, KERNEL, groups=3),
        r"`groups` \(=3\)",
        r"image channels \(=4\): choose 1, 2 or 4",
    ),
    "groups and filters": (
        _call("convolution", IMAGES, KERNEL[:, :, :1, :5], groups=4),
        r"`groups` \(=4\)",
        r"filters \(=5\): choose 1 or 5",
    ),
    "no groups": (_call("convolution", IMAGES, KERNEL, groups=0), r"`groups` \(=0\)", "at least 1"),
    "kernel's channels": (_call("convolution", IMAGES, KERNEL[:, :, :3]), "3 channels", "4"),
    "depthwise kernel": (_call("depthwise_convolution", IMAGES, KERNEL[:, :, :, :4]), "4", "1"),
    "transposed channels": (_call("transposed_convolution", IMAGES, PASTED[:, :, :2]), "2", "4"),
    "transposed groups": (
        _call("transposed_convolution", IMAGES, PASTED, groups=3),
        r"`groups` \(=3\)",
        "image channels",
    ),
    "large kernel": (
        _call("convolution", IMAGES, np.ones((6, 3, 4, 6), np.float32)),
        r"\(=6\)",
        r"padded image \(=5\)",
    ),
    "large dilated kernel": (
        _call("convolution", IMAGES, KERNEL, dilation=3, padding=1),
        r"\(=3\)",
        r"padded image \(=6\)|padded image \(=7\)",
    ),
    "large window": (_call("max_pool", IMAGES, window=5), r"\(=5\)", r"padded image \(=4\)"),
    "padding of a window": (
        _call("average_pool", IMAGES, window=2, padding=2),
        r"`padding` \(=2\)",
        r"`window` \(=2\)",
    ),
    "reflect": (_call("pad", IMAGES, padding=4, mode="reflect"), r"\(=4\)", "at most [34].*zero"),
    "reflect in a convolution": (
        _call("convolution", IMAGES, KERNEL, padding=6, padding_mode="reflect"),
        r"`padding` \(=6\)",
        "at most 4.*reflect",
    ),
    "wrap": (_call("pad", IMAGES, padding=6, mode="wrap"), r"\(=6\)", "at most [45]"),
    "mode": (_call("pad", IMAGES, padding=1, mode="mirror"), r"`mode` \(='mirror'\)", "reflect"),
    "padding mode": (
        _call("convolution", IMAGES, KERNEL, padding_mode="same"),
        r"mode` \(='same'\)",
        "zero",
    ),
    "negative padding": (_call("pad", IMAGES, padding=-1), r"`padding` \(=-1\)", "at least 0"),
    "padding by name": (
        _call("convolution", IMAGES, KERNEL, padding="SAME"),
        "`padding`.*SAME",
        "write",
    ),
    "stride": (_call("convolution", IMAGES, KERNEL, stride=0), r"`stride` \(=0\)", "at least 1"),
    "three strides": (_call("max_pool", IMAGES, window=2, stride=(1, 2, 3)), "stride", "two|pair"),
    "half a dilation": (
        _call("convolution", IMAGES, KERNEL, dilation=1.5),
        r"`dilation` \(=1.5\)",
        "whole number",
    ),
    "bias": (_call("convolution", IMAGES, KERNEL, CHANNELS), "`bias`", r"filter.*\(6,\)"),
    "output padding": (
        _call("transposed_convolution", IMAGES, PASTED, output_padding=1),
        r"`output_padding` \(=1\)",
        "`stride`",
    ),
    "all cut off": (
        _call("transposed_convolution", IMAGES, PASTED, padding=4),
        "`padding`",
        "choose less|leave",
    ),
    "output size": (
        _call("adaptive_average_pool", IMAGES, output_size=0),
        r"`output_size` \(=0\)",
        "at least 1",
    ),
    "scale": (_call("batch_norm", IMAGES, CHANNELS[:3], CHANNELS), "`scale`", r"\(4,\)"),
    "variance": (
        _call("batch_norm_eval", IMAGES, *[CHANNELS] * 3, CHANNELS[:2]),
        r"`var` \(of shape \(2,\)\)",
        r"\(4,\)",
    ),
    "momentum": (
        _call("batch_norm_statistics", *[CHANNELS] * 4, momentum=1.5),
        r"`momentum` \(=1.5\)",
        "0 to 1",
    ),
    "one value": (
        _call("batch_norm_statistics", *[CHANNELS] * 4, count=1),
        r"`count` \(=1\)",
        "larger batch",
    ),
    "layer norm": (_call("layer_norm", IMAGES, CHANNELS, CHANNELS[:1]), "`bias`", r"\(4,\)"),
    "even window": (_call("local_response_norm", IMAGES, size=4), r"`size` \(=4\)", "odd"),
    "integers in relu": (_call("relu", np.arange(3)), "int", "float32"),
    "axis": (_call("softmax", IMAGES, axis=4), r"`axis` \(=4\)", "axes"),
}
BY_IMAGE = ("pad", "pool", "convolution")


def _sentence(call) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    assert type(caught.value) is cnn_jax.InputError
    return str(caught.value)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_layer_and_loops_say_the_same(mistake):
    (name, arrays, options), value, rule = MISTAKES[mistake]
    in_layer = _sentence(partial(getattr(layers, name), *arrays, **options))
    first, *others = arrays
    if any(word in name for word in BY_IMAGE):
        first = first[0]
    in_loops = _sentence(partial(getattr(reference, name), first, *others, **options))
    for sentence in (in_layer, in_loops):
        assert re.search(value, sentence), sentence
        assert re.search(rule, sentence), sentence
        assert "\n" not in sentence
    if "shape" not in in_layer:
        assert _in_common(in_layer) == _in_common(in_loops)


def _in_common(sentence: str) -> str:
    """Leave out what must differ: batches are plural, and JAX's integers have 32 bits.

    Neither does it matter that the loops pass a convolution's `padding_mode` on to `pad` as `mode`.
    """
    for word, common in {
        "images": "image",
        "signals": "signal",
        "int64": "int32",
        "padding_mode": "mode",
    }.items():
        sentence = sentence.replace(word, common)
    return sentence


@pytest.mark.parametrize("name", ["dropout", "channel_dropout", "drop_path"])
@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_rates(name, rate):
    call = partial(getattr(layers, name), jax.random.key(0), IMAGES, rate=rate)
    assert re.search(rf"`rate` \(={rate}\).*below 1", _sentence(call))


MODULES = {
    "groups": (layers.Conv(6, groups=3), IMAGES, r"`groups` \(=3\) must divide .* \(=4\)"),
    "too many groups": (layers.Conv(8, groups=8), IMAGES, "choose 1, 2 or 4"),
    "features": (layers.Conv(6, groups=4), IMAGES, r"filters \(=6\)"),
    "no features": (layers.Conv(0), IMAGES, r"`features` \(=0\)"),
    "kernel_size": (layers.Conv(6, kernel_size=(3, 3, 3)), IMAGES, "`kernel_size`"),
    "large kernel": (layers.Conv(6, kernel_size=7), IMAGES, r"padded image \(=5\)"),
    "integers": (layers.Conv(6), IMAGES.astype(np.uint8), "uint8"),
    "signals": (layers.Conv1d(6), IMAGES, "length"),
    "transposed": (layers.ConvTranspose(5, groups=2), IMAGES, r"filters \(=5\)"),
    "dense": (layers.Dense(0), IMAGES, r"`features` \(=0\)"),
    "dense integers": (layers.Dense(3), IMAGES.astype(int), "floats"),
    "batch norm": (layers.BatchNorm(), IMAGES.astype(np.uint8), "uint8"),
    "layer norm": (layers.LayerNorm(), IMAGES.astype(np.uint8), "uint8"),
}


@pytest.mark.parametrize("mistake", MODULES)
def test_modules_explain_before_they_draw_parameters(mistake):
    module, x, words = MODULES[mistake]
    assert re.search(words, _sentence(lambda: module.init(jax.random.key(0), x)))


def test_training_on_a_single_value_has_no_variance():
    module = layers.BatchNorm()
    variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
    call = partial(module.apply, variables, jnp.ones((1, 3)), train=True, mutable=["batch_stats"])
    assert re.search("larger batch", _sentence(call))


def test_mistakes_are_found_while_tracing_too():
    call = partial(jax.jit(partial(layers.convolution, groups=3)), IMAGES, KERNEL)
    assert re.search("choose 1, 2 or 4", _sentence(call))
