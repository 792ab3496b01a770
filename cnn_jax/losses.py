"""Losses, one value for each example."""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of the softmax: the negative log-probability of the true class.

    Args:
        logits: [N, classes], of any float type; the loss is computed in float32.
        labels: int [N].

    Returns:
        float32 [N], in nats; ln(classes) for uniform logits.

    >>> cross_entropy(jnp.zeros((1, 10)), jnp.array([3])).round(4)
    Array([2.3026], dtype=float32)
    """
    logits = logits.astype(jnp.float32)
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
