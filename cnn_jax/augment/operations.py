"""The operations that policies choose from, none of which costs more than itself.

Which operation an image gets is known only on the device, and a `lax.switch` mapped over a batch
computes every branch for every image. Mapped with `jax.vmap`, `apply_operation` therefore takes
another form: on a CPU, where a branch is cheap, one image after the other and each its own branch;
elsewhere all at once, with what the operations have in common computed once (see `together.py`).
Measured on 2 CPU cores, images/s: 128 images of 32x32, one after the other 88,000, together
21,000, a mapped switch 2,800; 16 of 224x224, 640, 110, 50.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from cnn_jax.augment import checks, color, tones
from cnn_jax.augment.geometry import rotate, shear, translate
from cnn_jax.augment.sharpness import adjust_sharpness
from cnn_jax.augment.together import OPERATIONS, apply_together
from cnn_jax.augment.warping import Interpolation

Warping = dict[str, Interpolation | float | Sequence[float]]

BRANCHES: dict[str, Callable[[jax.Array, jax.Array, Warping], jax.Array]] = {
    "identity": lambda image, magnitude, warping: image,
    "shear_x": lambda image, magnitude, warping: shear(image, (magnitude, 0), **warping),
    "shear_y": lambda image, magnitude, warping: shear(image, (0, magnitude), **warping),
    "translate_x": lambda image, magnitude, warping: translate(image, (magnitude, 0), **warping),
    "translate_y": lambda image, magnitude, warping: translate(image, (0, magnitude), **warping),
    "rotate": lambda image, magnitude, warping: rotate(image, magnitude, **warping),
    "brightness": lambda image, magnitude, _: color.adjust_brightness(image, 1 + magnitude),
    "color": lambda image, magnitude, _: color.adjust_saturation(image, 1 + magnitude),
    "contrast": lambda image, magnitude, _: color.adjust_contrast(image, 1 + magnitude),
    "sharpness": lambda image, magnitude, _: adjust_sharpness(image, 1 + magnitude),
    "posterize": lambda image, magnitude, _: tones.posterize(image, magnitude),
    "solarize": lambda image, magnitude, _: tones.solarize(image, magnitude),
    "autocontrast": lambda image, magnitude, _: tones.autocontrast(image),
    "equalize": lambda image, magnitude, _: tones.equalize(image),
    "invert": lambda image, magnitude, _: tones.invert(image),
}


def apply_operation(
    image: jax.Array,
    operation: int | jax.Array,
    magnitude: float | jax.Array,
    *,
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply one of `OPERATIONS` to an image.

    Args:
        image: [H, W, C], C 1 or 3.
        operation: its place in `OPERATIONS`, int32.
        magnitude: how strongly, float32. Shears: pixels that a row or column moves against the
            next, around the outer corner at the top left. Translations: pixels to the right or
            down. Rotation: degrees, counter-clockwise. Brightness, color, contrast and sharpness:
            the factor less 1. Posterize: bits kept. Solarize: the threshold. Others: ignored.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels, or the interpolation
            is unknown.

    >>> image = jnp.array([[[0.25], [0.5]]])
    >>> jax.jit(apply_operation)(image, OPERATIONS.index("invert"), 0.0)[0, :, 0].tolist()
    [0.75, 0.5]
    """
    image = checks.image(image, colour=True)
    warping = {"interpolation": interpolation, "fill": fill}
    branches = [
        lambda image, magnitude, branch=BRANCHES[name]: branch(image, magnitude, warping)
        for name in OPERATIONS
    ]

    @custom_vmap
    def apply(image, operation, magnitude):
        return jax.lax.switch(operation, branches, image, magnitude)

    @apply.def_vmap
    def apply_batch(size, batched, *arguments):
        arguments = [
            argument if is_batched else jnp.broadcast_to(argument, (size, *argument.shape))
            for argument, is_batched in zip(arguments, batched, strict=True)
        ]
        result = jax.lax.platform_dependent(
            *arguments,
            cpu=lambda *arguments: jax.lax.map(lambda each: apply(*each), arguments),
            default=jax.vmap(lambda *each: apply_together(*each, **warping)),
        )
        return result, True

    return apply(image, jnp.asarray(operation, jnp.int32), jnp.asarray(magnitude, jnp.float32))
