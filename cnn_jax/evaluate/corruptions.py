"""Common corruptions at five severities, on the device.

The kinds are those of Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to
Common Corruptions and Perturbations", section 3, and the severities those of their ImageNet-C
where the form is the same, with lengths in proportion to the image; but for Gaussian blur, whose
first, of 1 pixel in 224, would leave images of 32x32 as they are. So figures can be compared among
runs, and not with published ones. Glass blur and frost, which takes photographs of frost, are left
out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import gaussian_noise
from cnn_jax.errors import InputError, nearest
from cnn_jax.evaluate import blur, digital, noise, weather

SEVERITIES = 5


@dataclass(frozen=True)
class Corruption:
    """A way in which images are spoilt.

    Attributes:
        family: noise, blur, weather or digital.
        function: `(key, image, *, options) -> image` of float images between 0 and 1.
        options: for each option five numbers, from the lowest severity to the highest.
        of_colour: whether it leaves grey images as they are.
        grey_or_rgb: whether it takes images of 1 and of 3 channels alone.
    """

    family: str
    function: Callable[..., jax.Array]
    options: dict[str, tuple[float, ...]]
    of_colour: bool = False
    grey_or_rgb: bool = False

    def takes(self, channels: int) -> bool:
        """Tell whether it takes images of so many channels."""
        return channels in (1, 3) or not self.grey_or_rgb


def _pixels(*lengths: float) -> tuple[float, ...]:
    """Make fractions of lengths in images of 224x224."""
    return tuple(length / 224 for length in lengths)


CORRUPTIONS = {
    "gaussian_noise": Corruption(
        "noise", gaussian_noise, {"deviation": (0.08, 0.12, 0.18, 0.26, 0.38)}
    ),
    "shot_noise": Corruption("noise", noise.shot_noise, {"photons": (60, 25, 12, 5, 3)}),
    "impulse_noise": Corruption(
        "noise", noise.impulse_noise, {"fraction": (0.03, 0.06, 0.09, 0.17, 0.27)}
    ),
    "speckle_noise": Corruption(
        "noise", noise.speckle_noise, {"deviation": (0.15, 0.2, 0.35, 0.45, 0.6)}
    ),
    "gaussian_blur": Corruption("blur", blur.gaussian_blur, {"deviation": _pixels(2, 3, 4, 5, 6)}),
    "defocus_blur": Corruption("blur", blur.defocus_blur, {"radius": _pixels(3, 4, 6, 8, 10)}),
    "motion_blur": Corruption("blur", blur.motion_blur, {"length": _pixels(10, 15, 20, 30, 40)}),
    "zoom_blur": Corruption("blur", blur.zoom_blur, {"factor": (1.11, 1.16, 1.21, 1.26, 1.31)}),
    "snow": Corruption(
        "weather",
        weather.snow,
        {"threshold": (1.5, 1.1, 0.8, 0.5, 0.2), "whiteness": (0.2, 0.3, 0.35, 0.4, 0.5)},
    ),
    "fog": Corruption("weather", weather.fog, {"density": (0.6, 0.9, 1.3, 1.8, 2.5)}),
    "brightness": Corruption("weather", weather.brightness, {"amount": (0.1, 0.2, 0.3, 0.4, 0.5)}),
    "contrast": Corruption(
        "digital", digital.contrast, {"factor": (0.4, 0.3, 0.2, 0.1, 0.05)}, grey_or_rgb=True
    ),
    "saturation": Corruption(
        "digital",
        digital.saturation,
        {"factor": (1.5, 2.0, 3.0, 5.0, 10.0)},
        of_colour=True,
        grey_or_rgb=True,
    ),
    "elastic": Corruption("digital", digital.elastic, {"reach": _pixels(2, 3, 4, 6, 8)}),
    "pixelation": Corruption(
        "digital", digital.pixelation, {"fraction": (0.6, 0.5, 0.4, 0.3, 0.25)}
    ),
    "jpeg": Corruption("digital", digital.jpeg, {"quality": (25, 18, 15, 10, 7)}, grey_or_rgb=True),
}


def corruption_names(channels: int) -> tuple[str, ...]:
    """List the corruptions that change images of so many channels.

    Args:
        channels: 1, 3, or any other number, for which kinds that know of colours are left out.

    Returns:
        The names, by family.

    >>> len(corruption_names(3)), set(corruption_names(3)) - set(corruption_names(1))
    (16, {'saturation'})
    >>> sorted(set(corruption_names(3)) - set(corruption_names(4)))
    ['contrast', 'jpeg', 'saturation']
    """
    return tuple(
        name
        for name, entry in CORRUPTIONS.items()
        if entry.takes(channels) and not (channels == 1 and entry.of_colour)
    )


def check_severity(severity: int) -> None:
    """Require a severity that there is.

    Args:
        severity: what was given.

    Raises:
        InputError: it is no whole number from 0 to 5.

    >>> check_severity(6)
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `severity` (=6) must be at most 5: choose less
    """
    ranges.whole("severity", severity, least=0, remedy="0 is none, 5 the most")
    if severity > SEVERITIES:
        raise InputError(f"`severity` (={severity}) must be at most {SEVERITIES}: choose less")


def corrupt(
    key: jax.Array,
    images: jax.Array,
    name: str,
    *,
    severity: int | jax.Array,
    identities: jax.Array | None = None,
) -> jax.Array:
    """Spoil images.

    May be compiled with the name static and the severity not, so that a corruption is compiled
    once. What becomes of an image depends on the key, its identity, the name and the severity, and
    on no other image.

    Args:
        key: random key.
        images: float [N, H, W, C] between 0 and 1.
        name: one of `CORRUPTIONS`.
        severity: 0 leaves the images as they are, to the bit; 1 to 5.
        identities: int32 [N], which images they are; None for 0 to N - 1.

    Returns:
        [N, H, W, C], between 0 and 1.

    Raises:
        InputError: there is no such corruption or severity, or the images have the wrong rank,
            type or, for that corruption, number of channels.

    >>> images = jnp.full((2, 8, 8, 3), 0.5)
    >>> bool((corrupt(jax.random.key(0), images, "brightness", severity=0) == images).all())
    True
    """
    if name not in CORRUPTIONS:
        raise InputError(f"`name` (={name!r}) is no corruption: {nearest(name, CORRUPTIONS)}")
    if not isinstance(severity, jax.Array):
        check_severity(severity)
    entry = CORRUPTIONS[name]
    severity = jnp.asarray(severity)
    row = jnp.maximum(severity - 1, 0)
    options = {
        option: jnp.asarray(values, jnp.float32)[row] for option, values in entry.options.items()
    }

    def spoilt(identity: jax.Array, image: jax.Array) -> jax.Array:
        return entry.function(jax.random.fold_in(key, identity), image, **options)

    identities = jnp.arange(len(images)) if identities is None else identities
    return jnp.where(severity == 0, images, jax.vmap(spoilt)(identities, images))
