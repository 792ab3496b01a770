"""Augmentation on the device: pure functions `(key, image, *, options) -> image`.

A recipe composes them as a tuple of partials, and the train step maps them over the batch with a
key for each image and epoch:

    augment=(augment.random_flip, partial(augment.shifted_crop, padding=4))

Images are floats between 0 and 1, [H, W, C] with 1 or 3 channels. What a random function does
with its draws is a function of its own, `(image, amount, *, options) -> image`.
"""

from cnn_jax.augment.composing import Augmentation, compose
from cnn_jax.augment.crops import random_resized_crop, shifted_crop
from cnn_jax.augment.erasing import cutout, erase, random_erasing
from cnn_jax.augment.flips import flip, random_flip
from cnn_jax.augment.geometry import (
    affine,
    affine_matrix,
    random_affine,
    random_rotation,
    random_translation,
    rotate,
    translate,
)
from cnn_jax.augment.perspective import perspective, perspective_matrix, random_perspective
from cnn_jax.augment.resizing import centre_crop, resize, resize_crop
from cnn_jax.augment.warping import warp

__all__ = [
    "Augmentation",
    "affine",
    "affine_matrix",
    "centre_crop",
    "compose",
    "cutout",
    "erase",
    "flip",
    "perspective",
    "perspective_matrix",
    "random_affine",
    "random_erasing",
    "random_flip",
    "random_perspective",
    "random_resized_crop",
    "random_rotation",
    "random_translation",
    "resize",
    "resize_crop",
    "rotate",
    "shifted_crop",
    "translate",
    "warp",
]
