"""All operations of the policies at once, for many images that each need another.

What they have in common is computed once: the five geometric ones are one warp with a chosen
matrix, the four enhancements one blend with a chosen image, inverting is solarizing from black on.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax.augment.color import luminance, mean_of
from cnn_jax.augment.geometry import affine_matrix, shear_matrix
from cnn_jax.augment.sharpness import smooth
from cnn_jax.augment.tones import autocontrast, equalize, posterize, solarize
from cnn_jax.augment.warping import Interpolation, warp

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)


def apply_together(
    image: jax.Array,
    operation: jax.Array,
    magnitude: jax.Array,
    *,
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply one of `OPERATIONS` to an image, without a branch.

    Args:
        image: [H, W, C], C 1 or 3.
        operation: its place in `OPERATIONS`, int32.
        magnitude: as `apply_operation` takes it, float32.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    >>> images, operations = jnp.full((15, 2, 2, 1), 0.25), jnp.arange(15)
    >>> results = jax.jit(jax.vmap(apply_together))(images, operations, jnp.ones(15))
    >>> results[OPERATIONS.index("brightness"), 0, 0].tolist()
    [0.5]
    """
    chosen = {name: operation == place for place, name in enumerate(OPERATIONS)}

    def strength(name: str, otherwise: float = 0.0) -> jax.Array:
        return jnp.where(chosen[name], magnitude, otherwise)

    moving = affine_matrix(
        image.shape,
        degrees=strength("rotate"),
        translation=(strength("translate_x"), strength("translate_y")),
    )
    shearing = shear_matrix((strength("shear_x"), strength("shear_y")))
    matrix = jnp.where(chosen["shear_x"] | chosen["shear_y"], shearing, moving)
    image = warp(image, matrix, interpolation=interpolation, fill=fill)

    grey = luminance(image)
    other = jnp.where(chosen["color"], grey, 0)
    other = jnp.where(chosen["contrast"], mean_of(grey), other)
    other = jnp.where(chosen["sharpness"], smooth(image), other)
    blends = chosen["brightness"] | chosen["color"] | chosen["contrast"] | chosen["sharpness"]
    threshold = jnp.where(chosen["invert"], -1.0, strength("solarize", 2.0))
    results = {
        "posterize": posterize(image, strength("posterize", 8)),
        "autocontrast": autocontrast(image),
        "equalize": equalize(image),
    }
    blended = jnp.clip(image + magnitude * (image - other), 0, 1)
    result = jnp.where(blends, blended, solarize(image, threshold))
    for name, alternative in results.items():
        result = jnp.where(chosen[name], alternative, result)
    return result.astype(image.dtype)
