"""A program run on shapes instead of numbers, and what is counted on the way."""

import dataclasses
import math
from collections import ChainMap
from collections.abc import Mapping, Sequence

from jax.extend.core import Jaxpr, Literal

from cnn_jax import layers
from cnn_jax.inspect.program import EDGE, Program
from cnn_jax.inspect.receptive_field import Field, Track, propagate

Path = tuple[str, ...]

# Counted by their kernels, since a backend may compute them in another way.
_WITH_KERNEL = (layers.Conv, layers.Conv1d, layers.ConvTranspose, layers.Dense)


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array without its numbers; two of the same shape are two arrays.

    Attributes:
        shape: with the batch of 1.
        bytes: of its numbers.
        field: what it depends on.
    """

    shape: tuple[int, ...]
    bytes: int
    field: Field = None

    @property
    def receptive_field(self) -> tuple[int, ...] | None:
        """Pixels along each axis of the image; None where it is not defined.

        Of numbers that summarise maps, that of a position of those maps.
        """
        extents = tuple(part.extent for part in self.field or ())
        return extents if extents and None not in extents else None

    @property
    def is_map(self) -> bool:
        """Whether its positions are places in the image."""
        return bool(self.field) and all(isinstance(part, Track) for part in self.field)


@dataclasses.dataclass
class Counts:
    """What is counted for a module itself, without the modules in it.

    Attributes:
        kind: name of its class.
        output: what it returned last.
        macs: multiply-adds.
        activations: numbers that its convolutions, dense layers and products put out.
    """

    kind: str
    output: Value | None = None
    macs: int = 0
    activations: int = 0


class Execution:
    """One run of a program.

    Attributes:
        modules: path -> counts, in the order in which modules end.
        outputs: of the model.
        kept: every array that a module was given, and every one that a layer with a kernel
            returned: what the backward pass needs.
        most_bytes: in use at a time: what a module without others in it is given and returns, and
            what the modules around it were given.
    """

    def __init__(self, program: Program):
        self.modules: dict[Path, Counts] = {}
        self.kept: set[Value] = set()
        self.most_bytes = 0
        self._program = program
        self._around: list[tuple[Path, list[Value]]] = []
        # Call -> where its equations start and what the variables are there, to run them again.
        self._starts: dict[int, tuple[Sequence, int, Mapping]] = {}
        self._counted_by_kernel = 0
        jaxpr = program.jaxpr.jaxpr
        inputs = [_value(variable.aval) for variable in jaxpr.invars]
        axes = range(1, len(inputs[0].shape) - 1)
        field = tuple(Track(axis, 1, 0, 0) for axis in axes)
        inputs[0] = dataclasses.replace(inputs[0], field=field)
        self.outputs = self._run_jaxpr(jaxpr, inputs, ((), ()))

    def _run_jaxpr(self, jaxpr: Jaxpr, inputs: list[Value], moved: tuple[Path, Path]):
        values = {variable: _value(variable.aval) for variable in jaxpr.constvars}
        values |= dict(zip(jaxpr.invars, inputs, strict=True))
        self._run(jaxpr.eqns, 0, values, moved)
        return [_read(values, variable) for variable in jaxpr.outvars]

    def _run(self, equations: Sequence, start: int, values, moved, until: int | None = None):
        """Run equations to their end, or to the one where the call `until` ends.

        `moved` is the path of the module that the equations were traced in, and the path of the
        one that they are now run for.
        """
        for index in range(start, len(equations)):
            equation = equations[index]
            inputs = [_read(values, variable) for variable in equation.invars]
            if equation.primitive is not EDGE:
                outputs = self._operate(equation, inputs, moved)
            else:
                edge = equation.params
                if edge["border"] == "enter":
                    self._starts[edge["call"]] = equations, index, values
                outputs = self._cross(equation, inputs, moved)
                if (edge["border"], edge["call"]) == ("leave", until):
                    return outputs
            values.update(zip(equation.outvars, outputs, strict=True))
        return []

    def _operate(self, equation, inputs: list[Value], moved) -> list[Value]:
        inner = [
            getattr(value, "jaxpr", value)
            for name, value in equation.params.items()
            if name in ("jaxpr", "call_jaxpr")
        ]
        if inner and len(inner[0].invars) == len(inputs):
            return self._run_jaxpr(inner[0], inputs, moved)
        shapes = [value.shape for value in inputs]
        fields = [value.field for value in inputs]
        outputs = []
        for variable in equation.outvars:
            value = _value(variable.aval)
            field = propagate(equation.primitive.name, equation.params, fields, shapes, value.shape)
            outputs.append(dataclasses.replace(value, field=field))
        macs = _macs(equation, shapes, outputs[0].shape)
        if macs and not self._counted_by_kernel:
            counts = self.modules.setdefault(self._around[-1][0], Counts(""))
            counts.macs += macs
            counts.activations += math.prod(outputs[0].shape)
        return outputs

    def _cross(self, equation, inputs: list[Value], moved) -> list[Value]:
        edge = equation.params
        call = self._program.calls[edge["call"]]
        path = moved[1] + call.path[len(moved[0]) :]
        if edge["border"] == "enter":
            return self._enter(call, path, inputs)
        if edge["border"] == "leave":
            return self._leave(call, path, inputs)
        original = edge["original"]
        equations, start, values = self._starts[original]
        borders = equations[start]
        entered = self._enter(call, path, inputs)
        again = ChainMap(dict(zip(borders.outvars, entered, strict=True)), values)
        moved = self._program.calls[original].path, path
        return self._run(equations, start + 1, again, moved, until=original)

    def _enter(self, call, path: Path, inputs: list[Value]) -> list[Value]:
        self._around.append((path, inputs))
        self._counted_by_kernel += issubclass(call.kind, _WITH_KERNEL)
        self.kept.update(inputs)
        return inputs

    def _leave(self, call, path: Path, outputs: list[Value]) -> list[Value]:
        held = {value for _, inputs in self._around for value in inputs}
        self.most_bytes = max(self.most_bytes, sum(value.bytes for value in held | set(outputs)))
        _, inputs = self._around.pop()
        counts = self.modules.pop(path, Counts(""))
        counts.kind = call.kind.__name__
        counts.output = outputs[0] if outputs else None
        self.modules[path] = counts
        if not issubclass(call.kind, _WITH_KERNEL):
            return outputs
        self._counted_by_kernel -= 1
        kernel = math.prod(self._program.shapes["params", *path, "kernel"])
        transposed = issubclass(call.kind, layers.ConvTranspose)
        positions = math.prod((inputs if transposed else outputs)[0].shape[:-1])
        counts.macs += positions * kernel
        counts.activations += math.prod(outputs[0].shape)
        self.kept.update(outputs)
        return outputs


def _macs(equation, shapes, output: tuple[int, ...]) -> int:
    """Multiply-adds of an operation."""
    params = equation.params
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return math.prod(output) * math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        features = shapes[1][params["dimension_numbers"].rhs_spec[0]]
        return math.prod(output) * math.prod(shapes[1]) // features
    return 0


def _value(aval) -> Value:
    return Value(tuple(aval.shape), math.prod(aval.shape) * aval.dtype.itemsize)


def _read(values, variable) -> Value:
    return _value(variable.aval) if isinstance(variable, Literal) else values[variable]
