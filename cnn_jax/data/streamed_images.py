"""Image files as a source that decodes them as they are read."""

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from cnn_jax.data.blocks import decode_to
from cnn_jax.data.decoding import Framing, explain
from cnn_jax.data.listing import Listing
from cnn_jax.data.source import digest_files
from cnn_jax.data.tree import reader
from cnn_jax.data.workers import cores
from cnn_jax.errors import InputError


@dataclass(frozen=True, eq=False)
class StreamedImages:
    """Image files that are decoded whenever they are read, in as many threads as there are cores.

    Threads, since Pillow lets others run while it decodes and resizes; of small images, most of
    the time goes elsewhere, and a cache is far faster. The pixels are those of a cache.

    Attributes:
        listing: the files; its labels are theirs.
        image_shape: (H, W, C) of every image.
        resized: whether images are brought to that size; else they have it.
        contents: uint64 [N], digests of the files.
        framing: how images are brought to that size, where that is laid down.
    """

    listing: Listing
    image_shape: tuple[int, int, int]
    resized: bool
    contents: np.ndarray
    framing: Framing | None = None

    def __len__(self) -> int:
        return len(self.listing)

    @property
    def labels(self) -> np.ndarray:
        """int32 [N], or [N, K]."""
        return self.listing.labels

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the files."""
        return self.listing.paths

    @functools.cached_property
    def fingerprint(self) -> str:
        """Digest of the files, how they are decoded, and the labels: as of `CachedImages`."""
        return digest_files(
            self.contents,
            self.labels,
            image_shape=self.image_shape,
            resized=self.resized,
            framing=self.framing,
        )

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the images at `indices` [B]: uint8 [B, H, W, C].

        Raises:
            InputError: a file that could be decoded before no longer can.
        """
        images = np.empty((len(indices), *self.image_shape), np.uint8)

        def decode(place: int, index: int) -> None:
            images[place] = self._decode(self.listing.paths[index])

        list(self._threads.map(decode, range(len(indices)), np.asarray(indices).tolist()))
        return images

    def _decode(self, name: str) -> np.ndarray:
        try:
            content = self._read(name)
            return decode_to(content, self.image_shape, resized=self.resized, framing=self.framing)
        except MemoryError:
            raise
        except Exception as error:
            raise InputError(
                f"{name} of {self.listing.path} {explain(error)}; it has changed since it was "
                "looked at"
            ) from error

    @functools.cached_property
    def _read(self):
        return reader(self.listing.root)

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(cores(), thread_name_prefix="decode")
