"""The format of `torch.save` since PyTorch 1.6: a zip archive of a pickle and its storages."""

import numpy as np

from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.state_dict import find_tensors
from cnn_jax.weights.tensors import Storage, allowed, call, storage
from cnn_jax.weights.unpickle import unpickle
from cnn_jax.weights.zip_archive import Archive


def read_torch_zip(archive: Archive) -> dict[str, np.ndarray]:
    """Read the tensors of a `.pth`, `.pt` or `.bin`.

    Args:
        archive: the opened file; one of its members ends in `/data.pkl`.

    Returns:
        Name -> array, which shares the file's memory.

    Raises:
        Malformed: the file is torn, or its pickle holds anything but containers and tensors.
    """
    pickles = [name for name in archive.names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Malformed(f"it holds {len(pickles)} pickles, and a file of `torch.save` one")
    folder = pickles[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.names and bytes(archive.stored(order)) != b"little":
        raise Malformed("it was written on a big-endian machine")
    if any(name.startswith(f"{folder}code/") for name in archive.names):
        raise Malformed("it is a TorchScript program, not a state_dict")

    pickle = archive.stored(pickles[0])
    root, _ = unpickle(pickle, 0, allowed=allowed, call=call, load_persistent=storage)
    blocks: dict[str, memoryview] = {}

    def block(wanted: Storage) -> memoryview:
        if wanted.key not in blocks:
            blocks[wanted.key] = archive.stored(f"{folder}data/{wanted.key}")
        size = wanted.dtype.itemsize
        part = blocks[wanted.key][wanted.first * size : (wanted.first + wanted.count) * size]
        if len(part) != wanted.count * size:
            raise Malformed("it holds a storage that is shorter than announced")
        return part

    return {name: tensor.view(block(tensor.storage)) for name, tensor in find_tensors(root)}
