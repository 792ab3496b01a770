"""How the families draw their first kernels, as the papers and reference codes have it."""

import jax
import jax.numpy as jnp
from flax.linen import initializers

Initializer = initializers.Initializer


def he_normal(mode: str = "fan_out", *, groups: int = 1) -> Initializer:
    """Draw from N(0, 2 / fan), which keeps the variance through ReLU layers.

    Args:
        mode: "fan_in" keeps the variance of the outputs, "fan_out" that of the gradients.
        groups: divides the fan-out, for codes that count the outputs of one group only.

    Returns:
        The initializer of kernels [..., C, F].

    He et al. 2015, "Delving deep into rectifiers", equations 10 and 14.
    """
    scale = 2.0 * groups if mode == "fan_out" else 2.0
    return initializers.variance_scaling(scale, mode, "normal")


def he_uniform() -> Initializer:
    """Draw evenly from +-sqrt(6 / fan_in): the variance of `he_normal("fan_in")`."""
    return initializers.variance_scaling(2.0, "fan_in", "uniform")


def uniform_fan_in() -> Initializer:
    """Draw evenly from +-1 / sqrt(fan_in), PyTorch's default for convolutions and dense layers."""
    return initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_fan_out() -> Initializer:
    """Draw evenly from +-1 / sqrt(fan_out), as EfficientNet does for its classifier."""
    return initializers.variance_scaling(1 / 3, "fan_out", "uniform")


def normal(stddev: float = 0.01) -> Initializer:
    """Draw from N(0, stddev^2)."""
    return initializers.normal(stddev)


def truncated_normal(stddev: float = 0.02, *, limit: float = 2.0) -> Initializer:
    """Draw from N(0, stddev^2), redrawn where beyond +-limit.

    Args:
        stddev: of the normal distribution before it is cut.
        limit: an absolute value, not a number of deviations, as timm and torchvision cut: with
            their small deviations next to nothing is.

    Returns:
        The initializer.
    """

    def init(key, shape, dtype=jnp.float32):
        bound = limit / stddev
        return stddev * jax.random.truncated_normal(key, -bound, bound, shape, dtype)

    return init


def dirac(rest: Initializer) -> Initializer:
    """Let the first C of F filters hand their channel on, and draw the rest.

    A filter that hands on is 1 at its middle, on its own channel, and 0 elsewhere: Zagoruyko and
    Komodakis 2017, "DiracNets", section 2; on the first filters alone in Jordan 2024, "94% on
    CIFAR-10 in 3.29 Seconds on a Single GPU", section 3.3. With F below C, F channels are handed
    on. The middle of an even side is the later one of two.

    Args:
        rest: draws the whole kernel first.

    Returns:
        The initializer of kernels [..., C, F].

    >>> dirac(normal())(jax.random.key(0), (3, 3, 1, 4))[..., 0, 0].tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def init(key, shape, dtype=jnp.float32):
        *sides, channels, filters = shape
        handed = min(channels, filters)
        middle = tuple(side // 2 for side in sides)
        passing = jnp.zeros((*sides, channels, handed), dtype)
        passing = passing.at[middle].set(jnp.eye(channels, handed, dtype=dtype))
        return rest(key, shape, dtype).at[..., :handed].set(passing)

    return init


def unit_deviation(draw: Initializer) -> Initializer:
    """Scale what is drawn to a standard deviation of exactly 1 (of the sample, N - 1).

    >>> float(unit_deviation(normal())(jax.random.key(0), (4, 4)).std(ddof=1).round(4))
    1.0
    """

    def init(key, shape, dtype=jnp.float32):
        drawn = draw(key, shape, dtype)
        return drawn / drawn.std(ddof=1)

    return init
