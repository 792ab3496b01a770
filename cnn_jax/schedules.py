"""Learning-rate schedules: functions of the number of steps that give an Optax schedule.

A recipe holds one with everything but the number of steps filled in, which the run knows:

    schedule=partial(schedules.cosine, learning_rate=1e-3)
    schedule=partial(schedules.warmup, steps=0.05,
                     schedule=partial(schedules.cosine, learning_rate=1e-3))

A length or a moment is a whole number of steps, or a float: a fraction of the run.

Every rate is a sum of positive terms, each of which falls to 0 through an exact difference of
whole numbers, so that the last, small rates have as many right digits in float32 as the first.
"""

import math
import numbers
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from cnn_jax import ranges
from cnn_jax.errors import InputError

# A number of steps, or (a float) a fraction of the run.
Moment = int | float


def constant(total_steps: int, *, learning_rate: float) -> optax.Schedule:
    """Keep the learning rate.

    Args:
        total_steps: steps of the run.
        learning_rate: rate of every step.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate is not positive.

    >>> float(constant(100, learning_rate=0.5)(99))
    0.5
    """
    _check(learning_rate)
    return optax.schedules.constant_schedule(learning_rate)


def linear(
    total_steps: int, *, learning_rate: float, start: float = 1.0, end: float = 0.0
) -> optax.Schedule:
    """Go from one rate to another in a straight line.

    Args:
        total_steps: steps of the run.
        learning_rate: what `start` and `end` are fractions of.
        start: rate of step 0, as a fraction.
        end: rate of step `total_steps` and after it, as a fraction.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate is not positive, or a fraction is negative.

    >>> [round(float(linear(100, learning_rate=0.1)(step)), 4) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """
    _check(learning_rate)
    ranges.not_negative("start", start, remedy="1 begins with `learning_rate`")
    ranges.not_negative("end", end, remedy="0 ends with a rate of 0")
    return lambda step: learning_rate * _between(start, end, _line(step, 0, total_steps))


def polynomial(
    total_steps: int, *, learning_rate: float, power: float = 2.0, floor: float = 0.0
) -> optax.Schedule:
    """Fall to the floor as a power of the part of the run that remains (Chen et al. 2017).

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        power: exponent; 1 is a straight line, the paper's is 0.9.
        floor: rate of step `total_steps` and after it, as a fraction of `learning_rate`.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate or the power is not positive, or the floor not below 1.

    >>> [round(float(polynomial(100, learning_rate=0.1)(step)), 4) for step in (0, 50, 100)]
    [0.1, 0.025, 0.0]
    """
    _check(learning_rate)
    ranges.positive("power", power, remedy="1 is a straight line")
    ranges.fraction("floor", floor, remedy="0 ends with a rate of 0")

    def schedule(step):
        left, _ = _line(step, 0, total_steps)
        return learning_rate * _between(1.0, floor, (left**power, 1 - left**power))

    return schedule


def cosine(total_steps: int, *, learning_rate: float, floor: float = 0.0) -> optax.Schedule:
    """Fall from the learning rate to the floor along half a cosine (Loshchilov and Hutter 2017).

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        floor: rate of step `total_steps` and after it, as a fraction of `learning_rate`.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate is not positive, or the floor not below 1.

    >>> [round(float(cosine(100, learning_rate=0.1)(step)), 4) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """
    _check(learning_rate)
    ranges.fraction("floor", floor, remedy="0 ends with a rate of 0")
    return lambda step: (
        learning_rate * _between(1.0, floor, _half_cosine(_line(step, 0, total_steps)))
    )


def cosine_restarts(
    total_steps: int,
    *,
    learning_rate: float,
    period: Moment,
    growth: int = 1,
    floor: float = 0.0,
) -> optax.Schedule:
    """Fall along half a cosine again and again (Loshchilov and Hutter 2017, equation 5).

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0 and of each restart.
        period: length of the first fall; steps or a fraction of the run.
        growth: how many times longer each fall is than the one before; a whole number.
        floor: what each fall leads to, as a fraction of `learning_rate`.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate is not positive, or an option is out of range.

    >>> schedule = cosine_restarts(100, learning_rate=0.1, period=10, growth=2)
    >>> [round(float(schedule(step)), 4) for step in (0, 5, 10, 20, 30)]
    [0.1, 0.05, 0.1, 0.05, 0.1]
    """
    _check(learning_rate)
    ranges.whole("growth", growth, remedy="1 keeps the period, 2 doubles it")
    ranges.fraction("floor", floor, remedy="0 falls to a rate of 0")
    length = _steps("period", period, total_steps, least=1, beyond=True)
    starts = [0]  # of the falls that grow, and of the one that would begin after the run
    while growth > 1 and starts[-1] <= total_steps:
        starts.append(starts[-1] + length * growth ** (len(starts) - 1))

    def schedule(step):
        step = jnp.asarray(step)
        if growth == 1:
            start, end = step // length * length, (step // length + 1) * length
        else:
            fall = jnp.clip(jnp.sum(step[..., None] >= jnp.array(starts), -1), 1, len(starts) - 1)
            start, end = jnp.array(starts)[fall - 1], jnp.array(starts)[fall]
        return learning_rate * _between(1.0, floor, _half_cosine(_line(step, start, end)))

    return schedule


def step(
    total_steps: int,
    *,
    learning_rate: float,
    drops: int = 2,
    factor: float = 0.1,
    every: Moment | None = None,
) -> optax.Schedule:
    """Multiply the learning rate by a factor at equal intervals.

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        drops: how often; 2 falls after a third and after two thirds of the steps.
        factor: what each drop multiplies by.
        every: the interval, instead of `drops`; steps or a fraction of the run.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate or the factor is not positive, or an option is out of range.

    >>> [round(float(step(90, learning_rate=1.0)(index)), 2) for index in (29, 30, 60)]
    [1.0, 0.1, 0.01]
    >>> round(float(step(90, learning_rate=1.0, factor=0.5, every=10)(39)), 4)
    0.125
    """
    _check(learning_rate)
    ranges.positive("factor", factor, remedy="0.1 is usual")
    if every is not None:
        interval = _steps("every", every, total_steps, least=1, beyond=True)
        return lambda index: _power(learning_rate, factor, jnp.asarray(index) // interval)
    ranges.whole("drops", drops, least=0, remedy="2 is usual, 0 keeps the rate")
    parts = range(1, drops + 1)
    return _drop(learning_rate, factor, [round(total_steps * part / (drops + 1)) for part in parts])


def multi_step(
    total_steps: int,
    *,
    learning_rate: float,
    milestones: Sequence[Moment],
    factor: float = 0.1,
) -> optax.Schedule:
    """Multiply the learning rate by a factor at given steps.

    He et al. 2016, section 4.2, for instance: `milestones=(0.5, 0.75)` of 64,000 steps.

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        milestones: the first step of each lower rate, in order; steps or fractions of the run.
        factor: what each drop multiplies by.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the milestones are out of order or mix steps and fractions, or the learning
            rate or the factor is not positive.

    >>> schedule = multi_step(100, learning_rate=1.0, milestones=(0.5, 0.75))
    >>> [round(float(schedule(step)), 2) for step in (49, 50, 75)]
    [1.0, 0.1, 0.01]
    """
    _check(learning_rate)
    ranges.positive("factor", factor, remedy="0.1 is usual")
    whole = {isinstance(moment, numbers.Integral) for moment in milestones}
    if len(whole) > 1:
        raise InputError(
            f"`milestones` (={tuple(milestones)}) must all be steps or all fractions of the run: "
            "write every one as a whole number or every one as a float"
        )
    ordered = sorted(set(milestones))
    if list(milestones) != ordered:
        raise InputError(
            f"`milestones` (={tuple(milestones)}) must rise: write them as {tuple(ordered)}"
        )
    moments = [_steps("milestones", moment, total_steps, beyond=True) for moment in milestones]
    return _drop(learning_rate, factor, moments)


def exponential(
    total_steps: int, *, learning_rate: float, factor: float = 0.01, every: Moment = 1.0
) -> optax.Schedule:
    """Multiply the learning rate by a constant at each step.

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        factor: what the rate has been multiplied by after `every`.
        every: steps or a fraction of the run; 1 is a step and 1.0 the whole run.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the learning rate or the factor is not positive, or `every` is out of range.

    >>> [round(float(exponential(100, learning_rate=1.0)(step)), 4) for step in (0, 50, 100)]
    [1.0, 0.1, 0.01]
    """
    _check(learning_rate)
    ranges.positive("factor", factor, remedy="0.01 falls to a hundredth")
    length = _steps("every", every, total_steps, least=1, beyond=True)
    return lambda step: _power(learning_rate, factor, jnp.asarray(step) / length)


def warmup(
    total_steps: int,
    *,
    schedule: Callable[[int], optax.Schedule],
    steps: Moment,
    start: float = 0.01,
) -> optax.Schedule:
    """Rise in a straight line to the rate that another schedule begins with, then follow it.

    Goyal et al. 2017, section 2.2.

    Args:
        total_steps: steps of the run.
        schedule: number of steps -> schedule, given the steps that remain after the warm-up.
        steps: length of the warm-up; steps or a fraction of the run.
        start: rate of step 0, as a fraction of the other schedule's first rate.

    Returns:
        step -> learning rate.

    Raises:
        InputError: the warm-up is longer than the run, or `start` is out of range.

    >>> from functools import partial
    >>> rates = warmup(100, schedule=partial(cosine, learning_rate=1.0), steps=20, start=0.1)
    >>> [round(float(rates(step)), 3) for step in (0, 10, 20, 60, 100)]
    [0.1, 0.55, 1.0, 0.5, 0.0]
    """
    ranges.fraction("start", start, with_one=True, remedy="0.01 begins with a hundredth")
    length = warmup_steps(total_steps, steps)
    after = schedule(total_steps - length)
    if not length:
        return after

    def rising_then(step):
        step = jnp.asarray(step)
        rise = after(0) * _between(start, 1.0, _line(step, 0, length))
        return jnp.where(step < length, rise, after(jnp.maximum(step - length, 0)))

    return rising_then


def warmup_steps(total_steps: int, steps: Moment) -> int:
    """Count the steps of a `warmup`; InputError where it is longer than the run.

    >>> warmup_steps(200, 0.05)
    10
    """
    return _steps("steps", steps, total_steps, of=" of the warm-up")


def warmup_stable_decay(
    total_steps: int,
    *,
    learning_rate: float,
    rise: Moment = 0.05,
    fall: Moment = 0.2,
    start: float = 0.01,
    floor: float = 0.0,
) -> optax.Schedule:
    """Rise, stay, and fall in straight lines (Hu et al. 2024, section 4.2; Hägele et al. 2024).

    Args:
        total_steps: steps of the run.
        learning_rate: the rate between rise and fall.
        rise: length of the rise; steps or a fraction of the run.
        fall: length of the fall; steps or a fraction of the run.
        start: rate of step 0, as a fraction of `learning_rate`.
        floor: rate of step `total_steps` and after it, as a fraction of `learning_rate`.

    Returns:
        step -> learning rate.

    Raises:
        InputError: rise and fall are together longer than the run, the learning rate is not
            positive, or a fraction is out of range.

    >>> schedule = warmup_stable_decay(100, learning_rate=1.0, rise=10, fall=20, start=0.0)
    >>> [round(float(schedule(step)), 3) for step in (0, 5, 10, 80, 90, 100)]
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    _check(learning_rate)
    ranges.fraction("start", start, with_one=True, remedy="0.01 begins with a hundredth")
    ranges.fraction("floor", floor, remedy="0 ends with a rate of 0")
    up = _steps("rise", rise, total_steps)
    down = _steps("fall", fall, total_steps)
    if up + down > total_steps:
        raise InputError(
            f"`rise` (={rise}) and `fall` (={fall}) must fit into the run's {total_steps} steps: "
            "shorten one of them"
        )

    def schedule(step):
        rising = _between(start, 1.0, _line(step, 0, up))
        falling = _between(1.0, floor, _line(step, total_steps - down, total_steps))
        return learning_rate * jnp.where(jnp.asarray(step) < up, rising, falling)

    return schedule


def _between(start: float, end: float, way: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Mix two values by what is left of the way and what is done."""
    left, done = way
    return start * left + end * done


def _line(
    step: jax.Array | int, start: jax.Array | int, end: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
    """Return what is left of the way from start to end, 1 to 0, and what is done, 0 to 1."""
    length = jnp.maximum(end - start, 1)
    done = jnp.clip(jnp.asarray(step) - start, 0, length)
    return (length - done) / length, done / length


def _half_cosine(way: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Bend a line to half a cosine: (1 + cos(pi done)) / 2 and its complement, to every digit."""
    left, done = way
    return jnp.sin(jnp.pi / 2 * left) ** 2, jnp.sin(jnp.pi / 2 * done) ** 2


def _power(learning_rate: float, factor: float, exponent: jax.Array) -> jax.Array:
    # The logarithm in double precision: a factor near 1 would lose its digits in float32.
    return learning_rate * jnp.exp(exponent * math.log(factor))


def _drop(learning_rate: float, factor: float, moments: Sequence[int]) -> optax.Schedule:
    moments = jnp.array(moments, jnp.int32)
    return lambda step: _power(
        learning_rate, factor, jnp.sum(jnp.asarray(step)[..., None] >= moments, -1)
    )


def _steps(
    name: str,
    moment: Moment,
    total_steps: int,
    *,
    least: int = 0,
    beyond: bool = False,
    of: str = "",
) -> int:
    """Convert a moment to steps; one after the run is an error unless `beyond` allows it."""
    if isinstance(moment, numbers.Integral) and not isinstance(moment, bool):
        if moment < least:
            raise InputError(
                f"`{name}` (={moment}){of} must be at least {least}: count it in steps"
            )
        if moment > total_steps and not beyond:
            raise InputError(
                f"`{name}` (={moment}){of} must not exceed the run's {total_steps} steps: "
                "shorten it, or train for longer"
            )
        return int(moment)
    if not isinstance(moment, numbers.Real) or not 0 <= moment <= 1:
        raise InputError(
            f"`{name}` (={moment}){of} must be a whole number of steps, or between 0 and 1 as a "
            "fraction of the run: write one of these"
        )
    return max(round(moment * total_steps), least)


def _check(learning_rate: float) -> None:
    ranges.positive("learning_rate", learning_rate, remedy="0.1 is usual for SGD, 0.001 for Adam")
