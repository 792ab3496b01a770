"""Muon: steps that turn every filter's output channels in directions at right angles."""

import jax
import optax
import optax.contrib

from cnn_jax import ranges
from cnn_jax.gradients import Optimizer
from cnn_jax.optim import adamw
from cnn_jax.parameter_rules import Mask, kernels_only


def muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    rest: Optimizer = adamw,
    rest_factor: float = 1.0,
    momentum: float = 0.95,
    weight_decay: float = 0.0,
    mask: Mask = kernels_only,
    filters: Mask = lambda params: jax.tree.map(lambda leaf: leaf.ndim == 4, params),
) -> optax.GradientTransformation:
    """Muon on filters, which makes each step's matrix nearly orthogonal, and another on the rest.

    Jordan et al. 2024, "Muon: an optimizer for hidden layers"; Newton and Schulz's iteration with
    its five steps and three coefficients. A filter [h, w, in, out] counts as a
    matrix [h w in, out].

    Args:
        learning_rate: a number, or step -> learning rate, of the filters.
        rest: learning rate -> the optimizer of everything else.
        rest_factor: the rest's learning rate, as a multiple of the filters'.
        momentum: decay of the running mean of gradients (Nesterov's).
        weight_decay: fraction of a filter subtracted each step, times the learning rate.
        mask: tree -> tree of booleans: which filters decay.
        filters: tree -> tree of booleans: what Muon is for; arrays of four dimensions.

    Returns:
        The transformation.

    Raises:
        InputError: a number is out of range.

    >>> import jax.numpy as jnp
    >>> tx, filters = muon(0.1), {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.ones(1)}
    >>> updates, _ = tx.update(filters, tx.init(filters), filters)
    >>> round(float(updates["bias"][0]), 3)
    -0.1
    """
    ranges.fraction("momentum", momentum, remedy="0.95 is usual")
    ranges.not_negative("weight_decay", weight_decay, remedy="0 is none")
    ranges.positive("rest_factor", rest_factor, remedy="1 gives the rest the same rate")
    columns = optax.contrib.MuonDimensionNumbers(reduction_axis=(0, 1, 2), output_axis=3)
    matrices = optax.contrib.muon(
        learning_rate,
        beta=momentum,
        weight_decay=weight_decay,
        weight_decay_mask=mask,
        muon_weight_dimension_numbers=lambda tree: jax.tree.map(lambda _: columns, tree),
    )
    if callable(learning_rate):
        rest_rate = lambda step: rest_factor * learning_rate(step)  # noqa: E731
    else:
        rest_rate = rest_factor * learning_rate
    return optax.partition({True: matrices, False: rest(rest_rate)}, lambda params: filters(params))
