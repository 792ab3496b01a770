"""The stages of a run made ready, one after the other; a run without stages is one phase."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.data.batches import Batch, total_steps
from cnn_jax.frozen import Trained, trained_part
from cnn_jax.gradients import Optimizer
from cnn_jax.parallel import Layout
from cnn_jax.recipe import Recipe
from cnn_jax.state import TrainState, init_state
from cnn_jax.transfer import trained_in, with_factors

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
        fresh_state: () -> the state for step 0 of a run that began with this phase.
        begin: the state after the phase before -> the one for the first step of this: the
            optimizer's state and its factor of the learning rate are made anew.
    """

    name: str
    first: int
    last: int
    schedule: optax.Schedule
    train_step: TrainStep
    fresh_state: Callable[[], TrainState]
    begin: Callable[[TrainState], TrainState]


def make_phases(
    recipe: Recipe,
    model: nn.Module,
    layout: Layout,
    *,
    make_step: Callable[..., TrainStep],
    loss_scale: Any,
) -> tuple[Phase, ...]:
    """Make the stages of a recipe ready.

    Args:
        recipe: a checked recipe.
        model: its network, in the type to compute in.
        layout: how the run lies on the devices.
        make_step: `make_train_step` of the network, but for `tx` and `trained`.
        loss_scale: for `init_state`.

    Returns:
        The phases; compilation itself happens at the first call.
    """
    if not recipe.stages:
        steps = _steps(recipe, recipe.epochs)
        return (_phase(recipe, model, layout, make_step, loss_scale, "", None, 0, steps),)
    ends = [_steps(recipe, n) for n in itertools.accumulate(s.epochs for s in recipe.stages)]
    return tuple(
        _phase(
            recipe,
            model,
            layout,
            make_step,
            loss_scale,
            stage.name,
            trained_in(stage, model, image_shape=recipe.data.image_shape),
            first,
            last,
        )
        for stage, first, last in zip(recipe.stages, [0, *ends], ends, strict=False)
    )
