"""Normalisations as pure functions; channels are the last axis."""

import jax
import jax.numpy as jnp
from jax import lax

from cnn_jax.layers.arguments import float_array


def batch_norm(
    images, scale, bias, *, epsilon: float = 1e-5, axis_name: str | None = None, shift=None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalise each channel by its own statistics over the batch."""
    images = float_array("images", images)
    mean, var = _moments(images, axis_name, shift)
    return batch_norm_eval(images, scale, bias, mean, var, epsilon=epsilon), mean, var


def batch_norm_eval(images, scale, bias, mean, var, *, epsilon: float = 1e-5) -> jax.Array:
    """Normalise each channel by given statistics."""
    images = float_array("images", images)
    factor = scale * lax.rsqrt(var + epsilon)
    return ((images.astype(factor.dtype) - mean) * factor + bias).astype(images.dtype)


def batch_norm_statistics(old_mean, old_var, mean, var, *, momentum: float = 0.9, count: int):
    """Move running statistics towards those of a batch."""
    unbiased = var * (count / (count - 1))
    return (
        momentum * old_mean + (1 - momentum) * mean,
        momentum * old_var + (1 - momentum) * unbiased,
    )


def _moments(images, axis_name, shift):
    axes = tuple(range(images.ndim - 1))
    images = images.astype(jnp.promote_types(images.dtype, jnp.float32))

    def average(values):
        local = values.mean(axes)
        return local if axis_name is None else lax.pmean(local, axis_name)

    # A mean near to the true one keeps E[d²] - E[d]² from cancelling; the true one always does,
    # at the price of one more pass over the images.
    shift = lax.stop_gradient(average(images) if shift is None else shift)
    centred = images - shift
    offset = average(centred)
    return shift + offset, jnp.maximum(average(jnp.square(centred)) - jnp.square(offset), 0)


def layer_norm(x, scale, bias, *, epsilon: float = 1e-6) -> jax.Array:
    """Normalise the channels of each position."""
    x = float_array("x", x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    var = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * lax.rsqrt(var + epsilon) * scale + bias).astype(x.dtype)
