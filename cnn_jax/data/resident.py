"""Images that lie on the device for the whole run, where they fit."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.source import Source

# What the images may take of the memory that is free: the network needs most of it.
SHARE = 0.25
_BLOCK = 4096


@dataclass(frozen=True, eq=False)
class ResidentImages:
    """Images in the memory of a device; only positions travel there.

    Attributes:
        images: [N, H, W, C], uint8 0..255 or float32 0..1.
        labels: int32 [N].
        fingerprint: that of the source that they are from.
    """

    images: jax.Array
    labels: np.ndarray
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.images.shape[1:]

    def read(self, indices: np.ndarray) -> jax.Array:
        """Gather the images at `indices` [B], on the device: [B, H, W, C]."""
        return _gather(self.images, indices)


def kept_on_device(source: Source, *, bytes_free: int | None = None) -> Source:
    """Copy images onto the device, where they take at most a quarter of its free memory.

    Args:
        source: the images.
        bytes_free: memory to be had; None for what the first device says. A CPU says nothing: its
            memory is the host's, where the images are anyway.

    Returns:
        A source of the same images on the device, or the source itself where they do not fit.

    >>> from cnn_jax.data.source import ArraySource
    >>> source = ArraySource(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4))
    >>> type(kept_on_device(source, bytes_free=64)).__name__
    'ResidentImages'
    >>> kept_on_device(source, bytes_free=63) is source
    True
    """
    if bytes_free is None:
        stats = jax.local_devices()[0].memory_stats() or {}
        bytes_free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
    first = source.read(np.arange(1))
    if first.nbytes * len(source) > SHARE * bytes_free:
        return source
    images = jnp.empty((len(source), *source.image_shape), first.dtype)
    # By blocks, so that the host never holds them all.
    for start in range(0, len(source), _BLOCK):
        block = source.read(np.arange(start, min(start + _BLOCK, len(source))))
        images = _put(images, block, start)
    return ResidentImages(images, source.labels, source.fingerprint)


_gather = jax.jit(lambda images, positions: images[positions])


@functools.partial(jax.jit, donate_argnums=0)
def _put(images: jax.Array, block: jax.Array, start: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(images, block, start, axis=0)
