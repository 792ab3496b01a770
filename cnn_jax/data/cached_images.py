"""Images in a cache as a source."""

import functools
import mmap
import time
from dataclasses import dataclass, field

import numpy as np

from cnn_jax.data.blocks import checksums_of
from cnn_jax.data.cache import VERIFIED_AT_ONCE, Index
from cnn_jax.data.decoding import Framing
from cnn_jax.data.source import digest_files
from cnn_jax.errors import InputError

# What has been read stays mapped, and counts as memory of this process, though the kernel can take
# it back at any time. Beyond so many bytes it is given back; looked after every 50 ms, since
# to map it again takes time.
_MOST_MAPPED, _LOOK_SECONDS = 64 << 20, 0.05


@dataclass(eq=False)
class CachedImages:
    """Images in the pixels of a cache, which are read from the disk as they are needed.

    Attributes:
        mapping: the pixels.
        index: shape and digests.
        labels: int32 [N] or [N, K].
        paths: of the files that the images were.
        framing: how they were brought to their size, where that is laid down.
    """

    mapping: mmap.mmap
    index: Index
    labels: np.ndarray
    paths: tuple[str, ...]
    framing: Framing | None = None
    _pixels: np.ndarray = field(init=False, repr=False)
    _unverified: np.ndarray | None = field(init=False, repr=False)
    _looked: float = field(init=False, default=0.0, repr=False)
    _others: int = field(init=False, default=0, repr=False)

    def __post_init__(self):
        self._pixels = np.frombuffer(self.mapping, np.uint8).reshape(self.index.shape)
        large = self._pixels.size > VERIFIED_AT_ONCE
        self._unverified = np.ones(len(self), bool) if large else None

    def __len__(self) -> int:
        return self.index.shape[0]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.index.shape[1:]

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the files, how they were decoded, and the labels: as of `StreamedImages`."""
        return digest_files(
            self.index.contents,
            self.labels,
            image_shape=self.image_shape,
            resized=self.index.resized,
            framing=self.framing,
        )

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: uint8 [B, H, W, C].

        Raises:
            InputError: an image of a large cache has changed on the disk since it was written.
        """
        images = self._pixels[indices]
        if self._unverified is not None:
            self._verify(indices, images)
        now = time.monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._release()
        return images

    def _release(self) -> None:
        if mapped_bytes() - self._others > _MOST_MAPPED:
            self.mapping.madvise(mmap.MADV_DONTNEED)
            self._others = mapped_bytes()

    def _verify(self, indices: np.ndarray, images: np.ndarray) -> None:
        new = np.flatnonzero(self._unverified[indices])
        if not len(new):
            return
        positions = np.asarray(indices)[new]
        wrong = positions[checksums_of(images[new]) != self.index.checksums[positions]]
        if len(wrong):
            raise InputError(
                f"image {wrong[0]} of the cache and {len(wrong) - 1} more have changed since they "
                "were written: the disk may be failing; remove the cache's folder and start again"
            )
        self._unverified[positions] = False


def mapped_bytes() -> int:
    """Bytes of files that are mapped into the memory of this process; 0 where nothing tells."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0
