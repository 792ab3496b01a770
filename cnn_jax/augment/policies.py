"""RandAugment and TrivialAugment: operations drawn at random, each with a strength.

A policy draws a chain, the places of the operations in `OPERATIONS` and their magnitudes, and
applies it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.augment.magnitudes import (
    Magnitudes,
    rand_augment_magnitudes,
    trivial_augment_magnitudes,
)
from cnn_jax.augment.operations import apply_operation
from cnn_jax.augment.together import OPERATIONS
from cnn_jax.augment.warping import Interpolation
from cnn_jax.errors import InputError


class Chain(NamedTuple):
    """Operations to apply one after the other.

    Attributes:
        operations: places in `OPERATIONS`, int32 [..., length].
        magnitudes: as `apply_operation` takes them, float32 [..., length].
    """

    operations: jax.Array
    magnitudes: jax.Array


def apply_chain(
    image: jax.Array,
    chain: Chain,
    *,
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply operations one after the other.

    Args:
        image: [H, W, C], C 1 or 3.
        chain: the operations, [length].
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels, or the interpolation
            is unknown.

    >>> twice = Chain(jnp.full(2, OPERATIONS.index("invert")), jnp.zeros(2))
    >>> jax.jit(apply_chain)(jnp.array([[[0.25]]]), twice).tolist()
    [[[0.25]]]
    """
    image = checks.image(image, colour=True)

    def step(image: jax.Array, link: Chain) -> tuple[jax.Array, None]:
        return apply_operation(image, *link, interpolation=interpolation, fill=fill), None

    return jax.lax.scan(step, image, chain)[0]


def draw_links(
    key: jax.Array, shape: Sequence[int], magnitudes: Magnitudes, levels: int | jax.Array
) -> Chain:
    """Draw operations evenly from a table, and their signs.

    Args:
        key: random key.
        shape: how many to draw.
        magnitudes: the table.
        levels: of the operations, one number or an array of the shape.

    Returns:
        The operations, of the shape.

    >>> draw_links(jax.random.key(0), (3, 2), trivial_augment_magnitudes(), 5).operations.shape
    (3, 2)
    """
    places = jnp.array([OPERATIONS.index(name) for name in magnitudes], jnp.int32)
    values = jnp.array(np.stack([each for each, _ in magnitudes.values()]), jnp.float32)
    signed = jnp.array([sign for _, sign in magnitudes.values()])
    sign_key, key = jax.random.split(key)
    drawn = jax.random.randint(key, shape, 0, len(places))
    minus = signed[drawn] & jax.random.bernoulli(sign_key, shape=shape)
    strength = values[drawn, levels]
    return Chain(places[drawn], jnp.where(minus, -strength, strength))


def rand_augment(
    key: jax.Array,
    image: jax.Array,
    *,
    count: int = 2,
    magnitude: int = 9,
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply a few random operations, all at one level.

    Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search
    space": N operations (`count`) at level M (`magnitude`).

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        count: how many operations.
        magnitude: level, 0 to 30.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank, type or number of
            channels.

    >>> from functools import partial
    >>> operation = partial(rand_augment, magnitude=14)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    chain = draw_rand_augment(key, image.shape, count=count, magnitude=magnitude)
    return apply_chain(image, chain, interpolation=interpolation, fill=fill)


def draw_rand_augment(
    key: jax.Array, shape: Sequence[int], *, count: int = 2, magnitude: int = 9
) -> Chain:
    """Draw what `rand_augment` does.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        count: how many operations.
        magnitude: level, 0 to 30.

    Returns:
        The operations, [count].

    Raises:
        InputError: an option is out of range.

    >>> draw_rand_augment(jax.random.key(0), (32, 32), count=3).magnitudes.shape
    (3,)
    """
    ranges.whole("count", count, least=0, remedy="2 is usual")
    ranges.whole("magnitude", magnitude, least=0, remedy="9 is usual")
    if magnitude > 30:
        raise InputError(f"`magnitude` (={magnitude}) must be at most 30: 9 is usual")
    return draw_links(key, (count,), rand_augment_magnitudes(shape), magnitude)


def trivial_augment(
    key: jax.Array,
    image: jax.Array,
    *,
    interpolation: Interpolation = "nearest",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Apply one random operation at a random level.

    Müller & Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
    algorithm 1 with the wide space.

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: the image has the wrong rank, type or number of channels, or the interpolation
            is unknown.

    >>> jax.eval_shape(trivial_augment, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    chain = draw_trivial_augment(key)
    return apply_chain(image, chain, interpolation=interpolation, fill=fill)


def draw_trivial_augment(key: jax.Array) -> Chain:
    """Draw what `trivial_augment` does.

    Args:
        key: random key.

    Returns:
        The operation, [1].

    >>> draw_trivial_augment(jax.random.key(0)).operations.shape
    (1,)
    """
    level_key, key = jax.random.split(key)
    magnitudes = trivial_augment_magnitudes()
    level = jax.random.randint(level_key, (1,), 0, 31)
    return draw_links(key, (1,), magnitudes, level)
