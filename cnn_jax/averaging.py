"""Averages of the parameters along the way, which predict better than the last ones.

Each is a function of a learning-rate schedule around another one, and keeps its average in the
state of the optimizer, where a checkpoint saves it:

    optimizer=partial(averaging.ema, decay=0.999, optimizer=optim.adamw)
    model.apply(state.averaged_variables, images)
"""

from functools import partial
from typing import NamedTuple

import jax
import optax

from cnn_jax import ranges
from cnn_jax.frozen import put_back
from cnn_jax.gradients import Optimizer


class AverageState(NamedTuple):
    """State of `ema` and `lookahead`.

    Attributes:
        average: tree like the parameters, their moving average or slow copy.
        inner: state of the optimizer inside.
    """

    average: optax.Params
    inner: optax.OptState


def ema(
    learning_rate: optax.ScalarOrSchedule, *, optimizer: Optimizer, decay: float = 0.999
) -> optax.GradientTransformationExtraArgs:
    """Keep an exponential moving average of the parameters (Polyak and Juditsky 1992; Tan and Le).

    `average = decay average + (1 - decay) parameters` after each step, from the initial parameters
    on; the training itself is untouched.

    Args:
        learning_rate: a number, or step -> learning rate.
        optimizer: learning rate -> the optimizer.
        decay: of the average, per step.

    Returns:
        The transformation, to be the outermost one; `averaged` reads its state.

    Raises:
        InputError: the decay is not between 0 and 1.

    >>> import jax.numpy as jnp
    >>> tx, x = ema(1.0, optimizer=optax.sgd, decay=0.75), jnp.array([4.0])
    >>> updates, state = tx.update(jnp.array([4.0]), tx.init(x), x)
    >>> averaged(optax.apply_updates(x, updates), state)
    Array([3.], dtype=float32)
    """
    ranges.fraction("decay", decay, remedy="0.999 is usual")
    inner = optax.with_extra_args_support(optimizer(learning_rate))

    def init(params):
        return AverageState(average=params, inner=inner.init(params))

    def update(gradients, state, params, **extra):
        updates, inner_state = inner.update(gradients, state.inner, params, **extra)
        after = optax.apply_updates(params, updates)
        average = optax.incremental_update(after, state.average, 1 - decay)
        return updates, AverageState(average=average, inner=inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def lookahead(
    learning_rate: optax.ScalarOrSchedule,
    *,
    optimizer: Optimizer,
    steps: int = 5,
    pull: float = 0.5,
) -> optax.GradientTransformationExtraArgs:
    """Look ahead a few steps, and go back part of the way (Zhang et al. 2019, algorithm 1).

    Args:
        learning_rate: a number, or step -> learning rate.
        optimizer: learning rate -> the optimizer that takes the fast steps.
        steps: fast steps before each slow one, k.
        pull: the slow step, as a part of the way the fast ones have come, alpha.

    Returns:
        The transformation, to be the outermost one; `averaged` reads the slow parameters from its
        state.

    Raises:
        InputError: an option is out of range.
    """
    ranges.whole("steps", steps, remedy="5 is usual")
    ranges.positive("pull", pull, remedy="0.5 is usual")
    ranges.fraction("pull", pull, with_one=True, remedy="0.5 is usual")
    fast = optax.with_extra_args_support(optimizer(learning_rate))

    def around(**extra):  # Optax's own does not hand further arguments on
        bound = optax.GradientTransformation(fast.init, partial(fast.update, **extra))
        return optax.lookahead(bound, sync_period=steps, slow_step_size=pull)

    def init(params):
        pair = optax.LookaheadParams.init_synced(params)
        return AverageState(average=params, inner=around().init(pair))

    def update(gradients, state, params, **extra):
        pair = optax.LookaheadParams(fast=params, slow=state.average)
        updates, inner_state = around(**extra).update(gradients, state.inner, pair)
        slow = optax.apply_updates(state.average, updates.slow)
        return updates.fast, AverageState(average=slow, inner=inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def averaged(params: optax.Params, opt_state: optax.OptState) -> optax.Params:
    """Return the parameters to evaluate with.

    Args:
        params: those that are trained.
        opt_state: the state of their optimizer.

    Returns:
        The average that the state holds, the outermost one if there are several, with `params`
        where it holds none.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=_holds_average)
    averages = (_fields(node)["average"] for node in nodes if _holds_average(node))
    return put_back(params, next(averages, params))


def _holds_average(node) -> bool:
    return set(_fields(node)) == set(AverageState._fields)


def _fields(node) -> dict:
    """Return the fields of a named tuple, which a checkpoint read without its types has as dict."""
    if isinstance(node, dict):
        return node
    return node._asdict() if isinstance(node, AverageState) else {}
