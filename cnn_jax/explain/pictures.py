"""Pictures of explanations: maps over images, filters as tiles."""

import math

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike
from matplotlib import colormaps

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.weights.shapes import default_image_shape, stem_paths


def overlaid(images: ArrayLike, maps: ArrayLike, *, opacity: float = 0.5) -> np.ndarray:
    """Lay maps over images, in colours from blue for nothing to red for the most of each map.

    Args:
        images: float [N, H, W, 1 or 3] between 0 and 1.
        maps: float [N, H, W], of which what is below 0 counts as 0.
        opacity: of the colours, 0 to 1.

    Returns:
        uint8 [N, H, W, 3].

    Raises:
        InputError: the shapes do not agree, or `opacity` is out of range.

    >>> overlaid(np.zeros((1, 2, 2, 1)), np.array([[[0.0, 1.0], [2.0, 4.0]]])).shape
    (1, 2, 2, 3)
    """
    ranges.fraction("opacity", opacity, with_one=True, remedy="0.5 for instance")
    images, maps = np.asarray(images, np.float32), np.asarray(maps, np.float32)
    if images.ndim != 4 or maps.shape != images.shape[:3]:
        raise InputError(
            f"`images` {images.shape} and `maps` {maps.shape} must be [N, H, W, C] and [N, H, W]"
        )
    maps = np.maximum(maps, 0)
    highest = maps.max((1, 2), keepdims=True)
    colours = colormaps["jet"](maps / np.where(highest > 0, highest, 1))[..., :3]
    mixed = (1 - opacity) * np.clip(images, 0, 1) + opacity * colours
    return np.round(255 * mixed).astype(np.uint8)


def first_filters(model: nn.Module, variables: dict, *, gap: int = 1) -> np.ndarray:
    """Lay the kernels of the first convolution out as tiles.

    Krizhevsky, Sutskever and Hinton 2012, figure 3. Each is brought to 0..255 by itself, 0 to the
    middle grey.

    Args:
        model: one of the zoo.
        variables: its parameters.
        gap: pixels between tiles.

    Returns:
        uint8 [height, width, 3], of kernels that see 1 or 3 channels.

    Raises:
        InputError: the first layer is no convolution of images with 1 or 3 channels.
    """
    image = default_image_shape(model)
    flat = flatten_dict(dict(variables))
    kernels = [flat[path] for path in sorted(stem_paths(model, image)) if path in flat]
    kernel = next((k for k in kernels if k.ndim == 4 and k.shape[2] in (1, 3)), None)
    if kernel is None:
        raise InputError(
            f"`model` (={type(model).__name__}) begins with no convolution of images of 1 or 3 "
            "channels: there are no filters to draw"
        )
    kernel = np.asarray(jax.device_get(kernel), np.float32)
    height, width, _, count = kernel.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = np.full(
        (rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8
    )
    for number in range(count):
        tile = kernel[..., number]
        tile = np.round(127.5 + 127.5 * tile / max(np.abs(tile).max(), 1e-12)).astype(np.uint8)
        top, left = (
            gap + k * (side + gap)
            for k, side in zip(divmod(number, columns), (height, width), strict=True)
        )
        picture[top : top + height, left : left + width] = tile
    return picture
