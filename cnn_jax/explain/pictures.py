"""Pictures of explanations: maps over images, filters and feature maps as tiles."""

import math
from functools import partial

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.typing import ArrayLike
from matplotlib import colormaps

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.models.features import extract_features
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
    tiles = np.broadcast_to(np.moveaxis(kernel, -1, 0), (kernel.shape[-1], *kernel.shape[:2], 3))
    highest = np.abs(tiles).max((1, 2, 3), keepdims=True)
    tiles = np.round(127.5 + 127.5 * tiles / np.maximum(highest, 1e-12)).astype(np.uint8)
    return tiled(tiles, gap=gap)


def feature_maps(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    *,
    channels: int = 64,
    gap: int = 1,
) -> dict[str, np.ndarray]:
    """Lay the maps of each stage out as tiles, a channel each.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 3. Each
    channel of each image is brought to the colours from dark blue for its lowest value to yellow
    for its highest by itself; one without a difference is dark blue.

    Args:
        model: a model that marks its stages.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        channels: how many of a stage are drawn at most, from the first.
        gap: pixels between tiles.

    Returns:
        Stage -> uint8 [N, height, width, 3], of the stages that have places, first to last.

    Raises:
        InputError: the model marks no stage, none has places, or `channels` is below 1.

    >>> import cnn_jax, jax.numpy as jnp
    >>> model, images = cnn_jax.create_model("resnet20_cifar"), jnp.ones((2, 16, 16, 3))
    >>> drawn = feature_maps(model, model.init(jax.random.key(0), images), images, channels=4)
    >>> {stage: picture.shape for stage, picture in drawn.items()}
    {'layer1': (2, 35, 35, 3), 'layer2': (2, 19, 19, 3), 'layer3': (2, 11, 11, 3)}
    """
    ranges.whole("channels", channels, remedy="64 for instance")
    stages = jax.jit(partial(extract_features, model))(variables, images)
    drawn = {
        name: np.stack([_maps_tiled(one, gap) for one in np.asarray(maps[..., :channels])])
        for name, maps in stages.items()
        if maps.ndim == 4
    }
    if not drawn:
        raise InputError(
            f"`model` (={type(model).__name__}) has no stage with places in an image: there are no "
            "maps to draw"
        )
    return drawn


def tiled(tiles: np.ndarray, *, gap: int = 1) -> np.ndarray:
    """Lay pictures out in rows on white, about as many rows as columns.

    Args:
        tiles: uint8 [N, height, width, 3].
        gap: pixels between tiles, and around them.

    Returns:
        uint8 [rows (height + gap) + gap, columns (width + gap) + gap, 3].

    >>> tiled(np.zeros((3, 4, 5, 3), np.uint8)).shape
    (11, 13, 3)
    """
    count, height, width, _ = tiles.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    shape = rows * (height + gap) + gap, columns * (width + gap) + gap, 3
    picture = np.full(shape, 255, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture


def _maps_tiled(maps: np.ndarray, gap: int) -> np.ndarray:
    """Draw the maps [h, w, channels] of one image."""
    maps = np.moveaxis(maps.astype(np.float32), -1, 0)
    low, high = (bound((1, 2), keepdims=True) for bound in (maps.min, maps.max))
    shares = (maps - low) / np.where(high > low, high - low, 1)
    return tiled(np.round(255 * colormaps["viridis"](shares)[..., :3]).astype(np.uint8), gap=gap)
