"""Schedules against their definitions and against PyTorch's schedulers."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from cnn_jax import schedules
from cnn_jax.errors import InputError
from cnn_jax.one_cycle import one_cycle, one_cycle_momentum

STEPS = 200


def torch_walk(make, *, rate=0.3, steps=STEPS):
    """The rates and momenta of PyTorch's scheduler, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate, momentum=0.9)
    scheduler, rates, momenta = make(optimizer), [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return np.array(rates), np.array(momenta)


def warmed(optimizer, *, after, steps=20, start=0.1):
    """PyTorch's linear warm-up, followed by another scheduler."""
    rising = lr_scheduler.LinearLR(optimizer, start_factor=start, total_iters=steps)
    return lr_scheduler.SequentialLR(optimizer, [rising, after(optimizer)], milestones=[steps])


# Our schedule, and PyTorch's.
PAIRS = {
    "step": (
        partial(schedules.step, every=30, factor=0.5),
        partial(lr_scheduler.StepLR, step_size=30, gamma=0.5),
    ),
    "multi_step": (
        partial(schedules.multi_step, milestones=(20, 90, 91, 150), factor=0.3),
        partial(lr_scheduler.MultiStepLR, milestones=[20, 90, 91, 150], gamma=0.3),
    ),
    "multi_step of fractions": (
        partial(schedules.multi_step, milestones=(0.5, 0.75)),
        partial(lr_scheduler.MultiStepLR, milestones=[100, 150]),
    ),
    "exponential": (
        partial(schedules.exponential, factor=0.97, every=1),
        partial(lr_scheduler.ExponentialLR, gamma=0.97),
    ),
    "exponential of the run": (
        schedules.exponential,
        partial(lr_scheduler.ExponentialLR, gamma=0.01 ** (1 / STEPS)),
    ),
    "cosine": (
        schedules.cosine,
        partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS),
    ),
    "cosine with floor": (
        partial(schedules.cosine, floor=0.02),
        partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS, eta_min=0.3 * 0.02),
    ),
    "cosine with restarts": (
        partial(schedules.cosine_restarts, period=37),
        partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=37),
    ),
    "cosine with longer and longer restarts": (
        partial(schedules.cosine_restarts, period=11, growth=3, floor=0.01),
        partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=11, T_mult=3, eta_min=0.003),
    ),
    "one cycle": (
        one_cycle,
        partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=STEPS),
    ),
    "one cycle of lines": (
        partial(one_cycle, rise=0.43, start=0.1, end=1e-3, straight=True),
        partial(
            lr_scheduler.OneCycleLR,
            max_lr=0.3,
            total_steps=STEPS,
            pct_start=0.43,
            div_factor=10,
            final_div_factor=100,
            anneal_strategy="linear",
        ),
    ),
    "polynomial": (
        partial(schedules.polynomial, power=0.9),
        partial(lr_scheduler.PolynomialLR, total_iters=STEPS, power=0.9),
    ),
    "linear": (
        partial(schedules.linear, start=1 / 3, end=0.9),
        partial(lr_scheduler.LinearLR, start_factor=1 / 3, end_factor=0.9, total_iters=STEPS),
    ),
    "linear to nothing": (
        schedules.linear,
        partial(lr_scheduler.LinearLR, start_factor=1.0, end_factor=0.0, total_iters=STEPS),
    ),
    "warm-up and cosine": (
        lambda steps, *, learning_rate: schedules.warmup(
            steps,
            schedule=partial(schedules.cosine, learning_rate=learning_rate),
            steps=20,
            start=0.1,
        ),
        partial(warmed, after=partial(lr_scheduler.CosineAnnealingLR, T_max=STEPS - 20)),
    ),
    "warm-up and steps": (
        lambda steps, *, learning_rate: schedules.warmup(
            steps,
            schedule=partial(schedules.step, learning_rate=learning_rate, every=50),
            steps=0.1,
            start=0.1,
        ),
        partial(warmed, after=partial(lr_scheduler.StepLR, step_size=50)),
    ),
}


@cache
def all_rates(steps):
    """Every schedule's rates, in one program: compiling each would take most of the time."""
    names = [name for name in PAIRS if steps > 20 or name != "warm-up and cosine"]  # 20 steps long
    make = {name: PAIRS[name][0](steps, learning_rate=0.3) for name in names}
    rates = jax.jit(lambda: {name: jax.vmap(make[name])(jnp.arange(steps)) for name in make})()
    return jax.device_get(rates)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_two_hundred_steps_are_pytorchs(name):
    ours, theirs = PAIRS[name]
    expected, _ = torch_walk(theirs)
    rates = all_rates(STEPS)[name].astype(np.float64)
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=0)
    one = ours(STEPS, learning_rate=0.3)(150)  # not traced, a Python integer
    np.testing.assert_allclose(one, expected[150], rtol=1e-6, atol=0)


@pytest.mark.parametrize("straight", [False, True])
def test_the_momentum_of_one_cycle_is_pytorchs(straight):
    momenta = jax.vmap(one_cycle_momentum(STEPS, straight=straight))(jnp.arange(STEPS))
    strategy = "linear" if straight else "cos"
    _, expected = torch_walk(
        partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=STEPS, anneal_strategy=strategy)
    )
    np.testing.assert_allclose(momenta, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.constant(100, learning_rate=0.2), {0: 0.2, 99: 0.2}),
        (schedules.cosine(100, learning_rate=0.2), {0: 0.2, 25: 0.170711, 50: 0.1, 100: 0}),
        (schedules.cosine(100, learning_rate=0.2, floor=0.1), {0: 0.2, 50: 0.11, 100: 0.02}),
        (schedules.step(90, learning_rate=1.0), {29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 89: 0.01}),
        (schedules.step(100, learning_rate=1.0, drops=1, factor=0.5), {49: 1, 50: 0.5}),
        (schedules.step(100, learning_rate=1.0, drops=0), {0: 1, 99: 1}),
        (schedules.step(100, learning_rate=1.0, every=0.25), {24: 1, 25: 0.1, 99: 0.001}),
        (schedules.linear(10, learning_rate=2.0, end=0.5), {0: 2, 5: 1.5, 10: 1, 99: 1}),
        (schedules.polynomial(10, learning_rate=2.0, floor=0.5), {0: 2, 5: 1.25, 10: 1, 99: 1}),
        (schedules.multi_step(9, learning_rate=1.0, milestones=()), {0: 1, 9: 1}),
        (
            schedules.warmup_stable_decay(200, learning_rate=0.5, rise=0.1, fall=0.2, floor=0.1),
            {0: 0.005, 10: 0.2525, 20: 0.5, 160: 0.5, 180: 0.275, 200: 0.05, 999: 0.05},
        ),
        (
            schedules.warmup_stable_decay(100, learning_rate=0.5, rise=0, fall=0),
            {0: 0.5, 99: 0.5},
        ),
        (
            schedules.warmup(
                10, schedule=partial(schedules.constant, learning_rate=1.0), steps=4, start=0.0
            ),
            {0: 0, 1: 0.25, 3: 0.75, 4: 1, 9: 1},
        ),
    ],
)
def test_schedules(schedule, expected):
    for step, rate in expected.items():
        np.testing.assert_allclose(schedule(step), rate, atol=1e-6)


@pytest.mark.parametrize("total_steps", [1, 2, 7])
def test_short_runs_have_finite_positive_rates(total_steps):
    for name, rates in all_rates(total_steps).items():
        assert ((rates >= 0) & (rates <= 0.300001)).all(), name
    momenta = jax.vmap(one_cycle_momentum(total_steps))(jnp.arange(total_steps))
    assert ((np.array(momenta) > 0.8499) & (np.array(momenta) < 0.9501)).all()


def test_a_learning_rate_may_be_traced():
    rates = jnp.array([0.1, 0.2])
    values = jax.vmap(lambda rate: schedules.cosine(100, learning_rate=rate)(50))(rates)
    np.testing.assert_allclose(values, rates / 2, rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 0, float("nan")])
@pytest.mark.parametrize(
    "function",
    [
        schedules.constant,
        schedules.cosine,
        schedules.step,
        schedules.linear,
        schedules.polynomial,
        schedules.exponential,
        schedules.warmup_stable_decay,
        partial(schedules.cosine_restarts, period=5),
        partial(schedules.multi_step, milestones=(5,)),
        one_cycle,
    ],
)
def test_learning_rates_are_positive(function, rate):
    with pytest.raises(InputError, match=rf"`learning_rate` \(={rate}\) must be positive"):
        function(10, learning_rate=rate)


CONSTANT = partial(schedules.constant, learning_rate=1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            partial(schedules.multi_step, learning_rate=1.0, milestones=(50, 20)),
            r"`milestones` \(=\(50, 20\)\) must rise: write them as \(20, 50\)",
        ),
        (
            partial(schedules.multi_step, learning_rate=1.0, milestones=(20, 20)),
            r"`milestones` \(=\(20, 20\)\) must rise: write them as \(20,\)",
        ),
        (
            partial(schedules.multi_step, learning_rate=1.0, milestones=(0.5, 75)),
            r"`milestones` \(=\(0.5, 75\)\) must all be steps or all fractions",
        ),
        (
            partial(schedules.multi_step, learning_rate=1.0, milestones=(1.5,)),
            r"`milestones` \(=1.5\) must be a whole number of steps, or between 0 and 1",
        ),
        (
            partial(schedules.warmup, schedule=CONSTANT, steps=101),
            r"`steps` \(=101\) of the warm-up must not exceed the run's 100 steps",
        ),
        (
            partial(schedules.warmup, schedule=CONSTANT, steps=-1),
            r"`steps` \(=-1\) of the warm-up must be at least 0",
        ),
        (
            partial(schedules.warmup, schedule=CONSTANT, steps=5, start=2.0),
            r"`start` \(=2.0\) must be at least 0 and at most 1",
        ),
        (
            partial(schedules.warmup_stable_decay, learning_rate=1.0, rise=60, fall=60),
            r"`rise` \(=60\) and `fall` \(=60\) must fit into the run's 100 steps",
        ),
        (
            partial(schedules.cosine, learning_rate=1.0, floor=1.5),
            r"`floor` \(=1.5\) must be at least 0 and below 1",
        ),
        (
            partial(schedules.cosine_restarts, learning_rate=1.0, period=0),
            r"`period` \(=0\) must be at least 1",
        ),
        (
            partial(schedules.cosine_restarts, learning_rate=1.0, period=9, growth=1.5),
            r"`growth` \(=1.5\) must be a whole number of at least 1",
        ),
        (
            partial(schedules.step, learning_rate=1.0, factor=0),
            r"`factor` \(=0\) must be positive",
        ),
        (
            partial(schedules.step, learning_rate=1.0, drops=-1),
            r"`drops` \(=-1\) must be a whole number of at least 0",
        ),
        (partial(one_cycle, learning_rate=1.0, rise=1.0), r"`rise` \(=1.0\) must be at least 0"),
        (partial(one_cycle_momentum, high=1.0), r"`high` \(=1.0\) must be at least 0"),
    ],
)
def test_bad_options_are_named(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make(100)
    assert "\n" not in str(caught.value)
    assert ": " in str(caught.value)
