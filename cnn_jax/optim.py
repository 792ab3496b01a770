"""Optimizers: functions of a learning-rate schedule that give an Optax transformation.

A recipe holds one with everything but the schedule filled in:

    optimizer=partial(optim.sgd, momentum=0.9, weight_decay=5e-4)

Muon, for filters alone: `muon`. What is put around one: `parameter_rules.by_path`, `gradients`,
`averaging`.
"""

import optax

from cnn_jax import ranges
from cnn_jax.parameter_rules import Mask, kernels_only

__all__ = ["adam", "adamw", "kernels_only", "lamb", "lion", "rmsprop", "sgd"]


def sgd(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: optax.ScalarOrSchedule = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum and L2 weight decay on the kernels.

    Args:
        learning_rate: a number, or step -> learning rate.
        momentum: decay of the running sum of gradients; a number, or step -> momentum such as
            `one_cycle.one_cycle_momentum` gives.
        nesterov: whether to look ahead by one step of momentum.
        weight_decay: added to the gradient, times the kernel, before the momentum.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.

    >>> import jax.numpy as jnp
    >>> tx = sgd(0.5)
    >>> tx.update(jnp.array([2.0]), tx.init(jnp.zeros(1)), jnp.zeros(1))[0]
    Array([-1.], dtype=float32)
    """
    _check(learning_rate, weight_decay)
    if not callable(momentum):
        ranges.fraction("momentum", momentum, remedy="0.9 is usual")
    decay = optax.add_decayed_weights(weight_decay, mask=mask)
    if not callable(momentum):
        return optax.chain(decay, optax.sgd(learning_rate, momentum=momentum, nesterov=nesterov))
    trace = optax.inject_hyperparams(optax.trace, static_args="nesterov")
    return optax.chain(
        decay,
        trace(decay=momentum, nesterov=nesterov),
        optax.scale_by_learning_rate(learning_rate),
    )


def adam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015, algorithm 1), with L2 weight decay on the kernels if wanted.

    Args:
        learning_rate: a number, or step -> learning rate.
        b1: decay of the first moment.
        b2: decay of the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: added to the gradient, times the kernel, before the moments.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.
    """
    _check(learning_rate, weight_decay, b1=b1, b2=b2)
    plain = optax.adam(learning_rate, b1=b1, b2=b2, eps=epsilon)
    if not weight_decay:
        return plain
    return optax.chain(optax.add_decayed_weights(weight_decay, mask=mask), plain)


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay on the kernels (Loshchilov and Hutter 2019, algorithm 2).

    Args:
        learning_rate: a number, or step -> learning rate.
        b1: decay of the first moment.
        b2: decay of the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: fraction of a kernel subtracted each step, times the learning rate.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.
    """
    _check(learning_rate, weight_decay, b1=b1, b2=b2)
    return optax.adamw(
        learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=mask
    )


def rmsprop(
    learning_rate: optax.ScalarOrSchedule,
    *,
    decay: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-8,
    epsilon_in_root: bool = False,
    initial: float = 0.0,
    rate_in_momentum: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5), with L2 weight decay on the kernels.

    By default as PyTorch computes it. As TensorFlow 1 does, which MobileNet's and EfficientNet's
    papers trained with: `epsilon_in_root=True, initial=1.0, rate_in_momentum=True`.

    Args:
        learning_rate: a number, or step -> learning rate.
        decay: of the mean square of the gradients.
        momentum: decay of the running sum of scaled gradients; 0 for none.
        epsilon: what keeps the division from 0.
        epsilon_in_root: whether it is added to the mean square, and not to its root.
        initial: the mean square before the first step.
        rate_in_momentum: whether the running sum is of rates times gradients: a rate that changes
            then acts on new gradients only.
        weight_decay: added to the gradient, times the kernel, before everything else.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.
    """
    _check(learning_rate, weight_decay, decay=decay, momentum=momentum)
    trace = [optax.trace(decay=momentum)] if momentum else []
    rate = [optax.scale_by_learning_rate(learning_rate)]
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=mask),
        optax.scale_by_rms(
            decay=decay, eps=epsilon, eps_in_sqrt=epsilon_in_root, initial_scale=initial
        ),
        *(rate + trace if rate_in_momentum else trace + rate),
    )


def lamb(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """LAMB: AdamW whose step is as long as each array's norm (You et al. 2020, algorithm 2).

    Args:
        learning_rate: a number, or step -> learning rate.
        b1: decay of the first moment.
        b2: decay of the second moment.
        epsilon: added to the root of the second moment.
        weight_decay: fraction of a kernel added to its step before the step is rescaled.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.
    """
    _check(learning_rate, weight_decay, b1=b1, b2=b2)
    return optax.lamb(
        learning_rate, b1=b1, b2=b2, eps=epsilon, weight_decay=weight_decay, mask=mask
    )


def lion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    b1: float = 0.9,
    b2: float = 0.99,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
) -> optax.GradientTransformation:
    """Lion: the sign of a momentum, with decoupled weight decay (Chen et al. 2023, algorithm 2).

    Args:
        learning_rate: a number, or step -> learning rate; a tenth to a third of AdamW's.
        b1: weight of the momentum against the gradient in the step.
        b2: decay of the momentum.
        weight_decay: fraction of a kernel subtracted each step, times the learning rate.
        mask: tree -> tree of booleans: what decays.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.
    """
    _check(learning_rate, weight_decay, b1=b1, b2=b2)
    return optax.lion(learning_rate, b1=b1, b2=b2, weight_decay=weight_decay, mask=mask)


def _check(learning_rate: optax.ScalarOrSchedule, weight_decay: float, **fractions: float) -> None:
    if not callable(learning_rate):
        ranges.not_negative("learning_rate", learning_rate, remedy="0.001 is usual for Adam")
    ranges.not_negative("weight_decay", weight_decay, remedy="0 is none")
    for name, value in fractions.items():
        ranges.fraction(name, value, remedy="0.9 is usual")
