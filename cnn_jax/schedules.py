"""Learning-rate schedules: functions of the number of steps that give an Optax schedule.

A recipe holds one with everything but the number of steps filled in, which the run knows:

    schedule=partial(schedules.cosine, learning_rate=1e-3)
"""

import optax

from cnn_jax.errors import InputError


def constant(total_steps: int, *, learning_rate: float) -> optax.Schedule:
    """Keep the learning rate.

    >>> float(constant(100, learning_rate=0.5)(99))
    0.5
    """
    _check(learning_rate)
    return optax.schedules.constant_schedule(learning_rate)


def cosine(total_steps: int, *, learning_rate: float, floor: float = 0.0) -> optax.Schedule:
    """Fall from the learning rate to the floor along half a cosine (Loshchilov and Hutter 2017).

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        floor: rate of step `total_steps`, as a fraction of `learning_rate`.

    Returns:
        step -> learning rate.

    >>> [round(float(cosine(100, learning_rate=0.1)(step)), 4) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """
    _check(learning_rate)
    return optax.schedules.cosine_decay_schedule(learning_rate, total_steps, alpha=floor)


def step(
    total_steps: int, *, learning_rate: float, drops: int = 2, factor: float = 0.1
) -> optax.Schedule:
    """Multiply the learning rate by a factor at equal intervals.

    Args:
        total_steps: steps of the run.
        learning_rate: rate of step 0.
        drops: how often; 2 falls after a third and after two thirds of the steps.
        factor: what each drop multiplies by.

    Returns:
        step -> learning rate.

    >>> [round(float(step(90, learning_rate=1.0)(index)), 2) for index in (29, 30, 60)]
    [1.0, 0.1, 0.01]
    """
    _check(learning_rate)
    boundaries = {round(total_steps * part / (drops + 1)): factor for part in range(1, drops + 1)}
    return optax.schedules.piecewise_constant_schedule(learning_rate, boundaries)


def _check(learning_rate: float) -> None:
    if not learning_rate > 0:
        raise InputError(f"`learning_rate` (={learning_rate}) must be positive")
