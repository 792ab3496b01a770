"""The augmentations of a recipe, one after the other, of all images of a batch."""

import inspect
from collections.abc import Callable, Sequence

import jax

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def augment_batch(
    key: jax.Array,
    images: jax.Array,
    *,
    epochs: jax.Array,
    identities: jax.Array,
    operations: Sequence[Augmentation],
) -> jax.Array:
    """Augment the images of a batch, each by keys of its own.

    What becomes of an image depends on the key, the epoch and the image, and on nothing else:
    neither on the batch that it is in, nor on where in it or on which device.

    Args:
        key: random key of the run.
        images: [N, H, W, C].
        epochs: int32 [N], the epoch that each image is shown in.
        identities: int32 [N], which image it is.
        operations: functions `(key, image) -> image`; or with `epoch=` and `identity=` to be given,
            as `alternating_flip`, whose key is then the same in all epochs.

    Returns:
        [N, H, W, C], or of another height and width where an operation crops.

    >>> images, numbers = jax.numpy.zeros((2, 8, 8, 3)), jax.numpy.arange(2)
    >>> from cnn_jax import augment
    >>> augment_batch(jax.random.key(0), images, epochs=numbers, identities=numbers,
    ...               operations=(augment.alternating_flip,)).shape
    (2, 8, 8, 3)
    """
    fold_in = jax.random.fold_in

    def augmented(image: jax.Array, epoch: jax.Array, identity: jax.Array) -> jax.Array:
        image_key = fold_in(fold_in(key, epoch), identity)
        for index, operation in enumerate(operations):
            if _asks_for_epoch(operation):
                # Counted from the end, where no epoch is.
                root = fold_in(key, 2**32 - 1 - index)
                image = operation(root, image, epoch=epoch, identity=identity)
            else:
                image = operation(fold_in(image_key, index), image)
        return image

    return jax.vmap(augmented)(images, epochs, identities) if operations else images


def _asks_for_epoch(operation: Augmentation) -> bool:
    parameter = inspect.signature(operation).parameters.get("epoch")
    return parameter is not None and parameter.default is parameter.empty
