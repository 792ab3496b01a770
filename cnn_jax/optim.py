"""Optimizers: functions of a learning-rate schedule that give an Optax transformation.

A recipe holds one with everything but the schedule filled in:

    optimizer=partial(optim.sgd, momentum=0.9, weight_decay=5e-4)
"""

import jax
import optax


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum and L2 weight decay on the kernels.

    Args:
        learning_rate: a number, or step -> learning rate.
        momentum: decay of the running sum of gradients.
        nesterov: whether to look ahead by one step of momentum.
        weight_decay: added to the gradient, times the kernel, before the momentum.

    Returns:
        The transformation.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=kernels_only),
        optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov),
    )


def adam(
    learning_rate: optax.ScalarOrSchedule, *, b1: float = 0.9, b2: float = 0.999
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, algorithm 1).

    Args:
        learning_rate: a number, or step -> learning rate.
        b1: decay of the first moment.
        b2: decay of the second moment.

    Returns:
        The transformation.
    """
    return optax.adam(learning_rate, b1=b1, b2=b2)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    weight_decay: float = 0.01,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on the kernels (Loshchilov and Hutter 2019, algorithm 2).

    Args:
        learning_rate: a number, or step -> learning rate.
        b1: decay of the first moment.
        b2: decay of the second moment.
        weight_decay: fraction of a kernel subtracted each step, times the learning rate.

    Returns:
        The transformation.
    """
    return optax.adamw(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=kernels_only)


def kernels_only(params: optax.Params) -> optax.Params:
    """Mark what weight decay applies to: kernels, and neither biases nor normalisation.

    Args:
        params: a tree of arrays.

    Returns:
        The same tree of booleans, True where an array has more than one dimension.
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
