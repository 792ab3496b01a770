"""Muon: steps that turn every filter's output channels in directions at right angles."""

import math

import jax
import jax.numpy as jnp
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


def orthogonalized(matrix: jax.Array, *, iterations: int = 5) -> jax.Array:
    """Bring a matrix near to the orthogonal one that is nearest to it.

    Newton and Schulz's iteration of degree 5 with Jordan's coefficients, which leave the singular
    values between about 0.5 and 1.2 (2024, "Muon: an optimizer for hidden layers").

    Args:
        matrix: float [rows, columns]; computed in its type.
        iterations: how many; with fewer, small singular values stay small.

    Returns:
        [rows, columns].

    >>> near = orthogonalized(jnp.array([[5.0, 1.0], [0.0, 3.0]]))
    >>> bool((abs(jnp.linalg.svd(near, compute_uv=False) - 1) < 0.4).all())
    True
    """
    first, third, fifth = 3.4445, -4.7750, 2.0315
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (jnp.linalg.norm(wide) + 1e-7)
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = first * wide + (third * gram + fifth * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def muon_of_fixed_norm(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: float = 0.6,
    iterations: int = 3,
    dtype: jax.typing.DTypeLike = jnp.float32,
) -> optax.GradientTransformation:
    """Muon for filters alone, each array of which is brought to one norm before every step.

    The norm is the root of the number of filters, as of an orthogonal matrix of so many rows: what
    a rate means then depends neither on how the filters were drawn nor on how long they have been
    trained, and there is nothing to decay. So it is in airbench94_muon.py of Jordan 2024,
    "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (the record of 2.59 s), where the momentum is
    a sum of gradients (Nesterov's) that nothing corrects, unlike that of `muon`.

    Args:
        learning_rate: a number, or step -> learning rate.
        momentum: decay of the running sum of gradients.
        iterations: of Newton and Schulz.
        dtype: type of the iteration.

    Returns:
        The transformation of a tree of filters [h, w, in, out]; its `update` needs the parameters.

    Raises:
        InputError: a number is out of range.

    >>> tx, filters = muon_of_fixed_norm(0.0), 3 * jnp.ones((1, 1, 1, 4))
    >>> updates, _ = tx.update(filters, tx.init(filters), filters)
    >>> float(jnp.linalg.norm(filters + updates).round(3))  # the root of 4
    2.0
    """
    ranges.fraction("momentum", momentum, remedy="0.6 is usual")
    ranges.whole("iterations", iterations, remedy="3 is usual")

    def direction(gradient: jax.Array) -> jax.Array:
        matrix = gradient.reshape(-1, gradient.shape[-1]).astype(dtype)
        return (
            orthogonalized(matrix, iterations=iterations)
            .astype(gradient.dtype)
            .reshape(gradient.shape)
        )

    def stretch(step: jax.Array, filters: jax.Array) -> jax.Array:
        factor = math.sqrt(filters.shape[-1]) / jnp.linalg.norm(filters)
        return step + (factor - 1) * filters

    return optax.chain(
        optax.trace(decay=momentum, nesterov=True),
        optax.stateless(lambda updates, _: jax.tree.map(direction, updates)),
        optax.scale_by_learning_rate(learning_rate),
        optax.stateless(lambda steps, filters: jax.tree.map(stretch, steps, filters)),
    )
