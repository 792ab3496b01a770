"""Weighted views of each image, one after the other: what a network says of them, averaged.

`cnn_jax.ensembles` has the views, and averages equal ones in one batch.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax

from cnn_jax.ensembles import View, as_it_is, flipped, shifted
from cnn_jax.errors import InputError


def mirror_views() -> tuple[tuple[float, View], ...]:
    """Name two views: the image and its mirror image, half each.

    >>> [weight for weight, _ in mirror_views()]
    [0.5, 0.5]
    """
    return ((0.5, as_it_is), (0.5, flipped))


def six_views(*, shift: int = 1) -> tuple[tuple[float, View], ...]:
    """Name six views: the image in its place (half), up and left, down and right, each mirrored.

    Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.5.

    Args:
        shift: pixels.

    Returns:
        Weights, which sum to 1, and functions of images [N, H, W, C].

    >>> [weight for weight, _ in six_views()]
    [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    """
    places = (
        (0.5, as_it_is),
        (0.25, partial(shifted, down=-shift, right=-shift, mode="reflect")),
        (0.25, partial(shifted, down=shift, right=shift, mode="reflect")),
    )
    return tuple(
        (half * part, lambda images, place=place, side=side: side(place(images)))
        for part, place in places
        for half, side in mirror_views()
    )


def over_views(
    answer: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    *,
    views: Sequence[tuple[float, View]] = mirror_views(),
) -> jax.Array:
    """Average a network's answers to several views of each image (test-time augmentation).

    Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks",
    section 4.1, average over ten; the mean here is of what `answer` gives, logits or chances.

    Args:
        answer: images [N, H, W, C] -> [N, ...].
        images: [N, H, W, C].
        views: weights and functions of images.

    Returns:
        [N, ...].

    Raises:
        InputError: there are no views.

    >>> image = jax.numpy.array([1.0, 5.0]).reshape(1, 1, 2, 1)
    >>> over_views(lambda images: images[:, 0, 0], image).tolist()
    [[3.0]]
    """
    if not views:
        raise InputError("`views` (=()) must not be empty: choose mirror_views() or six_views()")
    return sum(weight * answer(view(images)) for weight, view in views)
