"""The one-cycle policy: the learning rate rises and falls while the momentum falls and rises.

Smith and Topin 2018, section 3; Smith 2018, section 4.2 for the momentum.

    schedule=partial(one_cycle, learning_rate=0.4)
"""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from cnn_jax import ranges
from cnn_jax.schedules import Moment, warmup_steps


def one_cycle(
    total_steps: int,
    *,
    learning_rate: float,
    rise: float = 0.3,
    start: float = 0.04,
    end: float = 4e-6,
    straight: bool = False,
) -> optax.Schedule:
    """Rise to the learning rate, then fall far below where the rise began.

    Args:
        total_steps: steps of the run.
        learning_rate: the highest rate.
        rise: part of the run that the rise takes.
        start: rate of step 0, as a fraction of `learning_rate`.
        end: rate of the last step, as a fraction of `learning_rate`.
        straight: whether to go in straight lines instead of half cosines.

    Returns:
        step -> learning rate. The highest one falls on step `rise * total_steps - 1`, the last on
        step `total_steps - 1`, as PyTorch counts.

    Raises:
        InputError: the learning rate is not positive, or a fraction is out of range.

    >>> rates = one_cycle(100, learning_rate=1.0)
    >>> [round(float(rates(step)), 3) for step in (0, 29, 64, 99)]
    [0.04, 1.0, 0.5, 0.0]
    """
    ranges.positive("learning_rate", learning_rate, remedy="0.1 is usual for SGD")
    ranges.fraction("start", start, with_one=True, remedy="0.04 is usual")
    ranges.fraction("end", end, with_one=True, remedy="4e-6 is usual")
    ranges.fraction("rise", rise, remedy="0.3 is usual")

    def schedule(step):
        rising, left, done = _phase(step, total_steps, rise, straight)
        return learning_rate * jnp.where(rising, start * left + done, left + end * done)

    return schedule


def one_cycle_momentum(
    total_steps: int,
    *,
    high: float = 0.95,
    low: float = 0.85,
    rise: float = 0.3,
    straight: bool = False,
    warmup: Moment = 0,
    accumulate: int = 1,
) -> optax.Schedule:
    """Fall from the high momentum to the low one while the learning rate rises, and come back.

    Args:
        total_steps: steps of the run.
        high: momentum of the first and the last step.
        low: momentum at the highest learning rate.
        rise: part of the run that the learning rate's rise takes.
        straight: whether to go in straight lines instead of half cosines.
        warmup: length of a `schedules.warmup` around the learning rate's cycle, which this one
            then begins after as well; steps or a fraction of the run.
        accumulate: steps of `gradients.accumulated`, if that is around the optimizer: it counts
            the rarer steps that move the parameters.

    Returns:
        step -> momentum, for `optim.sgd`; with `accumulate` rarer step -> momentum.

    Raises:
        InputError: a momentum, the fraction, `warmup` or `accumulate` is out of range.

    >>> momenta = one_cycle_momentum(100)
    >>> [round(float(momenta(step)), 3) for step in (0, 29, 64, 99)]
    [0.95, 0.85, 0.9, 0.95]
    """
    ranges.fraction("high", high, remedy="0.95 is usual")
    ranges.fraction("low", low, remedy="0.85 is usual")
    ranges.fraction("rise", rise, remedy="0.3 is usual")

    ranges.whole("accumulate", accumulate, remedy="1 accumulates nothing")
    before = warmup_steps(total_steps, warmup)

    # Partials of plain functions: a recipe that holds them can be described.
    cycle = partial(
        _momentum,
        total_steps=total_steps - before,
        high=high,
        low=low,
        rise=rise,
        straight=straight,
    )
    if not before and accumulate == 1:
        return cycle
    return partial(_moved, cycle=cycle, before=before, accumulate=accumulate)


def _moved(
    step: jax.Array | int, *, cycle: optax.Schedule, before: int, accumulate: int
) -> jax.Array:
    return cycle(jnp.maximum(jnp.asarray(step) * accumulate - before, 0))


def _momentum(
    step: jax.Array | int, *, total_steps: int, high: float, low: float, rise: float, straight: bool
) -> jax.Array:
    rising, left, done = _phase(step, total_steps, rise, straight)
    return jnp.where(rising, high * left + low * done, low * left + high * done)


def _phase(
    step: jax.Array | int, total_steps: int, rise: float, straight: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return whether the rate rises, and what is left and done of the way in rise or fall."""
    top, last = rise * total_steps - 1, total_steps - 1
    step = jnp.asarray(step)
    rising = step <= top
    begin, end = jnp.where(rising, 0.0, max(top, 0.0)), jnp.where(rising, top, last)
    length = jnp.where(end > begin, end - begin, 1.0)
    left = jnp.clip((end - step) / length, 0, 1)
    done = jnp.where(end > begin, jnp.clip((step - begin) / length, 0, 1), 1.0)
    if straight:
        return rising, left, done
    return rising, jnp.sin(jnp.pi / 2 * left) ** 2, jnp.sin(jnp.pi / 2 * done) ** 2
