"""Which pixels of the image a position of a map depends on, operation by operation.

Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks",
equations 2-4, for every operation that a network may consist of.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Track:
    """An axis of a map that goes along an axis of the image.

    Position i depends on the pixels `jump * i + low` to `jump * i + high` and on no others; some
    of them may lie in the padding.

    Attributes:
        axis: of the map.
        jump: pixels from one position to the next.
        low: first pixel of position 0.
        high: last pixel of position 0.
    """

    axis: int
    jump: int
    low: int
    high: int

    @property
    def extent(self) -> int | None:
        """Pixels in the receptive field; None for the image itself."""
        extent = self.high - self.low + 1
        return extent if extent > 1 else None


@dataclasses.dataclass(frozen=True)
class Whole:
    """No axis of a map goes along the image's any more: everything may depend on every pixel.

    Attributes:
        extent: receptive field of the maps that were summarised; None where maps and summaries
            have been mixed, as by squeeze-and-excitation and by attention.
    """

    extent: int | None = None


Field = tuple["Track | Whole", ...] | None  # one for each axis of the image; None: no dependence


def propagate(
    primitive: str,
    params: dict,
    fields: Sequence[Field],
    shapes: Sequence[tuple[int, ...]],
    output: tuple[int, ...],
) -> Field:
    """Tell what the output of an operation depends on.

    Args:
        primitive: name of the operation.
        params: its parameters.
        fields: of its operands.
        shapes: of its operands.
        output: shape of its output.

    Returns:
        The field of the output. An operation without a rule sees everything.

    >>> image = (Track(1, 1, 0, 0), Track(2, 1, 0, 0))
    >>> params = {"start_indices": (0, 2, 0, 0), "strides": (1, 2, 2, 1)}
    >>> propagate("slice", params, [image], [(1, 9, 9, 3)], (1, 4, 5, 3))
    (Track(axis=1, jump=2, low=2, high=2), Track(axis=2, jump=2, low=0, high=0))
    """
    dependent = [field for field in fields if field is not None]
    if not dependent:
        return None
    if primitive in _PRODUCTS and len(dependent) > 1:
        return (Whole(),) * len(dependent[0])
    moved = []
    for index, field in enumerate(fields):
        if field is not None:
            rule = functools.partial(_move, primitive, params, index, shapes, output)
            moved.append([part if isinstance(part, Whole) else rule(part) for part in field])
    return tuple(functools.reduce(merge, parts) for parts in zip(*moved, strict=True))


def merge(one: Track | Whole, other: Track | Whole) -> Track | Whole:
    """Join what two operands of the same shape depend on.

    >>> merge(Track(1, 2, 0, 0), Track(1, 2, -1, 1))
    Track(axis=1, jump=2, low=-1, high=1)
    >>> merge(Track(1, 2, 0, 0), Whole(5))
    Whole(extent=None)
    """
    if isinstance(one, Whole) and isinstance(other, Whole):
        known = one.extent is not None and other.extent is not None
        return Whole(max(one.extent, other.extent)) if known else Whole()
    if isinstance(one, Whole) or isinstance(other, Whole):
        return Whole()
    if (one.axis, one.jump) != (other.axis, other.jump):
        return Whole()
    return Track(one.axis, one.jump, min(one.low, other.low), max(one.high, other.high))


def _move(primitive, params, index, shapes, output, track: Track) -> Track | Whole:
    if primitive in _ELEMENTWISE:
        return track if len(shapes[index]) == len(output) else Whole()
    if primitive in _RULES:
        return _RULES[primitive](track, params, index, shapes, output)
    return Whole()


def _slide(track: Track, axis: int, *, window=1, stride=1, before=0, dilation=1) -> Track:
    """Slide a window along a map."""
    low = track.low - track.jump * before
    high = track.high + track.jump * ((window - 1) * dilation - before)
    return Track(axis, int(track.jump * stride), int(low), int(high))


def _convolution(track, params, index, shapes, output):
    numbers = params["dimension_numbers"]
    spatial = numbers.lhs_spec[2:]
    if index or track.axis not in spatial:
        return Whole(track.extent)
    at = spatial.index(track.axis)
    if params["lhs_dilation"][at] != 1:
        return Whole()
    return _slide(
        track,
        numbers.out_spec[2 + at],
        window=shapes[1][numbers.rhs_spec[2 + at]],
        stride=params["window_strides"][at],
        before=params["padding"][at][0],
        dilation=params["rhs_dilation"][at],
    )


def _window(track, params, index, shapes, output):
    at = track.axis
    if params["base_dilation"][at] != 1:
        return Whole()
    return _slide(
        track,
        at,
        window=params["window_dimensions"][at],
        stride=params["window_strides"][at],
        before=params["padding"][at][0],
        dilation=params["window_dilation"][at],
    )


def _slice(track, params, index, shapes, output):
    strides = params["strides"] or (1,) * len(output)
    start, stride = params["start_indices"][track.axis], strides[track.axis]
    return _slide(track, track.axis, stride=stride, before=-start)


def _pad(track, params, index, shapes, output):
    before, _, between = params["padding_config"][track.axis]
    return Whole() if index or between else _slide(track, track.axis, before=before)


def _reduce(track, params, index, shapes, output):
    axes = params["axes"] if "axes" in params else params["dimensions"]
    if track.axis in axes:
        return Whole(track.extent)
    return dataclasses.replace(track, axis=track.axis - sum(axis < track.axis for axis in axes))


def _transpose(track, params, index, shapes, output):
    return dataclasses.replace(track, axis=params["permutation"].index(track.axis))


def _broadcast(track, params, index, shapes, output):
    axis = params["broadcast_dimensions"][track.axis]
    kept = shapes[index][track.axis] == output[axis]
    return dataclasses.replace(track, axis=axis) if kept else Whole()


def _along(name):
    """Make the rule of operations that cut or join maps along one axis."""

    def rule(track, params, index, shapes, output):
        return Whole() if params[name] == track.axis else track

    return rule


def _reshape(track, params, index, shapes, output):
    shape = shapes[index]
    size, before = shape[track.axis], math.prod(shape[: track.axis])
    for axis, new in enumerate(output):
        if math.prod(output[:axis]) != before or (new == 1) != (size == 1):
            continue
        if new == size:
            return dataclasses.replace(track, axis=axis)
        if new < size and size % new == 0:
            # Windows side by side: the axis of the windows goes along the image.
            return _slide(track, axis, window=size // new, stride=size // new)
    return Whole(track.extent)


def _product(track, params, index, shapes, output):
    contracted, batch = (dims[index] for dims in params["dimension_numbers"])
    if track.axis in contracted:
        return Whole(track.extent)
    if track.axis in batch:
        return dataclasses.replace(track, axis=batch.index(track.axis))
    free = [axis for axis in range(len(shapes[index])) if axis not in (*contracted, *batch)]
    others = len(shapes[0]) - len(contracted) - len(batch) if index else 0
    return dataclasses.replace(track, axis=len(batch) + others + free.index(track.axis))


_PRODUCTS = ("conv_general_dilated", "dot_general")
_RULES = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _along("dimension"),
    "conv_general_dilated": _convolution,
    "dot_general": _product,
    "pad": _pad,
    "reduce_and": _reduce,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_or": _reduce,
    "reduce_sum": _reduce,
    "reduce_window_max": _window,
    "reduce_window_min": _window,
    "reduce_window_sum": _window,
    "reshape": _reshape,
    "slice": _slice,
    "split": _along("axis"),
    "squeeze": _reduce,
    "transpose": _transpose,
}
# fmt: off
_ELEMENTWISE = frozenset((
    "abs", "add", "add_any", "and", "asinh", "atan2", "cbrt", "ceil", "clamp", "copy", "copy_p",
    "convert_element_type", "cos", "cosh", "div", "eq", "erf", "erf_inv", "erfc", "exp", "exp2",
    "expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic",
    "lt", "max", "min", "mul", "ne", "neg", "nextafter", "not", "or", "pow", "reduce_precision",
    "rem", "round", "rsqrt", "select_n", "sign", "sin", "sinh", "sqrt", "square", "stop_gradient",
    "sub", "tan", "tanh", "xor",
))
# fmt: on
