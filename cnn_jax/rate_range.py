"""The learning-rate range test: raise the rate step by step, and see where the loss falls."""

from dataclasses import dataclass, replace

import numpy as np

from cnn_jax import ranges, schedules
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.errors import InputError
from cnn_jax.recipe import Recipe, check
from cnn_jax.train import make_engine

# The test ends when the smoothed loss is so many times its lowest.
_BURST = 4.0
# Weight of the past in the smoothed loss.
_MEMORY = 0.9


@dataclass(frozen=True, eq=False)
class RateRange:
    """What the range test has found.

    Attributes:
        rates: float64 [steps], the learning rates that were tried.
        losses: float64 [steps], the loss at each, smoothed.
        suggestion: a learning rate: a tenth of the one with the lowest loss.
    """

    rates: np.ndarray
    losses: np.ndarray
    suggestion: float


def range_test(
    recipe: Recipe, *, low: float = 1e-6, high: float = 10.0, steps: int = 200
) -> RateRange:
    """Train with a rate that rises exponentially (Smith 2017, section 3.3; there linearly).

    Args:
        recipe: the recipe, whose own schedule is not used.
        low: the first rate.
        high: the last one, unless the loss bursts before.
        steps: from the first to the last.

    Returns:
        The rates, the losses and a suggestion.

    Raises:
        InputError: the recipe cannot be run, an option is out of range, or the loss rises from
            the first rate on.
    """
    ranges.positive("low", low, remedy="1e-6 is usual")
    ranges.whole("steps", steps, least=10, remedy="200 is usual")
    if not high > low:
        raise InputError(f"`high` (={high}) must be above `low` (={low}): 10 is usual")
    check(recipe)
    data = recipe.data.train

    def rising(_: int):
        return schedules.exponential(steps - 1, learning_rate=low, factor=high / low)

    normalization = recipe.normalization or channel_statistics(data)
    engine = make_engine(
        replace(recipe, normalization=normalization, schedule=rising, stages=recipe.stages[:1])
    )
    state, rates, losses, mean, taken = engine.fresh_state(), [], [], 0.0, 0
    for step in range(steps):
        batch = train_batch(data, recipe.seed, step, batch_size=recipe.batch_size)
        state, metrics = engine.train_step(state, engine.place(batch))
        if not metrics["count"]:  # an overflow of float16, which is no loss
            continue
        mean = _MEMORY * mean + (1 - _MEMORY) * float(metrics["loss"] / metrics["count"])
        # The weights of the past sum to less than 1 at first (as in Adam).
        smooth = mean / (1 - _MEMORY ** (len(losses) + 1))
        if not np.isfinite(smooth) or smooth > _BURST * min([*losses, smooth]):
            break
        rates.append(float(engine.schedule(taken)))
        losses.append(smooth)
        taken += not metrics.get("skipped", False)
    return RateRange(np.array(rates), np.array(losses), suggested(rates, losses))


def suggested(rates, losses) -> float:
    """Suggest a learning rate: a tenth of the one at which the loss is lowest.

    Args:
        rates: the learning rates, rising.
        losses: the smoothed loss at each.

    Returns:
        The rate.

    Raises:
        InputError: the loss is lowest at the first rate.

    >>> suggested([0.001, 0.01, 0.1, 1.0], [2.3, 2.0, 1.5, 9.0])
    0.01
    """
    lowest = int(np.argmin(losses)) if len(losses) else 0
    if not lowest:
        raise InputError(
            "the loss rises from the lowest rate on: choose a lower `low`, or check the recipe by "
            "`cnn-jax overfit`"
        )
    return float(rates[lowest]) / 10
