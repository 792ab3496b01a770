"""Tensors as a pickle of PyTorch describes them: a storage, and a strided view of it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.unpickle import Global, checked_key

_STORAGES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("u1"),
}

# Mentioned as settings of an optimizer or beside a tensor; they stay names.
_TYPES = {
    f"torch.{name}"
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8")
}

_MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class Storage:
    """A stretch of numbers in the file.

    Attributes:
        key: its name in the file.
        dtype: type of its numbers.
        count: how many they are.
        first: where a view of a storage begins; 0 but for files of PyTorch 0.1.
    """

    key: str
    dtype: np.dtype
    count: int
    first: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A strided view of a storage, in numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: memoryview) -> np.ndarray:
        """Return the array, which shares the memory of its storage.

        Args:
            data: the bytes of the storage.

        Returns:
            The array, of the storage's type.

        Raises:
            Malformed: the view reaches outside of the storage, or is larger than it.
        """
        dtype = self.storage.dtype
        held = len(data) // dtype.itemsize
        size = math.prod(self.shape)
        last = self.offset + sum(
            (length - 1) * stride
            for length, stride in zip(self.shape, self.strides, strict=True)
            if size
        )
        if size > held or (size and last >= held) or self.offset > held:
            raise Malformed(
                f"it describes a tensor of shape {self.shape} over {held} numbers, which does not "
                "fit"
            )
        if not size:
            return np.zeros(self.shape, dtype)
        return np.ndarray(
            self.shape,
            dtype,
            buffer=data,
            offset=self.offset * dtype.itemsize,
            strides=[stride * dtype.itemsize for stride in self.strides],
        )


def allowed(name: str) -> bool:
    """Tell whether a pickle may mention a global."""
    return name in _CALLS or name in _STORAGES or name in _TYPES


def call(name: str, arguments: tuple) -> Any:
    """Return the container or the tensor that a call in a pickle stands for.

    Raises:
        Malformed: the global is not one to be called, or its arguments are not as they should be.
    """
    if name not in _CALLS:
        raise Malformed(f"its pickle calls `{name}`, which is no function")
    return _CALLS[name](*arguments[:_MAX_RANK])


def storage(identifier: Any) -> Storage:
    """Return the storage that a persistent id stands for.

    Args:
        identifier: ("storage", type, key, device, count) and, in files before PyTorch 1.6, None or
            the view (key, first, count).

    Raises:
        Malformed: it is anything else, or the storage is of a type that no parameter has.
    """
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6):
        raise Malformed("its pickle refers to something outside that is no storage")
    tag, kind, key, _, count, *view = identifier
    if tag != "storage" or not isinstance(kind, Global) or not isinstance(key, str):
        raise Malformed("its pickle refers to something outside that is no storage")
    if kind.name not in _STORAGES:
        raise Malformed(f"it holds a storage of type `{kind.name}`: floats and integers are known")
    dtype, count, first = _STORAGES[kind.name], _natural(count), 0
    if view and view[0] is not None:
        if not isinstance(view[0], tuple) or len(view[0]) != 3:
            raise Malformed("its pickle has a view of a storage that is no view")
        first, count = _natural(view[0][1]), _natural(view[0][2])
    return Storage(key, dtype, count, first)


def _rebuild(storage: Any = None, offset: Any = None, shape: Any = None, strides: Any = None, *_):
    """Stand for `torch._utils._rebuild_tensor` and its second version."""
    if not isinstance(storage, Storage):
        raise Malformed("its pickle has a tensor without a storage")
    if not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Malformed("its pickle has a tensor without a shape")
    if len(shape) != len(strides) or len(shape) > _MAX_RANK:
        raise Malformed(f"its pickle has a tensor of {len(shape)} dimensions")
    return Tensor(
        storage,
        _natural(offset),
        tuple(_natural(length) for length in shape),
        tuple(_natural(stride) for stride in strides),
    )


def _rebuild_parameter(data: Any = None, *_) -> Tensor:
    """Stand for `torch._utils._rebuild_parameter`: a tensor that is trained."""
    if not isinstance(data, Tensor):
        raise Malformed("its pickle has a parameter without a tensor")
    return data


def _ordered_dict(pairs: Any = (), *_) -> dict:
    """Stand for `collections.OrderedDict`; Python 2 gave it a list of pairs."""
    if pairs == ():
        return {}
    if not isinstance(pairs, list):
        raise Malformed("its pickle has a dictionary that is not made of pairs")
    # Moved, not copied: a file that names one list a thousand times must not multiply it.
    moved, pairs[:] = pairs[:], []
    result = {}
    for pair in moved:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Malformed("its pickle has a dictionary that is not made of pairs")
        result[checked_key(pair[0])] = pair[1]
    return result


def _size(lengths: Any = (), *_) -> tuple:
    """Stand for `torch.Size`."""
    if not isinstance(lengths, tuple | list) or len(lengths) > _MAX_RANK:
        raise Malformed("its pickle has a shape that is no list of lengths")
    return tuple(lengths)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise Malformed("its pickle has an offset, a length or a stride that is no natural number")
    return value


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
}
