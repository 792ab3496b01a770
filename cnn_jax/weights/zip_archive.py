"""Zip archives, read in place: the members of a mapped file, without a copy."""

import io
import struct
import zipfile
import zlib

from cnn_jax.weights.malformed import Malformed

_LOCAL_HEADER = struct.Struct("<4s22xHH")

# Compressed weights shrink by a tenth; what announces more than this is made to fill the memory.
MAX_EXPANSION = 100


class Archive:
    """The members of a zip archive.

    Attributes:
        names: of the members.
    """

    def __init__(self, data: memoryview):
        """Read the directory of an archive.

        Args:
            data: the bytes of the file.

        Raises:
            Malformed: the directory is missing or damaged, or announces far more than is there.
        """
        self._data = data
        try:
            with zipfile.ZipFile(_Window(data)) as archive:
                members = archive.infolist()
        except (
            zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, struct.error,
            OverflowError, IndexError,
        ) as error:  # fmt: skip
            raise Malformed(f"it is a truncated or damaged zip archive ({error})") from error
        self._members = {member.filename: member for member in members}
        if len(self._members) != len(members):
            raise Malformed("it has two members of one name")
        if sum(member.file_size for member in members) > MAX_EXPANSION * len(data):
            raise Malformed(f"it announces more than {MAX_EXPANSION} times its size")

    @property
    def names(self) -> list[str]:
        """Names of the members, in the order of the directory."""
        return list(self._members)

    def stored(self, name: str) -> memoryview:
        """Return the bytes of a member that is not compressed, in place.

        Raises:
            Malformed: it is missing, compressed, torn, or its checksum is wrong.
        """
        if name in self._members and self._members[name].compress_type != zipfile.ZIP_STORED:
            raise Malformed(f"its member {name[:100]} is compressed, which PyTorch never does")
        return self.content(name)

    def content(self, name: str) -> memoryview:
        """Return the bytes of a member: in place if it is stored, else decompressed.

        Raises:
            Malformed: it is missing, torn, compressed by something else than deflate, or its
                checksum is wrong.
        """
        member = self._members.get(name)
        if member is None:
            raise Malformed(f"it has no member {name[:100]}")
        packed = self._packed(member)
        if member.compress_type == zipfile.ZIP_STORED:
            content = packed
        elif member.compress_type == zipfile.ZIP_DEFLATED:
            content = _inflate(packed, member)
        else:
            raise Malformed(f"its member {name[:100]} is compressed in an unusual way")
        # PyTorch can be told to leave the checksums out: all are then 0.
        damaged = member.CRC and zlib.crc32(content) != member.CRC
        if len(content) != member.file_size or damaged:
            raise Malformed(f"its member {name[:100]} is damaged: size or checksum are wrong")
        return content

    def _packed(self, member: zipfile.ZipInfo) -> memoryview:
        if member.flag_bits & 0x1:
            raise Malformed("it is encrypted")
        start = member.header_offset
        header = self._data[start : start + _LOCAL_HEADER.size] if start >= 0 else b""
        if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise Malformed(f"its member {member.filename[:100]} is not where its directory says")
        _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
        start += _LOCAL_HEADER.size + name_size + extra_size
        if start + member.compress_size > len(self._data):
            raise Malformed(f"it is truncated: its member {member.filename[:100]} goes on")
        return self._data[start : start + member.compress_size]


def _inflate(packed: memoryview, member: zipfile.ZipInfo) -> memoryview:
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.file_size + 1)
    except zlib.error as error:
        raise Malformed(f"its member {member.filename[:100]} is damaged ({error})") from error
    return memoryview(inflated)


class _Window(io.RawIOBase):
    """A file over bytes that are already mapped; `zipfile` reads the directory through it."""

    def __init__(self, data: memoryview):
        self._data = data
        self._position = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._position + size
        taken = bytes(self._data[self._position : end])
        self._position += len(taken)
        return taken
