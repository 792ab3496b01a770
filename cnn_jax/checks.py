"""What to look at before a long training: the first batch, and the step that takes it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from cnn_jax import processes
from cnn_jax.data.batches import Batch, train_batch
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError
from cnn_jax.labels import check_class_labels
from cnn_jax.recipe import Recipe

# Normalised pixels of other images than the statistics' own still lie in here.
_USUAL_MEAN, _USUAL_DEVIATION = 1.5, (0.25, 4.0)


def check_batch(batch: Batch, *, num_classes: int, normalization: Normalization) -> str:
    """Check shapes, labels and normalisation of a batch.

    Args:
        batch: `image` [N, H, W, C], uint8 0..255 or float 0..1, and `label` int [N].
        num_classes: of the model.
        normalization: mean and deviation of the channels.

    Returns:
        What it holds, in a sentence, and a second one where the normalised pixels are unusual.

    Raises:
        InputError: a shape, type, label or pixel is wrong.

    >>> batch = {"image": np.full((2, 4, 4, 1), 255, np.uint8), "label": np.array([0, 1])}
    >>> check_batch(batch, num_classes=2, normalization=Normalization(mean=(0.5,), std=(0.5,)))
    '2 images of 4x4x1, normalised to mean 1.00 and deviation 0.00, labels of 2 of 2 classes; \
all of them are the same: look at them'
    """
    images, labels = np.asarray(batch["image"]), np.asarray(batch["label"])
    if images.ndim != 4:
        raise InputError(f"`image` (of shape {images.shape}) must be [N, H, W, C]: add what lacks")
    if images.shape[-1] != len(normalization.mean):
        raise InputError(
            f"`image` (of shape {images.shape}) must have the {len(normalization.mean)} channels "
            "of the normalisation in the last place: transpose it"
        )
    check_class_labels(labels, shape=(len(images), num_classes))
    scaled = images / 255 if images.dtype == np.uint8 else images
    if not (np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1):
        raise InputError(
            f"`image` ({images.dtype} from {images.min():g} to {images.max():g}) must be uint8 or "
            "lie between 0 and 1: divide it"
        )
    pixels = (scaled - np.array(normalization.mean)) / np.array(normalization.std)
    mean, deviation = float(pixels.mean()), float(pixels.std())
    classes = labels if labels.ndim == 1 else labels.argmax(-1)
    told = (
        f"{len(images)} images of {'x'.join(map(str, images.shape[1:]))}, normalised to mean "
        f"{mean:.2f} and deviation {deviation:.2f}, labels of {len(np.unique(classes))} of "
        f"{num_classes} classes"
    )
    low, high = _USUAL_DEVIATION
    if (images == images[0]).all():
        return f"{told}; all of them are the same: look at them"
    if abs(mean) > _USUAL_MEAN or not low <= deviation <= high:
        return f"{told}; usual are 0 and 1: check the normalisation"
    return told


def check_first_steps(
    recipe: Recipe,
    train_steps: Callable,
    state: Any,
    *,
    place: Callable[[Batch], Any],
    together: int,
) -> str:
    """Check the first batch, and trace the first steps with it, without taking any.

    Augmentation, mixing, a teacher and the loss of soft labels say what is wrong with their options
    when they are traced, and not before. What is traced is not lost: the first call takes it up.

    Args:
        recipe: a checked recipe with its normalization filled in.
        train_steps: jit-compiled, (state, batches [K, B, ...]) -> (state, metrics).
        state: the state for step 0.
        place: brings this process's part of the batches to the devices.
        together: K, how many steps the first dispatch takes.

    Returns:
        What `check_batch` says of the batch.

    Raises:
        InputError: a shape, type, label, pixel or option is wrong.
    """
    data = recipe.data
    batch = train_batch(data.train, recipe.seed, 0, batch_size=recipe.batch_size)
    told = check_batch(batch, num_classes=data.num_classes, normalization=recipe.normalization)
    number, parts = processes.own_part()
    batches = {
        name: np.repeat(np.split(array, parts)[number][None], together, axis=0)
        for name, array in batch.items()
    }
    jax.eval_shape(train_steps, state, place(batches))
    return told
