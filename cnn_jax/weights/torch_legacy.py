"""The format of `torch.save` before PyTorch 1.6: pickles, one after another, then the storages."""

import struct
from typing import Any

import numpy as np

from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.state_dict import find_tensors
from cnn_jax.weights.tensors import Storage, allowed, call, storage
from cnn_jax.weights.unpickle import unpickle

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def read_torch_legacy(data: memoryview) -> dict[str, np.ndarray]:
    """Read the tensors of a `.pth` or `.th` that is no zip archive.

    Args:
        data: the bytes of the file.

    Returns:
        Name -> array, which shares the file's memory.

    Raises:
        Malformed: the file is torn, or its pickle holds anything but containers and tensors.
    """
    magic, position = _plain(data, 0)
    if magic != _MAGIC:
        raise Malformed("it is a pickle, but none that `torch.save` wrote")
    protocol, position = _plain(data, position)
    system, position = _plain(data, position)
    if protocol != _PROTOCOL or not isinstance(system, dict):
        raise Malformed(f"it is of a protocol of PyTorch's other than {_PROTOCOL}")
    if system.get("little_endian") is not True:
        raise Malformed("it was written on a big-endian machine")

    storages: dict[str, Storage] = {}

    def load_persistent(identifier: Any) -> Storage:
        found = storage(identifier)
        storages.setdefault(found.key, found)
        return found

    root, position = unpickle(
        data, position, allowed=allowed, call=call, load_persistent=load_persistent
    )
    keys, position = _plain(data, position)
    blocks = _blocks(data, position, keys, storages)
    return {name: tensor.view(_part(blocks, tensor.storage)) for name, tensor in find_tensors(root)}


def _plain(data: memoryview, position: int) -> tuple[Any, int]:
    """Read a pickle of numbers, texts and containers."""
    return unpickle(data, position, allowed=lambda name: False, call=call, load_persistent=storage)


def _blocks(
    data: memoryview, position: int, keys: Any, storages: dict[str, Storage]
) -> dict[str, memoryview]:
    """Find the bytes of each storage: a count (int64), then the numbers."""
    if not isinstance(keys, list) or set(map(type, keys)) - {str} or len(set(keys)) != len(keys):
        raise Malformed("its list of storages is damaged")
    blocks = {}
    for key in keys:
        if key not in storages:
            raise Malformed("it lists a storage that no tensor has")
        if position + 8 > len(data):
            raise Malformed("it is truncated: storages are missing at its end")
        (count,) = struct.unpack("<q", data[position : position + 8])
        size = count * storages[key].dtype.itemsize
        if count < 0 or position + 8 + size > len(data):
            raise Malformed(
                f"it is truncated: a storage of {count} numbers does not fit into what is left"
            )
        blocks[key] = data[position + 8 : position + 8 + size]
        position += 8 + size
    return blocks


def _part(blocks: dict[str, memoryview], wanted: Storage) -> memoryview:
    if wanted.key not in blocks:
        raise Malformed("it holds a tensor whose storage is missing")
    block, size = blocks[wanted.key], wanted.dtype.itemsize
    part = block[wanted.first * size : (wanted.first + wanted.count) * size]
    if len(part) != wanted.count * size:
        raise Malformed("it holds a storage that is shorter than announced")
    return part
