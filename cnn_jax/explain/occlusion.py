"""Occlusion: what covering a part of an image does to a score."""

from itertools import product

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.explain.scores import chosen_classes, scores


def occlusion(
    model: nn.Module,
    variables: dict,
    images: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    size: int = 16,
    stride: int | None = None,
    value: float = 0.0,
) -> jax.Array:
    """Map what the score of a class loses where a square is covered.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.

    Args:
        model: any network of images.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        classes: int [N] or one for all; None for the most probable of each.
        size: side of the square, in pixels; at most that of the images.
        stride: pixels from a square to the next; None for half a side.
        value: what covers; 0 is the mean colour where images are normalised.

    Returns:
        float32 [N, H, W]: of each pixel the mean loss of the squares that cover it, negative where
        covering helps; 0 where none does.

    Raises:
        InputError: there is no such class, or the square does not fit.

    >>> import cnn_jax
    >>> model, images = cnn_jax.create_model("mlp", num_classes=2), jnp.ones((1, 4, 4, 1))
    >>> occlusion(model, model.init(jax.random.key(0), images), images, size=2).shape
    (1, 4, 4)
    """
    images = jnp.asarray(images)
    height, width = images.shape[1:3]
    stride = max(size // 2, 1) if stride is None else stride
    ranges.whole("size", size, remedy="a quarter of the image for instance")
    ranges.whole("stride", stride, remedy="half of the size for instance")
    if size > min(height, width):
        raise InputError(
            f"`size` (={size}) must be at most that of the images, {height}x{width}: choose less"
        )

    places = np.array(list(product(*(_places(side, size, stride) for side in (height, width)))))
    covering = np.zeros((height, width), np.float32)
    for top, left in places:
        covering[top : top + size, left : left + size] += 1
    logits = model.apply(variables, images)
    chosen = chosen_classes(logits, classes)
    whole = scores(logits, chosen)
    patch = jnp.full((len(images), size, size, images.shape[-1]), value, images.dtype)

    def with_lost(number: int, total: jax.Array) -> jax.Array:
        corner = (0, *jnp.asarray(places)[number])
        covered = jax.lax.dynamic_update_slice(images, patch, (*corner, 0))
        lost = (whole - scores(model.apply(variables, covered), chosen)).astype(total.dtype)
        square = jax.lax.dynamic_slice(total, corner, (len(images), size, size))
        return jax.lax.dynamic_update_slice(total, square + lost[:, None, None], corner)

    nothing = jnp.zeros(images.shape[:3], jnp.float32)
    return jax.lax.fori_loop(0, len(places), with_lost, nothing) / np.maximum(covering, 1)


def _places(length: int, size: int, stride: int) -> list[int]:
    """List where squares begin, the last at the end.

    >>> _places(10, 4, 4)
    [0, 4, 6]
    """
    return sorted({*range(0, length - size + 1, stride), length - size})
