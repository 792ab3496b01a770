"""The safetensors format: a header in JSON, then the numbers.

https://github.com/huggingface/safetensors#format
"""

import json
import math
import struct

import ml_dtypes
import numpy as np

from cnn_jax.weights.malformed import Malformed

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("bool"),
}
_MAX_RANK = 8


def read_safetensors(data: memoryview) -> dict[str, np.ndarray]:
    """Read the tensors of a `.safetensors`.

    Args:
        data: the bytes of the file.

    Returns:
        Name -> array, which shares the file's memory.

    Raises:
        Malformed: the header is damaged, or the tensors do not tile the rest of the file.
    """
    if len(data) < 8:
        raise Malformed("it is truncated: its header is missing")
    (length,) = struct.unpack("<Q", data[:8])
    if length > len(data) - 8:
        raise Malformed(f"it is truncated: its header announces {length} bytes")
    header = _header(data[8 : 8 + length])
    body = data[8 + length :]
    spans, state = [], {}
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(name, entry)
        if not 0 <= begin <= end <= len(body):
            raise Malformed(f"it is truncated: `{name[:100]}` ends behind its end")
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise Malformed(f"its `{name[:100]}` is of {end - begin} bytes, which is not its shape")
        spans.append((begin, end))
        state[name] = np.frombuffer(body[begin:end], dtype).reshape(shape)
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            raise Malformed("its tensors overlap, or leave holes")
        reached = end
    if reached != len(body):
        raise Malformed(f"it has {len(body) - reached} bytes behind its last tensor")
    return state


def write_safetensors(state: dict[str, np.ndarray]) -> tuple[bytes, list[np.ndarray]]:
    """Lay out a `.safetensors`.

    Args:
        state: name -> array.

    Returns:
        The header with its length, and the arrays in the order in which they follow it.

    Raises:
        KeyError: an array is of a type that the format lacks.
    """
    names = {dtype: name for name, dtype in DTYPES.items()}
    # The widest numbers first: all are then aligned.
    order = sorted(state, key=lambda name: -state[name].dtype.itemsize)
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in order:
        array = state[name]
        header[name] = {
            "dtype": names[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, [state[name] for name in order]


def _header(text: memoryview) -> dict:
    try:
        header = json.loads(bytes(text), object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise Malformed("its header is not JSON") from error
    if not isinstance(header, dict):
        raise Malformed("its header is not a JSON object")
    header.pop("__metadata__", None)
    return header


def _without_repeats(pairs: list[tuple]) -> dict:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name appears twice")
    return result


def _entry(name: str, entry: object) -> tuple[np.dtype, list[int], int, int]:
    if not isinstance(entry, dict):
        raise Malformed(f"its header describes `{name[:100]}` by no JSON object")
    kind, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(kind, str) or kind not in DTYPES:
        raise Malformed(f"its `{name[:100]}` is of a type that no parameter has")
    if not _naturals(shape) or len(shape) > _MAX_RANK:
        raise Malformed(f"its `{name[:100]}` has no shape")
    if not _naturals(offsets) or len(offsets) != 2:
        raise Malformed(f"its `{name[:100]}` has no offsets")
    return DTYPES[kind], shape, *offsets


def _naturals(values: object) -> bool:
    return isinstance(values, list) and all(
        isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
        for value in values
    )
