"""Every operation that both packages have: the layer, its loops, and its random cases."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from cnn_jax import layers, reference
from tests.layers import cases


class Operation(NamedTuple):
    """One row of the table.

    Attributes:
        layer: the function on batches.
        loops: the function of the reference.
        cases: random arguments.
        by_image: whether the loops take one image at a time.
    """

    layer: Callable
    loops: Callable
    cases: st.SearchStrategy[cases.Case]
    by_image: bool = True

    def expected(self, case: cases.Case):
        """Return what the loops make of a case, in float64."""
        options = {name: value for name, value in case.options.items() if name != "plain"}
        if not self.by_image:
            return self.loops(*case.arrays, **options)
        batch, *others = case.arrays
        return np.stack([self.loops(image, *others, **options) for image in batch])


def _rows(by_image: bool, **strategies: st.SearchStrategy[cases.Case]) -> dict[str, Operation]:
    return {
        name: Operation(getattr(layers, name), getattr(reference, name), strategy, by_image)
        for name, strategy in strategies.items()
    }


OPERATIONS = _rows(
    True,
    pad=cases.pads(),
    convolution=cases.convolutions(),
    true_convolution=cases.convolutions(),
    depthwise_convolution=cases.convolutions(depthwise=True),
    convolution1d=cases.convolutions(one_dimension=True),
    transposed_convolution=cases.convolutions(transposed=True),
    max_pool=cases.poolings(),
    average_pool=cases.poolings(averages=True),
    max_pool1d=cases.poolings(one_dimension=True),
    average_pool1d=cases.poolings(one_dimension=True, averages=True),
    adaptive_max_pool=cases.adaptive_poolings(),
    adaptive_average_pool=cases.adaptive_poolings(),
    global_max_pool=cases.global_poolings(),
    global_average_pool=cases.global_poolings(),
) | _rows(
    False,
    batch_norm=cases.normalizations(vectors=2),
    batch_norm_eval=cases.normalizations(vectors=4),
    batch_norm_statistics=cases.statistics(),
    layer_norm=cases.normalizations(vectors=2),
    local_response_norm=cases.responses(),
    relu=cases.numbers(),
    leaky_relu=cases.numbers(negative_slope=st.floats(0, 1)),
    elu=cases.numbers(alpha=st.floats(0.1, 3)),
    gelu=cases.numbers(approximate=st.booleans()),
    silu=cases.numbers(),
    hard_swish=cases.numbers(),
    softmax=cases.numbers(axis=st.integers(-2, 1)),
)

SLIDING = (
    "convolution",
    "true_convolution",
    "depthwise_convolution",
    "convolution1d",
    "max_pool",
    "average_pool",
    "max_pool1d",
    "average_pool1d",
)
