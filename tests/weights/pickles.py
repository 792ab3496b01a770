"""Pickles put together by hand, as a writer of malicious files would."""

import io
import pickle
import struct
import zipfile

import numpy as np

LEGACY_MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


def legacy_file(body: bytes, storages: bytes = b"") -> bytes:
    """Put a pickle into PyTorch's legacy format."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    keys = b"" if storages else pickle.dumps([], protocol=2)
    return LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps(system, 2) + body + keys + storages


def zip_file(body: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """Put a pickle into PyTorch's zip format."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", body)
        archive.writestr("archive/byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return buffer.getvalue()


def text(value: str) -> bytes:
    """BINUNICODE."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    """LONG1."""
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def tensor(key, offset, shape, strides, *, count, kind="FloatStorage", rebuild=None) -> bytes:
    """The pickle of one tensor, of which nothing need be true."""
    rebuild = rebuild or b"ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n" + text(key)
    storage += text("cpu") + integer(count) + b"tQ"
    lengths = (b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (shape, strides))
    return rebuild + b"(" + storage + integer(offset) + b"".join(lengths) + b"\x89)tR"


def dictionary(**entries: bytes) -> bytes:
    """A pickled dictionary of pickled values."""
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"\x80\x02}(" + items + b"u."


def floats(count: int) -> bytes:
    """The bytes of 0.0, 1.0, 2.0, ..."""
    return np.arange(count, dtype="<f4").tobytes()
