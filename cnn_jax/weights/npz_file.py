"""NumPy's `.npz`: a zip archive of arrays."""

import math
import re

import numpy as np

from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.zip_archive import Archive

# What `numpy.save` writes before an array of numbers. NumPy's own reader evaluates any literal
# there, and allocates what it announces.
_HEADER = re.compile(
    rb"\{'descr': '([<>|][fiub][1248])', 'fortran_order': (True|False), "
    rb"'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,7})\), \} *\n"
)


def read_npz(archive: Archive) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` that is keyed like a `state_dict`.

    Args:
        archive: the opened file.

    Returns:
        Name -> array, which shares the file's memory unless the archive is compressed.

    Raises:
        Malformed: a member is no array of numbers, or its size is not what its header says.
    """
    return {
        name.removesuffix(".npy"): _array(name[:100], archive.content(name))
        for name in archive.names
    }


def _array(name: str, content: memoryview) -> np.ndarray:
    magic = bytes(content[:12])
    if magic[:8] == b"\x93NUMPY\x01\x00":
        start, size = 10, int.from_bytes(magic[8:10], "little")
    elif magic[:8] == b"\x93NUMPY\x02\x00":
        start, size = 12, int.from_bytes(magic[8:12], "little")
    else:
        raise Malformed(f"its member {name} is no array of numbers")
    header = _HEADER.fullmatch(bytes(content[start : start + size]))
    if header is None:
        raise Malformed(f"its member {name} is no array of numbers")
    dtype = np.dtype(header[1].decode())
    shape = [int(length) for length in header[3].decode().split(",") if length]
    data = content[start + size :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise Malformed(f"its member {name} is torn: it is not of the size in its header")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if header[2] == b"True" else "C")
