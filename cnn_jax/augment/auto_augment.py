"""AutoAugment: one of 25 learned pairs of operations, for CIFAR, ImageNet or SVHN.

Each line of a policy is a pair; each of its two parts the name of the operation, the probability
of it, and its level (None where it has none).
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.augment import checks
from cnn_jax.augment.magnitudes import auto_augment_magnitudes
from cnn_jax.augment.policies import Chain, apply_chain
from cnn_jax.augment.together import OPERATIONS
from cnn_jax.augment.warping import Interpolation

Part = tuple[str, float, int | None]

POLICIES: dict[str, tuple[tuple[Part, Part], ...]] = {
    "cifar10": (
        (("invert", 0.1, None), ("contrast", 0.2, 6)),
        (("rotate", 0.7, 2), ("translate_x", 0.3, 9)),
        (("sharpness", 0.8, 1), ("sharpness", 0.9, 3)),
        (("shear_y", 0.5, 8), ("translate_y", 0.7, 9)),
        (("autocontrast", 0.5, None), ("equalize", 0.9, None)),
        (("shear_y", 0.2, 7), ("posterize", 0.3, 7)),
        (("color", 0.4, 3), ("brightness", 0.6, 7)),
        (("sharpness", 0.3, 9), ("brightness", 0.7, 9)),
        (("equalize", 0.6, None), ("equalize", 0.5, None)),
        (("contrast", 0.6, 7), ("sharpness", 0.6, 5)),
        (("color", 0.7, 7), ("translate_x", 0.5, 8)),
        (("equalize", 0.3, None), ("autocontrast", 0.4, None)),
        (("translate_y", 0.4, 3), ("sharpness", 0.2, 6)),
        (("brightness", 0.9, 6), ("color", 0.2, 8)),
        (("solarize", 0.5, 2), ("invert", 0.0, None)),
        (("equalize", 0.2, None), ("autocontrast", 0.6, None)),
        (("equalize", 0.2, None), ("equalize", 0.6, None)),
        (("color", 0.9, 9), ("equalize", 0.6, None)),
        (("autocontrast", 0.8, None), ("solarize", 0.2, 8)),
        (("brightness", 0.1, 3), ("color", 0.7, 0)),
        (("solarize", 0.4, 5), ("autocontrast", 0.9, None)),
        (("translate_y", 0.9, 9), ("translate_y", 0.7, 9)),
        (("autocontrast", 0.9, None), ("solarize", 0.8, 3)),
        (("equalize", 0.8, None), ("invert", 0.1, None)),
        (("translate_y", 0.7, 9), ("autocontrast", 0.9, None)),
    ),
    "imagenet": (
        (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
        (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
        (("equalize", 0.8, None), ("equalize", 0.6, None)),
        (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
        (("equalize", 0.4, None), ("solarize", 0.2, 4)),
        (("equalize", 0.4, None), ("rotate", 0.8, 8)),
        (("solarize", 0.6, 3), ("equalize", 0.6, None)),
        (("posterize", 0.8, 5), ("equalize", 1.0, None)),
        (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
        (("equalize", 0.6, None), ("posterize", 0.4, 6)),
        (("rotate", 0.8, 8), ("color", 0.4, 0)),
        (("rotate", 0.4, 9), ("equalize", 0.6, None)),
        (("equalize", 0.0, None), ("equalize", 0.8, None)),
        (("invert", 0.6, None), ("equalize", 1.0, None)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("rotate", 0.8, 8), ("color", 1.0, 2)),
        (("color", 0.8, 8), ("solarize", 0.8, 7)),
        (("sharpness", 0.4, 7), ("invert", 0.6, None)),
        (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
        (("color", 0.4, 0), ("equalize", 0.6, None)),
        (("equalize", 0.4, None), ("solarize", 0.2, 4)),
        (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
        (("invert", 0.6, None), ("equalize", 1.0, None)),
        (("color", 0.6, 4), ("contrast", 1.0, 8)),
        (("equalize", 0.8, None), ("equalize", 0.6, None)),
    ),
    "svhn": (
        (("shear_x", 0.9, 4), ("invert", 0.2, None)),
        (("shear_y", 0.9, 8), ("invert", 0.7, None)),
        (("equalize", 0.6, None), ("solarize", 0.6, 6)),
        (("invert", 0.9, None), ("equalize", 0.6, None)),
        (("equalize", 0.6, None), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("autocontrast", 0.8, None)),
        (("shear_y", 0.9, 8), ("invert", 0.4, None)),
        (("shear_y", 0.9, 5), ("solarize", 0.2, 6)),
        (("invert", 0.9, None), ("autocontrast", 0.8, None)),
        (("equalize", 0.6, None), ("rotate", 0.9, 3)),
        (("shear_x", 0.9, 4), ("solarize", 0.3, 3)),
        (("shear_y", 0.8, 8), ("invert", 0.7, None)),
        (("equalize", 0.9, None), ("translate_y", 0.6, 6)),
        (("invert", 0.9, None), ("equalize", 0.6, None)),
        (("contrast", 0.3, 3), ("rotate", 0.8, 4)),
        (("invert", 0.8, None), ("translate_y", 0.0, 2)),
        (("shear_y", 0.7, 6), ("solarize", 0.4, 8)),
        (("invert", 0.6, None), ("rotate", 0.8, 4)),
        (("shear_y", 0.3, 7), ("translate_x", 0.9, 3)),
        (("shear_x", 0.1, 6), ("invert", 0.6, None)),
        (("solarize", 0.7, 2), ("translate_y", 0.6, 7)),
        (("shear_y", 0.8, 4), ("invert", 0.8, None)),
        (("shear_x", 0.7, 9), ("translate_y", 0.8, 3)),
        (("shear_y", 0.8, 5), ("autocontrast", 0.7, None)),
        (("shear_x", 0.7, 2), ("invert", 0.1, None)),
    ),
}


def auto_augment(
    key: jax.Array,
    image: jax.Array,
    *,
    policy: Literal["cifar10", "imagenet", "svhn"],
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply one of the pairs of operations that were found to help on a dataset.

    Cubuk et al. 2019, "AutoAugment: Learning Augmentation Strategies from Data", tables 7
    (CIFAR-10), 8 (SVHN) and 9 (ImageNet).

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        policy: which dataset's.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel (the paper: grey, 0.5).

    Returns:
        [H, W, C].

    Raises:
        InputError: the policy is unknown, or the image has the wrong rank, type or number of
            channels.

    >>> from functools import partial
    >>> operation = partial(auto_augment, policy="cifar10")
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    chain = draw_auto_augment(key, image.shape, policy=policy)
    return apply_chain(image, chain, interpolation=interpolation, fill=fill)


def draw_auto_augment(
    key: jax.Array, shape: Sequence[int], *, policy: Literal["cifar10", "imagenet", "svhn"]
) -> Chain:
    """Draw what `auto_augment` does.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        policy: which dataset's.

    Returns:
        The operations, [2], the identity for one that does not happen.

    Raises:
        InputError: the policy is unknown.

    >>> draw_auto_augment(jax.random.key(0), (32, 32), policy="svhn").operations.shape
    (2,)
    """
    checks.one_of("policy", policy, tuple(POLICIES))
    magnitudes = auto_augment_magnitudes(shape)
    pairs = POLICIES[policy]
    places = np.array([[OPERATIONS.index(name) for name, _, _ in pair] for pair in pairs])
    chances = np.array([[chance for _, chance, _ in pair] for pair in pairs])
    strengths = np.array([[magnitudes[name][0][level or 0] for name, _, level in p] for p in pairs])
    signed = np.array([[magnitudes[name][1] for name, _, _ in pair] for pair in pairs])
    pair_key, chance_key, sign_key = jax.random.split(key, 3)
    drawn = jax.random.randint(pair_key, (), 0, len(pairs))
    happens = jax.random.uniform(chance_key, (2,)) < jnp.array(chances, jnp.float32)[drawn]
    minus = jax.random.bernoulli(sign_key, shape=(2,)) & jnp.array(signed)[drawn]
    strength = jnp.array(strengths, jnp.float32)[drawn]
    operations = jnp.where(happens, jnp.array(places)[drawn], OPERATIONS.index("identity"))
    return Chain(operations.astype(jnp.int32), jnp.where(minus, -strength, strength))
