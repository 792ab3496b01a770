"""Mixing images of a batch, and their labels in proportion: Mixup and CutMix.

These are functions of a batch, `(key, images, labels, *, options) -> (images, labels)`, with soft
labels: chances of the classes, [N, classes]. Each image is mixed with the one before it, the first
with the last, which is a random one since batches are shuffled, at a share of its own.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.errors import InputError

Mixed = tuple[jax.Array, jax.Array]
Mixer = Callable[[jax.Array, jax.Array, jax.Array], Mixed]


def blend_pairs(images: jax.Array, labels: jax.Array, shares: jax.Array) -> Mixed:
    """Blend each image, and its label, with the one before it.

    Args:
        images: [N, H, W, C].
        labels: [N, classes].
        shares: of the image itself, 0 to 1, [N].

    Returns:
        The images and labels, of the same shapes.

    Raises:
        InputError: the images or labels have the wrong shape or type.

    >>> images, labels = jnp.array([0.0, 1.0]).reshape(2, 1, 1, 1), jnp.eye(2)
    >>> mixed, soft = blend_pairs(images, labels, jnp.array([1.0, 0.75]))
    >>> mixed.ravel().tolist(), soft.tolist()
    ([0.0, 0.75], [[1.0, 0.0], [0.25, 0.75]])
    """
    images, labels = _checked(images, labels)
    weights = shares[:, None, None, None]
    blended = weights * images + (1 - weights) * jnp.roll(images, 1, 0)
    return blended.astype(images.dtype), _blend_labels(labels, shares)


def paste_boxes(images: jax.Array, labels: jax.Array, boxes: jax.Array) -> Mixed:
    """Paste a rectangle of the image before it into each, and blend their labels by its area.

    Args:
        images: [N, H, W, C].
        labels: [N, classes].
        boxes: top, left, height and width in pixels, within the image, int32 [N, 4].

    Returns:
        The images and labels, of the same shapes.

    Raises:
        InputError: the images or labels have the wrong shape or type.

    >>> images, labels = jnp.arange(2.0)[:, None, None, None] * jnp.ones((2, 1, 4, 1)), jnp.eye(2)
    >>> pasted, soft = paste_boxes(images, labels, jnp.array([[0, 0, 0, 0], [0, 3, 1, 1]]))
    >>> pasted[1].ravel().tolist(), soft[1].tolist()
    ([1.0, 1.0, 1.0, 0.0], [0.25, 0.75])
    """
    images, labels = _checked(images, labels)
    height, width = images.shape[1:3]
    tops, lefts, heights, widths = boxes.T[:, :, None]
    rows, columns = jnp.arange(height), jnp.arange(width)
    down = (rows >= tops) & (rows < tops + heights)
    across = (columns >= lefts) & (columns < lefts + widths)
    inside = down[:, :, None, None] & across[:, None, :, None]
    pasted = jnp.where(inside, jnp.roll(images, 1, 0), images)
    areas = boxes[:, 2] * boxes[:, 3]
    return pasted, _blend_labels(labels, 1 - areas / (height * width))


def mixup(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float = 0.2) -> Mixed:
    """Blend each image with another.

    Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2, eq. 2; the share is
    drawn for each image (the authors' code draws one for a batch).

    Args:
        key: random key.
        images: [N, H, W, C].
        labels: [N, classes].
        alpha: of the Beta distribution of the share; 0 leaves all as it is. 0.2 on ImageNet, 1 on
            CIFAR-10.

    Returns:
        The images and labels, of the same shapes.

    Raises:
        InputError: alpha is negative, or the images or labels have the wrong shape or type.

    >>> batch = jnp.ones((4, 8, 8, 3)), jnp.eye(4)
    >>> images, labels = jax.eval_shape(mixup, jax.random.key(0), *batch)
    >>> images.shape, labels.shape
    ((4, 8, 8, 3), (4, 4))
    """
    ranges.not_negative("alpha", alpha, remedy="0.2 is usual")
    images, labels = _checked(images, labels)
    return blend_pairs(images, labels, draw_shares(key, len(images), alpha=alpha))


def cutmix(key: jax.Array, images: jax.Array, labels: jax.Array, *, alpha: float = 1.0) -> Mixed:
    """Paste a rectangle of another image into each.

    Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
    Features", eq. 1 and 2: around an even random pixel, cut off at the edge; the labels are
    blended by the area that is left of it. Drawn for each image.

    Args:
        key: random key.
        images: [N, H, W, C].
        labels: [N, classes].
        alpha: of the Beta distribution of the share that stays; 0 leaves all as it is. 1 is usual.

    Returns:
        The images and labels, of the same shapes.

    Raises:
        InputError: alpha is negative, or the images or labels have the wrong shape or type.

    >>> batch = jnp.ones((4, 8, 8, 3)), jnp.eye(4)
    >>> images, labels = jax.eval_shape(cutmix, jax.random.key(0), *batch)
    >>> images.shape, labels.shape
    ((4, 8, 8, 3), (4, 4))
    """
    ranges.not_negative("alpha", alpha, remedy="1 is usual")
    images, labels = _checked(images, labels)
    share_key, key = jax.random.split(key)
    shares = draw_shares(share_key, len(images), alpha=alpha)
    return paste_boxes(images, labels, draw_boxes(key, images.shape[1:3], shares))


def draw_shares(key: jax.Array, count: int, *, alpha: float) -> jax.Array:
    """Draw the share of each image that stays, from Beta(alpha, alpha).

    Args:
        key: random key.
        count: how many.
        alpha: of the distribution; 0 for all 1.

    Returns:
        float32 [count].

    >>> draw_shares(jax.random.key(0), 2, alpha=0).tolist()
    [1.0, 1.0]
    """
    if not isinstance(alpha, jax.core.Tracer) and alpha == 0:
        return jnp.ones(count)
    return jax.random.beta(key, alpha, alpha, (count,))


def draw_boxes(key: jax.Array, shape: Sequence[int], shares: jax.Array) -> jax.Array:
    """Draw the rectangles of `cutmix`.

    Args:
        key: random key.
        shape: of the images: height, width and whatever follows.
        shares: of the area that are to stay, before a rectangle is cut off at the edge, [N].

    Returns:
        int32 [N, 4]: top, left, height, width.

    >>> draw_boxes(jax.random.key(0), (32, 32), jnp.ones(2))[:, 2:].tolist()
    [[0, 0], [0, 0]]
    """
    size = jnp.array(shape[:2])
    lengths = (jnp.sqrt(1 - shares)[:, None] * size).astype(jnp.int32)
    middles = jax.random.randint(key, (len(shares), 2), 0, size)
    starts = jnp.clip(middles - lengths // 2, 0, size)
    ends = jnp.clip(middles - lengths // 2 + lengths, 0, size)
    return jnp.concatenate([starts, ends - starts], 1)


def mix_one_of(
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    *,
    mixers: Sequence[Mixer],
    chances: Sequence[float] | jax.Array,
) -> Mixed:
    """Mix a batch in one of several ways, or in none; only what is chosen is computed.

    Args:
        key: random key.
        images: [N, H, W, C].
        labels: [N, classes].
        mixers: functions `(key, images, labels) -> (images, labels)`.
        chances: of each; what they lack of 1 is that of none. May be traced, as where a schedule
            gives them.

    Returns:
        The images and labels, of the same shapes.

    Raises:
        InputError: there are not as many chances as mixers, they are negative or sum to more than
            1, or the images or labels have the wrong shape or type.

    >>> from functools import partial
    >>> mixer = partial(mix_one_of, mixers=(mixup, cutmix), chances=(0.5, 0.5))
    >>> batch = jnp.ones((4, 8, 8, 3)), jnp.eye(4)
    >>> images, labels = jax.eval_shape(mixer, jax.random.key(0), *batch)
    >>> images.shape, labels.shape
    ((4, 8, 8, 3), (4, 4))
    """
    images, labels = _checked(images, labels)
    _check_chances(chances, count=len(mixers))
    choice_key, key = jax.random.split(key)
    ends = jnp.cumsum(jnp.asarray(chances, jnp.float32))
    choice = (jax.random.uniform(choice_key) >= ends).sum()
    branches = [*mixers, lambda key, images, labels: (images, labels)]
    return jax.lax.switch(choice, branches, key, images, labels)


def chances_until(
    total_steps: int, *, chances: Sequence[float], fraction: float = 1.0
) -> Callable[[int | jax.Array], jax.Array]:
    """Make a schedule for `mix_one_of`: as given up to a point of the run, then none.

    To spend the last epochs on images as they are is usual; timm calls it `mixup_off_epoch`.

    Args:
        total_steps: steps of the run.
        chances: of each mixer.
        fraction: of the run after which nothing is mixed any more, 0 to 1.

    Returns:
        step -> chances, float32 [mixers].

    Raises:
        InputError: the fraction is out of range, or the chances are negative or sum to more than 1.

    >>> schedule = chances_until(100, chances=(0.5, 0.25), fraction=0.9)
    >>> schedule(89).tolist(), schedule(90).tolist()
    ([0.5, 0.25], [0.0, 0.0])
    """
    ranges.whole("total_steps", total_steps, remedy="the run knows them")
    ranges.fraction("fraction", fraction, with_one=True, remedy="1 is to the end")
    _check_chances(chances, count=len(chances))
    until = round(fraction * total_steps)
    values = jnp.asarray(chances, jnp.float32)
    return lambda step: jnp.where(jnp.asarray(step) < until, values, 0)


def _check_chances(chances: Sequence[float] | jax.Array, *, count: int) -> None:
    if len(chances) != count:
        raise InputError(
            f"`chances` (={chances}) must be {count} numbers, one for each of `mixers`: "
            "what they lack of 1 is the chance of none"
        )
    if isinstance(chances, jax.core.Tracer):
        return
    if min(chances) < 0 or sum(chances) > 1 + 1e-6:
        raise InputError(
            f"`chances` (={chances}) must be at least 0 and sum to at most 1: "
            "divide them by their sum"
        )


def _blend_labels(labels: jax.Array, shares: jax.Array) -> jax.Array:
    weights = shares[:, None]
    return (weights * labels + (1 - weights) * jnp.roll(labels, 1, 0)).astype(labels.dtype)


def _checked(images: jax.Array, labels: jax.Array) -> Mixed:
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"`images` (of shape {images.shape}, {images.dtype}) must be floats "
            "[N, height, width, channels]: mix a batch, of bytes divided by 255"
        )
    if labels.shape[:1] != images.shape[:1] or labels.ndim != 2:
        raise InputError(
            f"`labels` (of shape {labels.shape}) must be [{len(images)}, classes]: "
            "make class numbers chances with jax.nn.one_hot"
        )
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        raise InputError(
            f"`labels` (of {labels.dtype}) must be floats, to be blended: "
            "make them with jax.nn.one_hot"
        )
    return images, labels
