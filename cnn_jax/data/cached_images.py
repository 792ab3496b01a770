"""Images in a cache as a source."""

import functools
import mmap
import time
from dataclasses import dataclass, field

import numpy as np

from cnn_jax.data.blocks import checksums_of
from cnn_jax.data.cache import VERIFIED_AT_ONCE, Index
from cnn_jax.data.source import digest_arrays
from cnn_jax.errors import InputError

# A first look at a page has the kernel map 64 KiB around it. What is mapped counts as memory of
# this process, though the kernel can take it back at any time; so it is given back after reading
# about 64 MiB, but at most every 20 ms, since mapping anew takes a microsecond an image.
_MAPPED_AT_A_LOOK, _MOST_MAPPED, _LEAST_SECONDS = 64 << 10, 64 << 20, 0.02


@dataclass(eq=False)
class CachedImages:
    """Images in the pixels of a cache, which are read from the disk as they are needed.

    Attributes:
        mapping: the pixels.
        index: shape and checksums.
        labels: int32 [N] or [N, K].
    """

    mapping: mmap.mmap
    index: Index
    labels: np.ndarray
    _pixels: np.ndarray = field(init=False, repr=False)
    _unverified: np.ndarray | None = field(init=False, repr=False)
    _left: int = field(init=False, default=0, repr=False)
    _released: float = field(init=False, default=0.0, repr=False)

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
        """Digest of the checksums of the images, their shape, and the labels."""
        return digest_arrays(self.index.checksums, np.array(self.image_shape), self.labels)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: uint8 [B, H, W, C].

        Raises:
            InputError: an image of a large cache has changed on the disk since it was written.
        """
        images = self._pixels[indices]
        if self._unverified is not None:
            self._verify(indices, images)
        self._left -= len(images)
        if self._left <= 0:
            self._release(images)
        return images

    def _release(self, images: np.ndarray) -> None:
        now = time.monotonic()
        if now - self._released < _LEAST_SECONDS:
            return
        self.mapping.madvise(mmap.MADV_DONTNEED)
        self._released = now
        self._left = _MOST_MAPPED // max(_MAPPED_AT_A_LOOK, images[0].nbytes if len(images) else 1)

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
