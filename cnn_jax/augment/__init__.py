"""Augmentation on the device: pure functions `(key, image, *, options) -> image`.

A recipe composes them as a tuple of partials, and the train step maps them over the batch with a
key for each image and epoch:

    augment=(augment.random_flip, partial(augment.shifted_crop, padding=4))

Images are floats between 0 and 1, [H, W, C] with 1 or 3 channels. What a random function does
with its draws is a function of its own, `(image, amount, *, options) -> image`.
"""

from cnn_jax.augment.augmix import augmix
from cnn_jax.augment.auto_augment import auto_augment
from cnn_jax.augment.batches import Augmentation, augment_batch
from cnn_jax.augment.color import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    color_jitter,
    grayscale,
    random_grayscale,
)
from cnn_jax.augment.crops import random_resized_crop, shifted_crop
from cnn_jax.augment.erasing import cutout, erase, random_erasing
from cnn_jax.augment.flips import alternating_flip, flip, random_flip
from cnn_jax.augment.geometry import (
    affine,
    affine_matrix,
    random_affine,
    random_rotation,
    random_translation,
    rotate,
    shear,
    translate,
)
from cnn_jax.augment.mixing import (
    blend_pairs,
    chances_until,
    cutmix,
    mix_one_of,
    mixup,
    paste_boxes,
)
from cnn_jax.augment.noise import gaussian_noise
from cnn_jax.augment.operations import OPERATIONS, apply_operation
from cnn_jax.augment.perspective import perspective, perspective_matrix, random_perspective
from cnn_jax.augment.policies import rand_augment, trivial_augment
from cnn_jax.augment.resizing import centre_crop, resize, resize_crop
from cnn_jax.augment.sharpness import adjust_sharpness, gaussian_blur, random_blur
from cnn_jax.augment.tones import autocontrast, equalize, invert, posterize, solarize
from cnn_jax.augment.warping import warp

__all__ = [
    "OPERATIONS",
    "Augmentation",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "affine_matrix",
    "alternating_flip",
    "apply_operation",
    "augment_batch",
    "augmix",
    "auto_augment",
    "autocontrast",
    "blend_pairs",
    "centre_crop",
    "chances_until",
    "color_jitter",
    "cutmix",
    "cutout",
    "equalize",
    "erase",
    "flip",
    "gaussian_blur",
    "gaussian_noise",
    "grayscale",
    "invert",
    "mix_one_of",
    "mixup",
    "paste_boxes",
    "perspective",
    "perspective_matrix",
    "posterize",
    "rand_augment",
    "random_affine",
    "random_blur",
    "random_erasing",
    "random_flip",
    "random_grayscale",
    "random_perspective",
    "random_resized_crop",
    "random_rotation",
    "random_translation",
    "resize",
    "resize_crop",
    "rotate",
    "shear",
    "shifted_crop",
    "solarize",
    "translate",
    "trivial_augment",
    "warp",
]
