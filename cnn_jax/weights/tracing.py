"""The shapes of a model's variables, traced once for modules that are alike.

`jax.eval_shape(model.init, ...)` takes half a second for a ResNet-50, more than reading its
weights does. But blocks repeat: two modules of the same class and fields, given inputs of the same
shapes, have variables of the same shapes.
"""

from collections.abc import Hashable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from cnn_jax.layers.convolution_forms import as_compiled
from cnn_jax.weights.naming import Path

Shapes = dict[Path, tuple[int, ...]]

_COLLECTIONS = ("params", "batch_stats")


def trace_shapes(model: nn.Module, image: tuple[int, ...]) -> Shapes:
    """Trace the initialisation of a model.

    Args:
        model: the model.
        image: shape of one image [H, W, C], or of whatever the model takes.

    Returns:
        Path -> shape of every parameter and statistic, in the order of their paths.
    """
    repeats = _Repeats()
    # The forms that are fast to run take longer to trace.
    with nn.intercept_methods(repeats.intercept), as_compiled():
        images = jax.ShapeDtypeStruct((1, *image), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return dict(sorted((_flat(variables) | repeats.shapes).items()))


class _Repeats:
    """Stands in for modules that are like one that was traced.

    Attributes:
        shapes: of the variables of those modules.
    """

    def __init__(self):
        self.shapes: Shapes = {}
        self._traced: dict[Hashable, tuple[Shapes, object]] = {}

    def intercept(self, call, args, kwargs, context):
        module = context.module
        if context.method_name != "__call__" or not module.path:
            return call(*args, **kwargs)
        alike = likeness(module, args, kwargs)
        depth = len(module.path)
        if alike in self._traced:
            shapes, output = self._traced[alike]
            for (collection, *path), shape in shapes.items():
                self.shapes[(collection, *module.path, *path)] = shape
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), output)
        output = call(*args, **kwargs)
        inside = {
            (path[0], *path[1 + depth :]): shape
            for path, shape in self.shapes.items()
            if path[1 : 1 + depth] == module.path
        }
        if alike is not None and all(map(is_array, jax.tree.leaves(output))):
            specs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), output)
            self._traced[alike] = (_flat(module.variables) | inside, specs)
        return output


def likeness(module: nn.Module, args: tuple, kwargs: dict) -> Hashable | None:
    """Tell what a module's variables and its outputs in evaluation have their shapes from.

    Args:
        module: bound, in a call.
        args: of the call.
        kwargs: of the call.

    Returns:
        A key that is equal for modules that are alike; None where a field has no hash.
    """
    fields = tuple(
        (name, getattr(module, name))
        for name in module.__dataclass_fields__
        # An initializer is given its shape, and dropout has no variables; both differ from block
        # to block.
        if name not in ("name", "parent") and not name.endswith("_init") and "drop" not in name
    )
    leaves, structure = jax.tree.flatten((args, kwargs))
    inputs = tuple((leaf.shape, leaf.dtype) if is_array(leaf) else leaf for leaf in leaves)
    key = (type(module), fields, structure, inputs)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def is_array(value: object) -> bool:
    """Whether a value is an array, or stands for one in a trace."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _flat(variables) -> Shapes:
    kept = {name: variables[name] for name in _COLLECTIONS if name in variables}
    return {path: leaf.shape for path, leaf in flatten_dict(kept).items()}
