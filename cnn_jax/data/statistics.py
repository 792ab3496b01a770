"""Mean and deviation of the channels."""

import math
from dataclasses import dataclass

import numpy as np

from cnn_jax.data.source import Source

_BLOCK, _BLOCK_BYTES = 4096, 16 << 20


@dataclass(frozen=True)
class Normalization:
    """What is subtracted from each channel of images between 0 and 1, and what divides them.

    Attributes:
        mean: a number for each channel.
        std: a number for each channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


def channel_statistics(source: Source) -> Normalization:
    """Measure the mean and standard deviation of each channel over all pixels.

    Args:
        source: the images.

    Returns:
        Both on the scale 0 to 1, rounded to six digits; a constant channel gets deviation 1.
    """
    channels = source.image_shape[-1]
    total, squares, count = np.zeros(channels), np.zeros(channels), 0
    size = max(1, min(_BLOCK, _BLOCK_BYTES // math.prod(source.image_shape)))
    for start in range(0, len(source), size):
        block = source.read(np.arange(start, min(start + size, len(source))))
        scale = 255 if block.dtype == np.uint8 else 1
        pixels = block.reshape(-1, channels).astype(np.float64) / scale
        total += pixels.sum(0)
        squares += np.square(pixels).sum(0)
        count += len(pixels)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return Normalization(
        mean=tuple(round(float(value), 6) for value in mean),
        std=tuple(round(float(value), 6) if value > 1e-6 else 1.0 for value in std),
    )
