"""AugMix: several chains of operations, blended with each other and with the image."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cnn_jax import ranges
from cnn_jax.augment import checks
from cnn_jax.augment.magnitudes import augmix_magnitudes
from cnn_jax.augment.policies import Chain, apply_chain, draw_links
from cnn_jax.augment.together import OPERATIONS
from cnn_jax.augment.warping import Interpolation
from cnn_jax.errors import InputError

DEEPEST = 3


def augmix(
    key: jax.Array,
    image: jax.Array,
    *,
    severity: int = 3,
    width: int = 3,
    depth: int | None = None,
    alpha: float = 1.0,
    interpolation: Interpolation = "bilinear",
    fill: float | Sequence[float] = 0.0,
) -> jax.Array:
    """Blend an image with a blend of several augmented ones.

    Hendrycks et al. 2020, "AugMix: A Simple Data Processing Method to Improve Robustness and
    Uncertainty", algorithm 1, without its loss.

    Args:
        key: random key.
        image: [H, W, C], C 1 or 3.
        severity: every operation is at a random one of the lowest so many levels of ten.
        width: how many chains.
        depth: operations in each chain; None for a random number, 1 to 3.
        alpha: of the Dirichlet distribution of the chains' weights and of the Beta distribution of
            the weight of all of them together.
        interpolation: of the geometric operations, nearest or bilinear.
        fill: what comes in from outside, a number or one for each channel.

    Returns:
        [H, W, C].

    Raises:
        InputError: an option is out of range, or the image has the wrong rank, type or number of
            channels.

    >>> from functools import partial
    >>> operation = partial(augmix, width=2, depth=1)
    >>> jax.eval_shape(operation, jax.random.key(0), jnp.ones((8, 8, 3))).shape
    (8, 8, 3)
    """
    image = checks.image(image, colour=True)
    chains, weights = draw_augmix(
        key, image.shape, severity=severity, width=width, depth=depth, alpha=alpha
    )
    augmented = jax.vmap(
        lambda chain: apply_chain(image, chain, interpolation=interpolation, fill=fill)
    )(chains)
    blend = weights[0] * image + (weights[1:, None, None, None] * augmented).sum(0)
    return blend.astype(image.dtype)


def draw_augmix(
    key: jax.Array,
    shape: Sequence[int],
    *,
    severity: int = 3,
    width: int = 3,
    depth: int | None = None,
    alpha: float = 1.0,
) -> tuple[Chain, jax.Array]:
    """Draw what `augmix` does.

    Args:
        key: random key.
        shape: of the image: height, width and whatever follows.
        severity: as there.
        width: as there.
        depth: as there.
        alpha: as there.

    Returns:
        The chains, [width, depth]; and the weights of the image and of each chain, which sum to 1,
        float32 [1 + width].

    Raises:
        InputError: an option is out of range.

    >>> from functools import partial
    >>> draw = partial(draw_augmix, shape=(32, 32))
    >>> chains, weights = jax.eval_shape(draw, jax.random.key(0))
    >>> chains.operations.shape, weights.shape
    ((3, 3), (4,))
    """
    ranges.whole("severity", severity, remedy="3 is usual")
    if severity > 10:
        raise InputError(f"`severity` (={severity}) must be at most 10: 3 is usual")
    ranges.whole("width", width, remedy="3 is usual")
    if depth is not None:
        ranges.whole("depth", depth, remedy="None draws 1 to 3")
    ranges.positive("alpha", alpha, remedy="1 is usual")
    level_key, depth_key, chain_key, beta_key, dirichlet_key = jax.random.split(key, 5)
    longest = DEEPEST if depth is None else depth
    levels = jax.random.randint(level_key, (width, longest), 0, severity)
    chains = draw_links(chain_key, (width, longest), augmix_magnitudes(shape), levels)
    if depth is None:
        depths = jax.random.randint(depth_key, (width, 1), 1, longest + 1)
        identity = OPERATIONS.index("identity")
        counts = jnp.arange(longest) < depths
        chains = Chain(jnp.where(counts, chains.operations, identity), chains.magnitudes)
    share = jax.random.beta(beta_key, alpha, alpha)
    weights = jax.random.dirichlet(dirichlet_key, jnp.full(width, alpha, jnp.float32))
    return chains, jnp.concatenate([1 - share[None], share * weights])
