"""One call of every public function, small enough to take derivatives of by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_jax import layers


class Example(NamedTuple):
    """A call whose arrays are all floats; a key, where there is one, is already in the function.

    Attributes:
        function: the layer with its options.
        arrays: positional arguments, float32.
    """

    function: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]


def _array(*shape: int, seed: int = 0) -> np.ndarray:
    """Return numbers from -2 to 2, no two near to each other and none near a kink at 0 or 3."""
    count = int(np.prod(shape))
    steps = np.random.default_rng(seed).permutation(count)
    return ((steps + 0.5) / count * 4 - 2).reshape(shape).astype(np.float32)


IMAGES = _array(2, 5, 4, 4)
SIGNALS = _array(2, 7, 4)
SCALE, BIAS, MEAN = (_array(4, seed=seed) for seed in (1, 2, 3))
VARIANCE = np.square(_array(4, seed=4)) + np.float32(0.5)
WINDOW = {"window": (3, 2), "stride": (2, 1), "padding": ((1, 0), (0, 1)), "ceil_mode": True}
SPREAD = {"stride": (2, 1), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}


def _example(name: str, *arrays: np.ndarray, **options) -> Example:
    return Example(partial(getattr(layers, name), **options), arrays)


def _random(name: str) -> Example:
    return Example(partial(getattr(layers, name), jax.random.key(0), rate=0.5), (IMAGES,))


EXAMPLES = {
    "pad": _example("pad", IMAGES, padding=((1, 2), (0, 3)), mode="reflect"),
    "convolution": _example(
        "convolution", IMAGES, _array(3, 2, 2, 6), _array(6), groups=2, **SPREAD
    ),
    "true_convolution": _example("true_convolution", IMAGES, _array(2, 2, 4, 3), **SPREAD),
    "depthwise_convolution": _example(
        "depthwise_convolution", IMAGES, _array(3, 2, 1, 8), padding_mode="wrap", **SPREAD
    ),
    "convolution1d": _example(
        "convolution1d", SIGNALS, _array(3, 2, 6), stride=2, padding=(1, 2), dilation=2, groups=2
    ),
    "transposed_convolution": _example(
        "transposed_convolution", IMAGES, _array(3, 2, 4, 3), _array(6), groups=2, **SPREAD
    ),
    "max_pool": _example("max_pool", IMAGES, **WINDOW),
    "average_pool": _example("average_pool", IMAGES, count_include_pad=False, **WINDOW),
    "max_pool1d": _example("max_pool1d", SIGNALS, window=3, stride=2, padding=1),
    "average_pool1d": _example("average_pool1d", SIGNALS, window=3, stride=2, padding=1),
    "adaptive_max_pool": _example("adaptive_max_pool", IMAGES, output_size=(3, 2)),
    "adaptive_average_pool": _example("adaptive_average_pool", IMAGES, output_size=(3, 2)),
    "global_max_pool": _example("global_max_pool", IMAGES),
    "global_average_pool": _example("global_average_pool", IMAGES),
    "batch_norm": _example("batch_norm", IMAGES, SCALE, BIAS),
    "batch_norm_eval": _example("batch_norm_eval", IMAGES, SCALE, BIAS, MEAN, VARIANCE),
    "batch_norm_statistics": _example(
        "batch_norm_statistics", MEAN, VARIANCE, BIAS, VARIANCE, count=8
    ),
    "layer_norm": _example("layer_norm", IMAGES, SCALE, BIAS),
    "local_response_norm": _example("local_response_norm", IMAGES, size=3, alpha=0.1),
    "relu": _example("relu", IMAGES),
    "relu6": _example("relu6", IMAGES),
    "leaky_relu": _example("leaky_relu", IMAGES),
    "elu": _example("elu", IMAGES),
    "gelu": _example("gelu", IMAGES),
    "sigmoid": _example("sigmoid", IMAGES),
    "hard_sigmoid": _example("hard_sigmoid", IMAGES),
    "silu": _example("silu", IMAGES),
    "hard_swish": _example("hard_swish", IMAGES),
    "softmax": _example("softmax", IMAGES),
    "dropout": _random("dropout"),
    "channel_dropout": _random("channel_dropout"),
    "drop_path": _random("drop_path"),
}
