"""Devices: which there are, how arrays lie on them, and compilation for them.

One training step serves all modes; what a mode is stands in `make_layout`. What they compute is
the same, but for rounding, and so a run may be continued in another, on other devices, by more or
fewer processes.

jit              XLA's partitioner: the state whole on each device, the batch split
fsdp             the same, and the state split, too: for models that fill a device
pmap             `jax.pmap` over an axis "data": averages are asked for in the code
pmap_local_norm  over an axis "replica": BatchNorm sees a device's part of the batch alone
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cnn_jax.errors import InputError, nearest
from cnn_jax.layers.mapped import DATA, REPLICA
from cnn_jax.xla_flags import compile_options

_AXES = {"pmap": DATA, "pmap_local_norm": REPLICA}
MODES = ("jit", "fsdp", *_AXES)

# Smaller arrays are not worth the messages that splitting them takes.
_LEAST_SPLIT = 256

# Dispatches after which processes know of each other's signals: they are told while the next run.
_TOLD_AFTER = 2


@dataclass(frozen=True)
class Layout:
    """How a run lies on the devices.

    Attributes:
        mesh: the devices, in a line.
        compile_step: a training step (state, batch) -> (state, metrics) -> its compiled form, with
            what it was compiled from as `__wrapped__`, for use inside of other programs; so too of
            a function of several batches, `many_steps`.
        place_batch: this process's part of the arrays [B, ...] of a training batch -> all of it on
            the devices; with `axis=1` that of several batches, [K, B, ...].
        state_shardings: the shapes of a state -> how its arrays lie on the devices.
    """

    mesh: Mesh
    compile_step: Callable[[Callable], Callable]
    place_batch: Callable[..., Any]
    state_shardings: Callable[[Any], Any]


def make_layout(batch_size: int, mode: str = "jit") -> Layout:
    """Lay a run out over the devices of all processes.

    Args:
        batch_size: images in a training batch; see `data_mesh`.
        mode: of `MODES`.

    Returns:
        The layout.

    Raises:
        InputError: there is no such mode, or as `data_mesh`.
    """
    if mode not in MODES:
        raise InputError(f"`mode` (={mode!r}) is unknown: {nearest(mode, MODES)}")
    mesh = data_mesh(batch_size)
    whole = replicated(mesh)
    if mode in _AXES and jax.process_count() > 1:
        return Layout(
            mesh,
            compile_step=partial(_over_processes, mesh=mesh, axis=_AXES[mode]),
            place_batch=partial(_stack_and_place, mesh=mesh),
            state_shardings=lambda state: whole,
        )
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
            # Every process reads the metrics.
            return jax.lax.with_sharding_constraint(step(state, batch), (shard(state), whole))

        options = compile_options(devices=mesh.size)
        return jax.jit(constrained, donate_argnums=0, compiler_options=options)

    return Layout(mesh, compile_step, partial(place, mesh=mesh), shard)


def data_mesh(batch_size: int) -> Mesh:
    """Lay the devices of all processes out in a line, over which batches are split.

    Args:
        batch_size: images in a batch.

    Returns:
        A mesh with one axis, "data". A process alone uses as many of its devices as divide the
        batch evenly; several use all of theirs, those of each one after the other.

    Raises:
        InputError: the batch cannot be divided by the devices of several processes.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    if count < len(devices) and jax.process_count() > 1:
        raise InputError(
            f"`batch_size` (={batch_size}) must be divisible by the {len(devices)} devices of the "
            f"{jax.process_count()} processes: choose "
            f"{math.ceil(batch_size / len(devices)) * len(devices)}"
        )
    return Mesh(np.array(devices[:count]), (DATA,))


def place(batch: Any, *, mesh: Mesh, axis: int = 0) -> Any:
    """Bring a batch to the devices.

    Args:
        batch: arrays [N, ...], this process's part.
        mesh: the devices.
        axis: which one counts the images: 1 for several batches, [K, N, ...].

    Returns:
        Arrays of all parts, one after the other, split over the devices.
    """
    where = split(mesh, axis=axis)
    if jax.process_count() == 1:
        return jax.device_put(batch, where)
    return jax.tree.map(partial(jax.make_array_from_process_local_data, where), batch)


def make_agreement(mesh: Mesh) -> Callable[..., tuple[int, ...]]:
    """Make what the processes tell each other in every step, without waiting for it.

    Args:
        mesh: the devices of all processes.

    Returns:
        (whole numbers) -> the highest that any process gave, each. Of several processes it tells
        what they gave two calls before, zeros at first, the same in all; alone, what is given.

    >>> make_agreement(data_mesh(1))(3, False)
    (3, False)
    """
    if jax.process_count() == 1:
        return lambda *values: values
    highest = jax.jit(lambda values: values.max(axis=0), out_shardings=replicated(mesh))
    told: deque[jax.Array] = deque()

    def agree(*values: int) -> tuple[int, ...]:
        rows = np.tile(np.int32(values), (len(mesh.local_devices), 1))
        told.append(highest(place(rows, mesh=mesh)))
        if len(told) <= _TOLD_AFTER:
            return (0,) * len(values)
        return tuple(np.asarray(told.popleft()).tolist())

    return agree


def on_hosts(tree: Any) -> Any:
    """Bring arrays that lie over several processes to each of them, whole.

    Args:
        tree: of arrays.

    Returns:
        The same for a single process, else a tree of NumPy arrays.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.process_allgather(tree, tiled=True)


def replicated(mesh: Mesh) -> NamedSharding:
    """Say that an array lies whole on each device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
    """Say that an axis of an array is split over the devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, DATA))


def _fully_sharded(state: Any, *, mesh: Mesh) -> Any:
    """Split each large array along its longest axis that the devices divide evenly."""

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % mesh.size == 0]
        if not axes or leaf.size < _LEAST_SPLIT:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, DATA))

    return jax.tree.map(sharding, state)


def _over_processes(step: Callable, *, mesh: Mesh, axis: str) -> Callable:
    """Compile what pmap would: its own results would be each process's, no arrays of them all."""
    mesh = Mesh(mesh.devices, (axis,))

    def own_step(state: Any, stacked: Any):
        return step(state, jax.tree.map(lambda array: array[0], stacked))

    mapped = jax.shard_map(
        own_step,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(axis)),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    return jax.jit(mapped, donate_argnums=0, compiler_options=compile_options(devices=mesh.size))


def _stack_and_place(batch: Any, *, mesh: Mesh, axis: int = 0) -> Any:
    """Bring arrays with images along an axis to [devices, ...], as many of them on each device."""
    devices = len(mesh.local_devices)

    def stacked(array: Any) -> Any:
        before, after = array.shape[:axis], array.shape[axis + 1 :]
        apart = array.reshape(*before, devices, array.shape[axis] // devices, *after)
        return apart.swapaxes(0, axis)

    return place(jax.tree.map(stacked, batch), mesh=mesh)
