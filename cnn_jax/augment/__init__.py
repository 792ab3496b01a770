"""Augmentation on the device: pure functions `(key, image, *, options) -> image`.

A recipe composes them as a tuple of partials, and the train step maps them over the batch with a
key for each image and epoch:

    augment=(augment.random_flip, partial(augment.shifted_crop, padding=4))
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

__all__ = ["Augmentation", "compose", "random_flip", "shifted_crop"]

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def compose(operations: Sequence[Augmentation]) -> Augmentation:
    """Chain augmentations, each with a key of its own.

    Args:
        operations: functions `(key, image) -> image`.

    Returns:
        A function `(key, image) -> image`; the identity for no operations.
    """

    def augmented(key: jax.Array, image: jax.Array) -> jax.Array:
        for index, operation in enumerate(operations):
            image = operation(jax.random.fold_in(key, index), image)
        return image

    return augmented


def random_flip(key: jax.Array, image: jax.Array, *, probability: float = 0.5) -> jax.Array:
    """Mirror an image left to right, with a probability.

    Args:
        key: random key.
        image: [H, W, C].
        probability: how often, 0 to 1.

    Returns:
        [H, W, C].
    """
    return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)


def shifted_crop(key: jax.Array, image: jax.Array, *, padding: int) -> jax.Array:
    """Shift an image by up to `padding` pixels each way, filling with zeros.

    The same as padding on all sides and cropping at random to the old size (He et al. 2016,
    section 4.2, with padding 4).

    Args:
        key: random key.
        image: [H, W, C].
        padding: largest shift in pixels; each shift from -padding to padding is equally likely.

    Returns:
        [H, W, C].
    """
    start = jax.random.randint(key, (2,), 0, 2 * padding + 1)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    return jax.lax.dynamic_slice(padded, (start[0], start[1], 0), image.shape)
