"""The smallest images that a network takes."""

import jax

from cnn_jax.errors import InputError


def check_least_side(images: jax.Array, least: int) -> None:
    """Refuse images of which a network would leave nothing, before one of its layers does.

    Args:
        images: [N, H, W, C].
        least: pixels that H and W must have.

    Raises:
        InputError: they have fewer.

    >>> import numpy as np
    >>> check_least_side(np.ones((1, 32, 40, 3)), 32)
    """
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise InputError(
            f"`images` of {height}x{width} pixels must have sides of at least {least} for this "
            "network: enlarge them, or choose a network for small images"
        )
