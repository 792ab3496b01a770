"""Devices: which there are, how arrays lie on them, and compilation for them.

One training step serves all modes; what a mode is stands in `make_layout`. What they compute is
the same, but for rounding, and so a run may be continued in another.

jit              XLA's partitioner: the state whole on each device, the batch split
fsdp             the same, and the state split, too: for models that fill a device
pmap             `jax.pmap` over an axis "data": averages are asked for in the code
pmap_local_norm  over an axis "replica": BatchNorm sees a device's part of the batch alone
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.errors import InputError, nearest
from cnn_jax.layers.mapped import DATA, REPLICA

_AXES = {"pmap": DATA, "pmap_local_norm": REPLICA}
MODES = ("jit", "fsdp", *_AXES)

# Smaller arrays are not worth the messages that splitting them takes.
_LEAST_SPLIT = 256


@dataclass(frozen=True)
class Layout:
    """How a run lies on the devices.

    Attributes:
        mesh: the devices, in a line.
        compile_step: a training step (state, batch) -> (state, metrics) -> its compiled form.
        place_batch: arrays [B, ...] of a training batch -> the same on the devices.
        state_shardings: the shapes of a state -> how its arrays lie on the devices.
    """

    mesh: Mesh
    compile_step: Callable[[Callable], Callable]
    place_batch: Callable[[Any], Any]
    state_shardings: Callable[[Any], Any]


def make_layout(batch_size: int, mode: str = "jit") -> Layout:
    """Lay a run out over this machine's devices.

    Args:
        batch_size: images in a training batch; as many devices are used as divide it evenly.
        mode: of `MODES`.

    Returns:
        The layout.

    Raises:
        InputError: there is no such mode.
    """
    if mode not in MODES:
        raise InputError(f"`mode` (={mode!r}) is unknown: {nearest(mode, MODES)}")
    mesh = data_mesh(batch_size)
    whole, parts = replicated(mesh), split(mesh)
    if mode in _AXES:
        return Layout(
            mesh,
            compile_step=partial(
                jax.pmap,
                axis_name=_AXES[mode],
                in_axes=(None, 0),
                out_axes=None,
                donate_argnums=0,
                devices=mesh.devices.tolist(),
            ),
            place_batch=partial(_stack_and_place, mesh=mesh),
            state_shardings=lambda state: whole,
        )
    shard = partial(_fully_sharded, mesh=mesh) if mode == "fsdp" else lambda state: whole

    def compile_step(step: Callable) -> Callable:
        def constrained(state: Any, batch: Any):
            after, metrics = step(state, batch)
            return jax.lax.with_sharding_constraint(after, shard(after)), metrics

        return jax.jit(constrained, donate_argnums=0)

    return Layout(mesh, compile_step, partial(jax.device_put, device=parts), shard)


def data_mesh(batch_size: int) -> Mesh:
    """Lay out this machine's devices in a line, over which batches are split.

    Args:
        batch_size: images in a batch.

    Returns:
        A mesh with one axis, "data", over as many devices as divide the batch evenly.
    """
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return Mesh(np.array(devices[:count]), (DATA,))


def replicated(mesh: Mesh) -> NamedSharding:
    """Say that an array lies whole on each device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Say that an array's first axis is split over the devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(DATA))


def _fully_sharded(state: Any, *, mesh: Mesh) -> Any:
    """Split each large array along its longest axis that the devices divide evenly."""

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if not axes or leaf.size < _LEAST_SPLIT:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, DATA))

    return jax.tree.map(sharding, state)


def _stack_and_place(batch: Any, *, mesh: Mesh) -> Any:
    """Bring arrays [B, ...] to [devices, B / devices, ...], a row on each device."""

    def stacked(array: Any) -> Any:
        return array.reshape(mesh.size, len(array) // mesh.size, *array.shape[1:])

    return jax.device_put(jax.tree.map(stacked, batch), split(mesh))
