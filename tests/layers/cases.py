"""Random cases: for each operation, arrays and options that fit together."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from hypothesis import strategies as st

MODES = ("zero", "reflect", "edge", "wrap")

# Programs of a random shape run once, so compiling them is what takes the time.
hasty_jit = partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
)


class Case(NamedTuple):
    """Arguments of one call; the first array is a batch.

    Attributes:
        arrays: positional arguments, float32 or None.
        options: keyword arguments.
    """

    arrays: tuple[np.ndarray | None, ...]
    options: dict[str, Any]


class Axis(NamedTuple):
    """One direction of a sliding window: it fits in the padded image."""

    size: int
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]


def few(least: int, most: int) -> st.SearchStrategy[int]:
    return st.integers(least, most)


def normal(draw, *shape: int) -> np.ndarray:
    """Draw an array by its seed: a search value by value would find nothing more, slowly."""
    return np.random.default_rng(draw(few(0, 2**32 - 1))).normal(size=shape).astype(np.float32)


def distinct(draw, *shape: int) -> np.ndarray:
    """Draw values of which no two are equal or near: a maximum has one place and a slope there."""
    rng = np.random.default_rng(draw(few(0, 2**32 - 1)))
    return (rng.permutation(np.prod(shape)).reshape(shape) / 8 - 2).astype(np.float32)


@st.composite
def axes(
    draw,
    *,
    mode: str = "zero",
    dilated: bool = True,
    pooling: bool = False,
    ceil_mode: bool = False,
) -> Axis:
    kernel, stride = draw(few(1, 4)), draw(few(1, 3))
    dilation = draw(few(1, 3)) if dilated else 1
    most = min(2, kernel - 1) if pooling else 3
    padding = draw(few(0, most)), draw(few(0, most))
    covered = dilation * (kernel - 1) + 1
    least = {"reflect": max(padding) + 1, "wrap": max(padding)}.get(mode, 1)
    beyond = stride - 1 if ceil_mode else 0
    size = max(least, covered - beyond - sum(padding), 1) + draw(few(0, 5))
    return Axis(size, kernel, stride, dilation, padding)


def in_short(value):
    """Spell an option in its shortest form: 1 for (1, 1), 2 for ((2, 2), (2, 2))."""
    if isinstance(value, tuple):
        parts = [in_short(part) for part in value]
        if parts[0] == parts[1] and not isinstance(parts[0], tuple):
            return parts[0]
    return value


@st.composite
def convolutions(
    draw, *, depthwise=False, one_dimension=False, transposed=False, plain=True, linear=False
) -> Case:
    """Images or signals, a kernel, sometimes a bias, and every option of a convolution."""
    mode = "zero" if transposed else draw(st.sampled_from(MODES))
    down, across = draw(axes(mode=mode)), draw(axes(mode=mode))
    both = (across,) if one_dimension else (down, across)
    groups, seen, written = draw(few(1, 3)), draw(few(1, 3)), draw(few(1, 3))
    seen = 1 if depthwise else seen
    spread = [axis.kernel for axis in both]
    options = {
        "stride": tuple(axis.stride for axis in both),
        "padding": tuple(axis.padding for axis in both),
        "dilation": tuple(axis.dilation for axis in both),
    }
    if transposed:
        kernel = normal(draw, *spread, groups * seen, written)
        options |= _transposed_options(draw, both)
    else:
        kernel = normal(draw, *spread, seen, groups * written)
        options["padding_mode"] = mode
    options = {
        name: (value if len(both) == 2 else value[0]) if isinstance(value, tuple) else value
        for name, value in options.items()
    }
    if draw(st.booleans()) and not one_dimension:
        options = {name: in_short(value) for name, value in options.items()}
    if not depthwise:
        options["groups"] = groups
    if plain and not transposed:
        options["plain"] = draw(st.booleans())
    images = normal(draw, draw(few(1, 2)), *(axis.size for axis in both), groups * seen)
    bias = None if linear or draw(st.booleans()) else normal(draw, groups * written)
    return Case((images, kernel, bias), options)


def _transposed_options(draw, both: tuple[Axis, ...]) -> dict[str, Any]:
    """Padding that leaves a pixel or more, and output padding below stride or dilation."""
    extras, pads = [], []
    for axis in both:
        extras.append(draw(few(0, max(axis.stride, axis.dilation) - 1)))
        full = (axis.size - 1) * axis.stride + axis.dilation * (axis.kernel - 1) + 1 + extras[-1]
        before = min(axis.padding[0], full - 1)
        pads.append((before, min(axis.padding[1], full - 1 - before)))
    return {"output_padding": tuple(extras), "padding": tuple(pads)}


@st.composite
def pads(draw) -> Case:
    mode = draw(st.sampled_from(MODES))
    down, across = draw(axes(mode=mode)), draw(axes(mode=mode))
    images = normal(draw, draw(few(1, 2)), down.size, across.size, draw(few(1, 3)))
    return Case((images,), {"padding": (down.padding, across.padding), "mode": mode})


@st.composite
def poolings(draw, *, one_dimension=False, averages=False) -> Case:
    """Images or signals without ties, and every option of a pooling."""
    ceil_mode = draw(st.booleans())
    windows = axes(dilated=False, pooling=True, ceil_mode=ceil_mode)
    down, across = draw(windows), draw(windows)
    both = (across,) if one_dimension else (down, across)
    options = {
        "window": tuple(axis.kernel for axis in both),
        "stride": tuple(axis.stride for axis in both),
        "padding": tuple(axis.padding for axis in both),
    }
    if one_dimension:
        options = {name: value[0] for name, value in options.items()}
    elif draw(st.booleans()):
        options = {name: in_short(value) for name, value in options.items()}
    # A third of the windows lie side by side, as by default.
    if draw(few(0, 2)) == 0:
        del options["stride"]
    options |= {"ceil_mode": ceil_mode, "plain": draw(st.booleans())}
    if averages:
        options["count_include_pad"] = draw(st.booleans())
    sizes = [axis.size for axis in both]
    return Case((distinct(draw, draw(few(1, 2)), *sizes, draw(few(1, 3))),), options)


@st.composite
def adaptive_poolings(draw) -> Case:
    sizes = draw(few(1, 9)), draw(few(1, 9))
    images = distinct(draw, draw(few(1, 2)), *sizes, draw(few(1, 2)))
    return Case((images,), {"output_size": in_short((draw(few(1, 6)), draw(few(1, 6))))})


@st.composite
def global_poolings(draw) -> Case:
    return Case((distinct(draw, *(draw(few(1, 4)) for _ in range(4))),), {})


@st.composite
def normalizations(draw, *, vectors: int) -> Case:
    """Values [..., C] of some mean and spread; scale and bias, mean and positive variance."""
    shape = draw(st.sampled_from([(8, 3), (2, 3, 2, 5), (2, 3, 4)]))
    x = normal(draw, *shape) * draw(few(1, 9)) + draw(few(-9, 9))
    others = [normal(draw, shape[-1]) for _ in range(vectors)]
    others[3:4] = [np.square(variance) for variance in others[3:4]]
    return Case((x, *others), {"epsilon": draw(st.sampled_from([1e-6, 1e-5, 1e-3, 0.1]))})


@st.composite
def statistics(draw) -> Case:
    return Case(
        tuple(np.square(normal(draw, 3)) for _ in range(4)),
        {
            "momentum": draw(st.floats(0, 1)),
            "count": draw(st.none() | few(2, 100)),
        },
    )


@st.composite
def responses(draw) -> Case:
    shape = draw(st.sampled_from([(2, 3, 2, 7), (2, 4)]))
    options = {
        "size": 2 * draw(few(0, 4)) + 1,
        "alpha": draw(st.floats(1e-4, 2)),
        "beta": draw(st.floats(0.1, 1)),
        "k": draw(st.floats(0.5, 3)),
    }
    return Case((normal(draw, *shape) * 3,), options)


@st.composite
def numbers(draw, **options: st.SearchStrategy) -> Case:
    """Values from tiny to large of both signs, zero among them."""
    x = normal(draw, 4, 5) * draw(st.sampled_from([0.01, 1, 5, 100]))
    x[0, 0] = 0
    return Case((x,), {name: draw(option) for name, option in options.items()})
