"""A file of weights, whatever its format: told by its first bytes, never by its name."""

import mmap
from pathlib import Path

import numpy as np

from cnn_jax.errors import InputError
from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.npz_file import read_npz
from cnn_jax.weights.safetensors_file import read_safetensors
from cnn_jax.weights.torch_legacy import read_torch_legacy
from cnn_jax.weights.torch_zip import read_torch_zip
from cnn_jax.weights.zip_archive import Archive

# What people take for weights, by its first bytes.
_STRANGERS = (
    (b"<", "a web page: the download gave a login or an error page"),
    (b"version https://git-lfs", "a pointer of Git LFS: the file itself was not fetched"),
    (b"\x89HDF", "an HDF5 file, as Keras writes"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it"),
)


def read_file(path: Path) -> dict[str, np.ndarray]:
    """Read the `state_dict` in a file.

    No tensor is copied or allocated: beyond the file itself, which is mapped, reading takes at
    most 200 bytes for each byte of a pickle, a zip directory or a JSON header; only a compressed
    `.npz` is unpacked, to at most 100 times its size.

    Args:
        path: `.safetensors`, PyTorch's `.pth`, `.pt`, `.bin` or `.th` of any age, or `.npz` keyed
            like a `state_dict`.

    Returns:
        Name -> array in PyTorch's layout, read-only views of the file.

    Raises:
        InputError: the file cannot be read, is none of these, is damaged, or its pickle mentions
            anything but tensors and containers.
    """
    try:
        with path.open("rb") as file:
            if not file.seek(0, 2):
                raise InputError(f"{path} is empty: fetch it again")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}") from error
    try:
        return _read(data)
    except Malformed as error:
        raise InputError(
            f"{path} cannot be read as weights, since {error}: fetch it again, or save the "
            "model's `state_dict()` alone, best as .safetensors"
        ) from error


def _read(data: memoryview) -> dict[str, np.ndarray]:
    head = bytes(data[:64])
    if head.startswith(b"PK\x03\x04"):
        archive = Archive(data)
        if any(name.endswith("/data.pkl") for name in archive.names):
            return read_torch_zip(archive)
        if archive.names and all(name.endswith(".npy") for name in archive.names):
            return read_npz(archive)
        raise Malformed("it is a zip archive of neither PyTorch nor NumPy")
    # Before the pickles: the length of the header, which comes first, may begin like one.
    if head[4:9] == b"\0\0\0\0{":
        return read_safetensors(data)
    if head[:1] == b"\x80":
        return read_torch_legacy(data)
    if head[8:9] == b"{":
        return read_safetensors(data)
    for beginning, what in _STRANGERS:
        if head.lstrip().startswith(beginning):
            raise Malformed(f"it is {what}")
    raise Malformed("it begins like no .safetensors, .pth or .npz")
