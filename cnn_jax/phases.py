"""The stages of a run made ready, one after the other; a run without stages is one phase."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.data.batches import Batch, total_steps
from cnn_jax.frozen import trained_part
from cnn_jax.many_steps import many_steps
from cnn_jax.parallel import Layout
from cnn_jax.recipe import Recipe
from cnn_jax.state import TrainState
from cnn_jax.transfer import Stage, trained_in, with_factors

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict]]


@dataclass(frozen=True, eq=False)
class Phase:
    """A stage of a run.

    Attributes:
        name: of the stage; "" for a run without stages.
        first: steps taken before it.
        last: steps taken after it.
        schedule: steps taken in it -> learning rate.
        train_step: (state, batch) -> (state, metrics).
        train_steps: (state, batches [K, B, ...]) -> (state, metrics [K, ...]): as many such steps.
        fresh_state: () -> the state for step 0 of a run that begins with this phase.
        begin: a state of the phase before -> the state for the first step of this one: the
            optimizer, and what a plateau has made of the learning rate, begin anew.
    """

    name: str
    first: int
    last: int
    schedule: optax.Schedule
    train_step: TrainStep
    train_steps: TrainStep
    fresh_state: Callable[[], TrainState]
    begin: Callable[[TrainState], TrainState]


def make_phases(
    recipe: Recipe,
    layout: Layout,
    *,
    make_step: Callable[..., TrainStep],
    init: Callable[..., TrainState],
) -> tuple[Phase, ...]:
    """Make the stages of a recipe ready.

    Args:
        recipe: a checked recipe.
        layout: how the run lies on the devices.
        make_step: `make_train_step` but for its `tx` and `trained`.
        init: `init_state` but for its `tx`, `key`, `variables` and `trained`.

    Returns:
        The phases; compilation itself happens at the first call.
    """
    stages = recipe.stages or (None,)
    epochs = [stage.epochs for stage in recipe.stages] or [recipe.epochs]
    ends = [
        total_steps(n, batch_size=recipe.batch_size, size=len(recipe.data.train))
        for n in itertools.accumulate(epochs)
    ]
    make = partial(_make_phase, recipe, layout, make_step, init)
    return tuple(map(make, stages, [0, *ends[:-1]], ends))


def phase_of(phases: Sequence[Phase], step: int) -> Phase:
    """Find the phase that takes a step, counted from 1; of step 0, before all, the first."""
    return next(phase for phase in phases if step <= phase.last)


def joined_schedule(phases: Sequence[Phase]) -> optax.Schedule:
    """Join the schedules of phases to one: steps taken in the run -> learning rate."""
    if len(phases) == 1:
        return phases[0].schedule

    def schedule(step):
        phase = phase_of(phases, int(step) + 1)
        return phase.schedule(int(step) - phase.first)

    return schedule


def highest_rate(phase: Phase) -> float:
    """Compute the highest learning rate of a phase's schedule, to six digits."""
    steps = jnp.arange(phase.last - phase.first)
    rates = jax.vmap(lambda step: jnp.asarray(phase.schedule(step), jnp.float32))(steps)
    return float(f"{rates.max():.6g}")


def _make_phase(
    recipe: Recipe,
    layout: Layout,
    make_step: Callable[..., TrainStep],
    init: Callable[..., TrainState],
    stage: Stage | None,
    first: int,
    last: int,
) -> Phase:
    schedule, optimizer, trained = recipe.schedule(last - first), recipe.optimizer, None
    if stage is not None:
        trained = trained_in(stage, recipe.model, image_shape=recipe.data.image_shape)
        optimizer = with_factors(optimizer, trained.factors)
    tx = optimizer(schedule)
    step = make_step(tx=lambda rate: optimizer(lambda k: rate * schedule(k)), trained=trained)

    def fresh(key, variables):
        return init(tx=tx, key=key, variables=variables, trained=trained)

    def placed(function: Callable, *inputs):
        shardings = layout.state_shardings(jax.eval_shape(function, *inputs))
        return jax.jit(function, out_shardings=shardings)(*inputs)

    def begin(state: TrainState) -> TrainState:
        opt_state = placed(tx.init, trained_part(state.params, trained))
        return state.replace(
            step=jax.device_put(np.int32(first), state.step.sharding),
            rate=jax.device_put(np.float32(1), state.rate.sharding),
            opt_state=opt_state,
        )

    return Phase(
        name=stage.name if stage else "",
        first=first,
        last=last,
        schedule=schedule,
        train_step=layout.compile_step(step),
        train_steps=layout.compile_step(many_steps(step)),
        # From the host, as the variables given may lie on other devices than the run.
        fresh_state=lambda: placed(
            fresh, jax.random.key(recipe.seed), jax.device_get(recipe.initial)
        ),
        begin=begin,
    )
