"""Mapped axes: inside `jax.pmap`, what must be the same on all devices is made so.

The name of the axis says how. `jax.pmap(step, axis_name="data")` computes what one device would:
gradients and metrics are averaged, BatchNorm sees the whole batch, and dropout draws for it.
With `axis_name="replica"` each device's BatchNorm sees its own part of the batch alone, as in many
published recipes. Under any other name, and without a map, nothing happens here; under `jax.jit`
with arrays that are sharded, XLA does it by itself.
"""

from typing import TypeVar

import jax
from jax import lax

DATA, REPLICA = "data", "replica"

Tree = TypeVar("Tree")


def is_mapped(axis_name: str) -> bool:
    """Tell whether an axis of that name is being mapped over.

    >>> is_mapped("data")
    False
    >>> jax.vmap(lambda x: x + is_mapped("data"), axis_name="data")(jax.numpy.zeros(1)).item()
    1.0
    """
    try:
        lax.axis_size(axis_name)
    except NameError:
        return False
    return True


def mapped_axis() -> str | None:
    """Name the axis that is being mapped over, "data" or "replica"; None for neither."""
    return next((name for name in (DATA, REPLICA) if is_mapped(name)), None)


def devices() -> int:
    """Count the devices that are being mapped over; 1 without a map."""
    axis = mapped_axis()
    return 1 if axis is None else lax.axis_size(axis)


def averaged_over_devices(tree: Tree) -> Tree:
    """Average arrays over the devices that are being mapped over.

    >>> mean = jax.vmap(averaged_over_devices, axis_name="data")(jax.numpy.array([1.0, 3.0]))
    >>> mean.tolist()
    [2.0, 2.0]
    """
    axis = mapped_axis()
    return tree if axis is None else lax.pmean(tree, axis)


def joined_over_devices(tree: Tree) -> Tree:
    """Join arrays [N, ...] of the devices that are being mapped over, [devices N, ...]."""
    axis = mapped_axis()
    return tree if axis is None else lax.all_gather(tree, axis, tiled=True)


def own_part(tree: Tree) -> Tree:
    """Take this device's part of arrays that are the same on all, [devices N, ...] -> [N, ...]."""
    axis = mapped_axis()
    if axis is None:
        return tree

    def part(array: jax.Array) -> jax.Array:
        count = len(array) // lax.axis_size(axis)
        return lax.dynamic_slice_in_dim(array, lax.axis_index(axis) * count, count)

    return jax.tree.map(part, tree)
