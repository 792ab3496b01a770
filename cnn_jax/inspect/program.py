"""A model as a program of few equations: modules that are alike are traced once.

Tracing a network takes a second for each thousand operations, and most of its blocks repeat.
"""

import dataclasses
from collections.abc import Callable, Hashable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from jax.extend.core import ClosedJaxpr, Primitive

from cnn_jax.layers.convolution_forms import as_compiled
from cnn_jax.weights.shapes import variable_shapes
from cnn_jax.weights.tracing import Shapes, is_array, likeness

# Stands at the borders of modules: passes its operands on ("enter", "leave"), or stands for a
# module that is like an earlier one ("repeat").
EDGE = Primitive("module_edge")
EDGE.multiple_results = True
EDGE.def_abstract_eval(lambda *operands, outputs, **edge: list(outputs))


@dataclasses.dataclass(frozen=True)
class Call:
    """A call of a module.

    Attributes:
        path: names from the model to the module; empty for the model itself.
        kind: its class.
    """

    path: tuple[str, ...]
    kind: type[nn.Module]


@dataclasses.dataclass(frozen=True)
class Program:
    """What a model does in evaluation.

    Attributes:
        jaxpr: the equations. `EDGE` has the parameters `border` ("enter", "leave" or "repeat"),
            `call` (an index of `calls`) and, in repeats, `original` (the index of the call that
            it is like).
        calls: in the order of their first edges.
        shapes: path -> shape of the parameters and statistics.
    """

    jaxpr: ClosedJaxpr
    calls: tuple[Call, ...]
    shapes: Shapes


def trace(model: nn.Module, image: tuple[int, ...], *, function: Callable | None = None) -> Program:
    """Trace a model on one image, without computing anything.

    Args:
        model: the model.
        image: shape of the image [H, W, C], or of whatever the model takes.
        function: (variables, images) -> what is looked at, by calls of the model; None for
            `model.apply`.

    Returns:
        The program; its first argument is the image [1, *image], the others are the variables.
    """
    shapes = variable_shapes(model, image)
    variables = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
    recorder, function = _Recorder(), function or model.apply
    with nn.intercept_methods(recorder.intercept), as_compiled():
        jaxpr = jax.make_jaxpr(lambda images, variables: function(variables, images))(
            images, unflatten_dict(variables)
        )
    return Program(jaxpr, tuple(recorder.calls), shapes)


class _Recorder:
    """Draws edges around the modules that are called.

    Attributes:
        calls: so far.
    """

    def __init__(self):
        self.calls: list[Call] = []
        self._traced: dict[Hashable, tuple[int, list, object]] = {}

    def intercept(self, call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        alike = likeness(module, args, kwargs)
        index = len(self.calls)
        self.calls.append(Call(module.path, type(module)))
        leaves, structure = jax.tree.flatten((args, kwargs))
        if alike in self._traced:
            original, specs, output_structure = self._traced[alike]
            arrays = [leaf for leaf in leaves if is_array(leaf)]
            edge = {"border": "repeat", "call": index, "original": original}
            outputs = EDGE.bind(*arrays, outputs=tuple(specs), **edge)
            return jax.tree.unflatten(output_structure, outputs)
        args, kwargs = jax.tree.unflatten(structure, _pass(leaves, border="enter", call=index))
        outputs, output_structure = jax.tree.flatten(call(*args, **kwargs))
        outputs = _pass(outputs, border="leave", call=index)
        if alike is not None and all(map(is_array, outputs)):
            self._traced[alike] = (
                index,
                [jax.typeof(output) for output in outputs],
                output_structure,
            )
        return jax.tree.unflatten(output_structure, outputs)


def _pass(leaves: list, **edge) -> list:
    """Send the arrays among some values through an edge."""
    arrays = [leaf for leaf in leaves if is_array(leaf)]
    specs = tuple(jax.typeof(array) for array in arrays)
    passed = iter(EDGE.bind(*arrays, outputs=specs, **edge))
    return [next(passed) if is_array(leaf) else leaf for leaf in leaves]
