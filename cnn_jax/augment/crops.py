"""Cutting a part out of an image, at its size or brought to another."""

from typing import Literal

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks


def shifted_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    padding: int,
    mode: Literal["zero", "reflect"] = "zero",
) -> jax.Array:
    """Shift an image by up to `padding` pixels each way.

    The same as padding on all sides and cropping at random to the old size (He et al. 2016,
    section 4.2, with padding 4).

    Args:
        key: random key.
        image: [H, W, C].
        padding: largest shift in pixels; each shift from -padding to padding is equally likely.
        mode: what comes in: zeros, or the image mirrored at its edge (without the edge twice).

    Returns:
        [H, W, C].

    Raises:
        InputError: the padding is no whole number, the mode unknown, or the image too small to be
            mirrored so far.

    >>> shifted_crop(jax.random.key(0), jnp.zeros((32, 32, 3)), padding=4).shape
    (32, 32, 3)
    """
    ranges.whole("padding", padding, least=0, remedy="4 is usual for images of 32x32")
    checks.one_of("mode", mode, ("zero", "reflect"))
    if mode == "reflect":
        ranges.whole("image.shape", min(image.shape[:2]), least=padding + 1, remedy="pad less")
    start = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    around = ((padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(image, around, mode="constant" if mode == "zero" else "reflect")
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)
