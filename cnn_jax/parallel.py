"""Devices: which there are, how arrays lie on them, and compilation for them."""

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def data_mesh(batch_size: int) -> Mesh:
    """Lay out this machine's devices in a line, over which batches are split.

    Args:
        batch_size: images in a batch.

    Returns:
        A mesh with one axis, "data", over as many devices as divide the batch evenly.
    """
    devices = jax.local_devices()
    count = max(n for n in range(1, len(devices) + 1) if batch_size % n == 0)
    return Mesh(np.array(devices[:count]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """Say that an array lies whole on each device of the mesh."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Say that an array's first axis is split over the devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec("data"))
