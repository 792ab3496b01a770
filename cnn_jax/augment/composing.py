"""Several augmentations, one after the other."""

from collections.abc import Callable, Sequence

import jax

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def compose(operations: Sequence[Augmentation]) -> Augmentation:
    """Chain augmentations, each with a key of its own.

    Args:
        operations: functions `(key, image) -> image`.

    Returns:
        A function `(key, image) -> image`; the identity for no operations.

    >>> from functools import partial
    >>> from cnn_jax import augment
    >>> augmented = compose((augment.random_flip, partial(augment.shifted_crop, padding=4)))
    >>> jax.eval_shape(augmented, jax.random.key(0), jax.numpy.zeros((32, 32, 3))).shape
    (32, 32, 3)
    """

    def augmented(key: jax.Array, image: jax.Array) -> jax.Array:
        for index, operation in enumerate(operations):
            image = operation(jax.random.fold_in(key, index), image)
        return image

    return augmented
