"""How strong the operations of each policy are, level by level: the papers' tables.

A table maps the name of an operation to its magnitudes (see `apply_operation`), from the lowest
level to the highest, and to whether the sign is drawn at random. Operations without a magnitude
have zeros.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Magnitudes = Mapping[str, tuple[np.ndarray, bool]]


def auto_augment_magnitudes(shape: Sequence[int], *, levels: int = 10) -> Magnitudes:
    """List the magnitudes of AutoAugment.

    Cubuk et al. 2019, "AutoAugment", table 6. Translations are up to 150 pixels of 331, rounded
    to whole ones towards 0.

    Args:
        shape: of the image: height, width and whatever follows.
        levels: how many.

    Returns:
        name -> (magnitudes [levels], whether the sign is drawn).

    >>> auto_augment_magnitudes((32, 32))["rotate"][0].round(1).tolist()
    [0.0, 3.3, 6.7, 10.0, 13.3, 16.7, 20.0, 23.3, 26.7, 30.0]
    """
    return {
        **_geometric(0.3, (shape[1] * 150 / 331, shape[0] * 150 / 331), 30, levels=levels),
        **_enhancing(0.9, levels=levels),
        **_tonal(bits=8, fewer=4, levels=levels),
        "invert": (np.zeros(levels), False),
    }


def rand_augment_magnitudes(shape: Sequence[int], *, levels: int = 31) -> Magnitudes:
    """List the magnitudes of RandAugment.

    Cubuk et al. 2020, "RandAugment", section 3: AutoAugment's scale, level 30 being the highest,
    and the identity for its inverting.

    Args:
        shape: of the image: height, width and whatever follows.
        levels: how many.

    Returns:
        name -> (magnitudes [levels], whether the sign is drawn).

    >>> len(rand_augment_magnitudes((32, 32)))
    14
    """
    operations = dict(auto_augment_magnitudes(shape, levels=levels))
    del operations["invert"]
    return {"identity": (np.zeros(levels), False), **operations}


def trivial_augment_magnitudes(*, levels: int = 31) -> Magnitudes:
    """List the magnitudes of TrivialAugment's wide space.

    Müller & Hutter 2021, "TrivialAugment", the ranges called "Wide". Translations are up to 32
    pixels, of images of any size.

    Args:
        levels: how many.

    Returns:
        name -> (magnitudes [levels], whether the sign is drawn).

    >>> trivial_augment_magnitudes()["translate_x"][0].max().tolist()
    32.0
    """
    return {
        "identity": (np.zeros(levels), False),
        **_geometric(0.99, (32, 32), 135, levels=levels),
        **_enhancing(0.99, levels=levels),
        **_tonal(bits=8, fewer=6, levels=levels),
    }


def augmix_magnitudes(shape: Sequence[int], *, levels: int = 10) -> Magnitudes:
    """List the magnitudes of AugMix.

    Hendrycks et al. 2020, "AugMix", section 3 and the authors' code: what ImageNet-C corrupts with
    is left out in the paper; with the enhancements, as here, it is the authors' `all_ops` and
    torchvision's default.

    Args:
        shape: of the image: height, width and whatever follows.
        levels: how many.

    Returns:
        name -> (magnitudes [levels], whether the sign is drawn).

    >>> augmix_magnitudes((32, 32))["posterize"][0].tolist()
    [4.0, 4.0, 3.0, 3.0, 2.0, 2.0, 1.0, 1.0, 0.0, 0.0]
    """
    return {
        **_geometric(0.3, (shape[1] / 3, shape[0] / 3), 30, levels=levels),
        **_tonal(bits=4, fewer=4, levels=levels),
        **_enhancing(0.9, levels=levels),
    }


def _geometric(
    shear: float, translation: tuple[float, float], degrees: float, *, levels: int
) -> Magnitudes:
    across, down = (np.trunc(np.linspace(0, way, levels)) for way in translation)
    return {
        "shear_x": (np.linspace(0, shear, levels), True),
        "shear_y": (np.linspace(0, shear, levels), True),
        "translate_x": (across, True),
        "translate_y": (down, True),
        "rotate": (np.linspace(0, degrees, levels), True),
    }


def _enhancing(strength: float, *, levels: int) -> Magnitudes:
    names = ("brightness", "color", "contrast", "sharpness")
    return {name: (np.linspace(0, strength, levels), True) for name in names}


def _tonal(*, bits: int, fewer: int, levels: int) -> Magnitudes:
    return {
        "posterize": (bits - np.round(np.linspace(0, fewer, levels)), False),
        "solarize": (np.linspace(1, 0, levels), False),
        "autocontrast": (np.zeros(levels), False),
        "equalize": (np.zeros(levels), False),
    }
