"""What is done about gradients before an optimizer sees them: clip, accumulate, sharpen.

Each is a function of a learning-rate schedule around another one:

    optimizer=partial(gradients.clipped, norm=1.0, optimizer=partial(optim.sgd, momentum=0.9))
"""

from collections.abc import Callable

import jax
import optax
import optax.contrib

from cnn_jax import ranges
from cnn_jax.errors import InputError
from cnn_jax.parameter_rules import without_frozen

Optimizer = Callable[[optax.ScalarOrSchedule], optax.GradientTransformation]


def clipped(
    learning_rate: optax.ScalarOrSchedule,
    *,
    optimizer: Optimizer,
    value: float | None = None,
    norm: float | None = None,
    adaptive: float | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Bound the gradients; where several bounds are given, in the order of the arguments.

    What rules of the optimizer freeze (`parameter_rules.by_path`) does not count.

    Args:
        learning_rate: a number, or step -> learning rate.
        optimizer: learning rate -> the optimizer that gets the bounded gradients.
        value: bound of each number's size.
        norm: bound of the norm of all gradients together (Pascanu et al. 2013, algorithm 1).
        adaptive: bound of the norm of each output unit's gradient, as a fraction of the norm of
            its parameters, or of 0.001 where that is more (Brock et al. 2021, equation 3).

    Returns:
        The transformation.

    Raises:
        InputError: a bound is not positive, or none is given.

    >>> import jax.numpy as jnp
    >>> tx = clipped(1.0, optimizer=optax.sgd, norm=1.0)
    >>> tx.update(jnp.array([3.0, 4.0]), tx.init(jnp.zeros(2)), jnp.zeros(2))[0].round(1)
    Array([-0.6, -0.8], dtype=float32)
    """
    bounds = [
        (value, "value", optax.clip),
        (norm, "norm", optax.clip_by_global_norm),
        (adaptive, "adaptive", optax.adaptive_grad_clip),
    ]
    given = [bound for bound in bounds if bound[0] is not None]
    if not given:
        raise InputError("one of `value`, `norm`, `adaptive` (=None) must be given: norm=1.0 say")
    for bound, name, _ in given:
        ranges.positive(name, bound, remedy="leave it out for no bound")
    tx = optax.chain(*(clip(bound) for bound, _, clip in given), optimizer(learning_rate))
    return _of_trained(tx, optimizer)


def accumulated(
    learning_rate: optax.ScalarOrSchedule, *, optimizer: Optimizer, steps: int
) -> optax.GradientTransformationExtraArgs:
    """Take the mean of several steps' gradients, and step with it once.

    Equal to a batch that is as many times larger, but for BatchNorm, which sees small batches.

    Args:
        learning_rate: a number, or step -> learning rate; of the run's steps, not of the rarer
            ones that move the parameters.
        optimizer: learning rate -> the optimizer that gets the mean. What else it schedules, such
            as a momentum, counts the rarer steps.
        steps: gradients in a mean.

    Returns:
        The transformation, whose updates are 0 between.

    Raises:
        InputError: `steps` is no whole number of at least 1.
    """
    ranges.whole("steps", steps, remedy="1 accumulates nothing")
    rate = learning_rate
    if callable(rate):
        rate = lambda count: learning_rate(count * steps)  # noqa: E731
    several = optax.MultiSteps(optimizer(rate), every_k_schedule=int(steps))
    return several.gradient_transformation()


def sam(
    learning_rate: optax.ScalarOrSchedule, *, optimizer: Optimizer, radius: float = 0.05
) -> optax.GradientTransformationExtraArgs:
    """Sharpness-aware minimisation (Foret et al. 2021, algorithm 1).

    The optimizer gets the gradient not of the parameters, but of the point `radius` further along
    their gradient: two gradients a step. What rules of the optimizer freeze stays in its place,
    too (`parameter_rules.by_path`).

    Args:
        learning_rate: a number, or step -> learning rate.
        optimizer: learning rate -> the optimizer.
        radius: length of the step up, rho.

    Returns:
        The transformation, to be the outermost one. Its `update` needs a further argument,
        `grad_fn`: (parameters, 0) -> gradient, of the same batch.

    Raises:
        InputError: the radius is not positive.

    >>> import jax.numpy as jnp
    >>> square = jax.grad(lambda x: (x**2).sum())
    >>> tx, x = sam(0.5, optimizer=optax.sgd, radius=0.1), jnp.array([1.0])
    >>> tx.update(square(x), tx.init(x), x, grad_fn=lambda x, _: square(x))[0]
    Array([-1.1], dtype=float32)
    """
    ranges.positive("radius", radius, remedy="0.05 is usual")

    def descend(gradients, _):  # Optax turns it round; 1e-12 as a gradient may be exactly 0
        length = optax.tree.norm(gradients) + 1e-12
        return jax.tree.map(lambda gradient: -radius * gradient / length, gradients)

    tx = optax.contrib.sam(
        optimizer(learning_rate), optax.stateless(descend), sync_period=2, opaque_mode=True
    )
    return _of_trained(tx, optimizer)


def _of_trained(
    tx: optax.GradientTransformation, optimizer: Optimizer
) -> optax.GradientTransformationExtraArgs:
    """Have a transformation around an optimizer see no gradient of what that freezes."""
    tx = optax.with_extra_args_support(tx)

    def update(gradients, state, params=None, **extra):
        return tx.update(without_frozen(optimizer, gradients), state, params, **extra)

    return optax.GradientTransformationExtraArgs(tx.init, update)
