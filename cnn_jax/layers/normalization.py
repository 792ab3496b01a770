"""Normalisations as pure functions; channels are the last axis."""

import functools
import operator

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from cnn_jax.errors import InputError
from cnn_jax.layers.arguments import floats, vector, widened
from cnn_jax.reference.arguments import check_odd

_CHANNELS_LAST = ("...", "channels")


def batch_norm(
    images: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    *,
    epsilon: float = 1e-5,
    axis_name: str | None = None,
    shift: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Batch normalisation in training: each channel by its statistics over the whole batch.

    Ioffe and Szegedy 2015, "Batch Normalization", algorithm 1; over positions too, section 3.2.

    Args:
        images: float [..., C]; [N, H, W, C] for images, [N, C] after a dense layer.
        scale: float [C], gamma of the paper.
        bias: float [C], beta of the paper.
        epsilon: added to the variance, so that a constant channel divides by no zero.
        axis_name: name of a mapped axis (pmap, vmap) to average the statistics over as well.
        shift: float [C], a guess of the mean, such as the running mean. It changes no result, but
            saves a pass over the images; a guess many deviations away costs digits.

    Returns:
        Output [..., C] of the images' type, and in float32 or wider the mean [C] and the biased
        variance [C] of the batch.

    Raises:
        InputError: for integers, or a vector without one value for each channel.

    >>> images = jnp.array([[1.0, 10.0], [3.0, 30.0]])
    >>> output, mean, var = batch_norm(images, jnp.ones(2), jnp.zeros(2), epsilon=0.0)
    >>> output
    Array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> mean, var
    (Array([ 2., 20.], dtype=float32), Array([  1., 100.], dtype=float32))
    """
    images = floats(images, _CHANNELS_LAST, name="images")
    if shift is not None:
        shift = vector(shift, name="shift", length=images.shape[-1], what="channel")
    of_channels = {"scale": scale, "bias": bias}
    vectors = (
        vector(value, name=name, length=images.shape[-1], what="channel")
        for name, value in of_channels.items()
    )
    return _normalized(images, *vectors, shift, float(epsilon), axis_name)


# Networks have many layers of few shapes: jit traces, derives and transposes each shape once.
@functools.partial(jax.jit, static_argnums=(4, 5))
@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def _normalized(images, scale, bias, shift, epsilon, axis_name):
    mean, var = _moments(widened(images), axis_name, shift)
    return batch_norm_eval(images, scale, bias, mean, var, epsilon=epsilon), mean, var


@_normalized.__wrapped__.defjvp
def _derivative(epsilon, axis_name, primals, tangents):
    """Derive it as the transpose of the gradient, which so comes out as it is written."""
    images, scale, bias, shift = primals
    outputs = _normalized(images, scale, bias, shift, epsilon, axis_name)
    gradient = functools.partial(
        _gradient, images, scale, bias, *outputs[1:], epsilon=epsilon, axis_name=axis_name
    )
    (derived,) = jax.linear_transpose(gradient, outputs)(tangents[:3])
    return outputs, derived


def _gradient(images, scale, bias, mean, var, cotangents, *, epsilon, axis_name):
    """Give the gradients of images, scale and bias by two sums over the images and one more pass.

    Ioffe and Szegedy 2015, section 3, the chain rule; simplified. Derived by JAX it is a chain of
    passes for the mean, the variance and the output, twice the processor time.
    """
    of_output, of_mean, of_var = cotangents
    axes, count = tuple(range(images.ndim - 1)), images.size // images.shape[-1]

    def over_devices(values):
        return values if axis_name is None else lax.pmean(values, axis_name)

    wide, centred = of_output.astype(mean.dtype), widened(images) - mean
    inverse = lax.rsqrt(var + epsilon)
    factor = widened(scale) * inverse
    total, correlation = wide.sum(axes), (wide * centred).sum(axes)
    constant = over_devices(of_mean - factor * total) / count
    slope = over_devices(2 * of_var - factor * jnp.square(inverse) * correlation) / count
    of_images = factor * wide + constant + slope * centred
    return (
        of_images.astype(images.dtype),
        (correlation * inverse).astype(scale.dtype),
        total.astype(bias.dtype),
    )


def _moments(images, axis_name, shift):
    axes = tuple(range(images.ndim - 1))

    def average(values):
        local = values.mean(axes)
        return local if axis_name is None else lax.pmean(local, axis_name)

    # A mean near to the true one keeps E[d²] - E[d]² from cancelling; the true one always does,
    # at the price of one more pass over the images.
    shift = lax.stop_gradient(average(images) if shift is None else shift)
    centred = images - shift
    offset = average(centred)
    return shift + offset, jnp.maximum(average(jnp.square(centred)) - jnp.square(offset), 0)


def batch_norm_eval(
    images: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Batch normalisation in use: each channel by statistics gathered in training.

    Ioffe and Szegedy 2015, "Batch Normalization", algorithm 2, step 11.

    Args:
        images: float [..., C].
        scale: float [C], gamma of the paper.
        bias: float [C], beta of the paper.
        mean: float [C], the running mean.
        var: float [C], the running variance.
        epsilon: added to the variance.

    Returns:
        [..., C] of the images' type; computed in float32 or wider.

    Raises:
        InputError: for integers, or a vector without one value for each channel.

    >>> one = jnp.ones(1)
    >>> batch_norm_eval(jnp.array([[3.0]]), 2 * one, one, one, 4 * one, epsilon=0.0)
    Array([[3.]], dtype=float32)
    """
    images = floats(images, _CHANNELS_LAST, name="images")
    of_channels = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    scale, bias, mean, var = (
        widened(vector(value, name=name, length=images.shape[-1], what="channel"))
        for name, value in of_channels.items()
    )
    output = (widened(images) - mean) * (scale * lax.rsqrt(var + epsilon)) + bias
    return output.astype(images.dtype)


def batch_norm_statistics(
    old_mean: ArrayLike,
    old_var: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    momentum: float = 0.9,
    count: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Move the running statistics a little towards those of a batch.

    The momentum is the share that the old value keeps, as in Flax and ONNX; PyTorch's is the share
    that the new one gets. PyTorch also makes the variance unbiased before averaging it: give
    `count` for that.

    Ioffe and Szegedy 2015, "Batch Normalization", section 3.1 and algorithm 2, step 10.

    Args:
        old_mean: float [C], running mean so far.
        old_var: float [C], running variance so far.
        mean: float [C], mean of the batch.
        var: float [C], biased variance of the batch, as `batch_norm` returns it.
        momentum: share of the old value that stays, from 0 to 1.
        count: values that each channel was averaged over (N * H * W, on all devices), to multiply
            the variance by count / (count - 1); None leaves it biased.

    Returns:
        New running mean and variance, [C] each.

    Raises:
        InputError: for a momentum outside [0, 1], a count of 1, which has no unbiased variance, or
            vectors of several lengths.

    >>> zero, one = jnp.zeros(1), jnp.ones(1)
    >>> batch_norm_statistics(zero, one, 2 * one, 3 * one, momentum=0.5, count=4)
    (Array([1.], dtype=float32), Array([2.5], dtype=float32))
    """
    if not 0 <= momentum <= 1:
        raise InputError(
            f"`momentum` (={momentum}) must be from 0 to 1: it is the share of the old value"
        )
    if count is not None and count < 2:
        raise InputError(
            f"`count` (={count}) must be at least 2 for an unbiased variance: use a larger batch"
        )
    old_mean = floats(old_mean, ("channels",), name="old_mean")
    others = {"old_var": old_var, "mean": mean, "var": var}
    old_var, mean, var = (
        vector(value, name=name, length=old_mean.size, what="channel")
        for name, value in others.items()
    )
    unbiased = var if count is None else var * (count / (count - 1))
    return (
        momentum * old_mean + (1 - momentum) * mean,
        momentum * old_var + (1 - momentum) * unbiased,
    )


def layer_norm(
    x: ArrayLike, scale: ArrayLike, bias: ArrayLike, *, epsilon: float = 1e-6
) -> jax.Array:
    """Layer normalisation: each position by the statistics over its own channels.

    No other image of the batch matters, so training and use are the same.

    Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4; on the channels of one
    position, as in transformers and in Liu et al. 2022, "A ConvNet for the 2020s", section 2.6.

    Args:
        x: float [..., C].
        scale: float [C].
        bias: float [C].
        epsilon: added to the variance.

    Returns:
        [..., C] of the type of `x`; computed in float32 or wider.

    Raises:
        InputError: for integers, or a scale or a bias without one value for each channel.

    >>> x = jnp.array([[1.0, 3.0], [10.0, 30.0]])
    >>> layer_norm(x, jnp.ones(2), jnp.zeros(2), epsilon=0.0)
    Array([[-1.,  1.],
           [-1.,  1.]], dtype=float32)
    """
    x = floats(x, _CHANNELS_LAST, name="x")
    scale = widened(vector(scale, name="scale", length=x.shape[-1], what="channel"))
    bias = widened(vector(bias, name="bias", length=x.shape[-1], what="channel"))
    wide = widened(x)
    centred = wide - wide.mean(-1, keepdims=True)
    var = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * lax.rsqrt(var + epsilon) * scale + bias).astype(x.dtype)


def local_response_norm(
    images: ArrayLike,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
) -> jax.Array:
    """Local response normalisation: a strong answer dims its neighbours among the channels.

        b[c] = a[c] / (k + alpha * sum of a[j]**2 over the `size` channels j around c) ** beta

    The arguments are the paper's. PyTorch, ONNX and Caffe divide alpha by size: for a model from
    there, pass its alpha / size.

    Krizhevsky, Sutskever and Hinton 2012, "ImageNet Classification with Deep Convolutional Neural
    Networks", section 3.3.

    Args:
        images: float [..., C].
        size: channels in the window, odd; n of the paper. At the ends there are fewer.
        alpha: weight of the sum of squares.
        beta: power of the divisor.
        k: divisor of a channel without neighbours.

    Returns:
        [..., C] of the images' type; computed in float32 or wider.

    Raises:
        InputError: for integers or an even size.

    >>> images = jnp.array([[1.0, 2.0, 3.0]])
    >>> local_response_norm(images, size=3, alpha=1.0, beta=1.0, k=0.0).round(3)
    Array([[0.2  , 0.143, 0.231]], dtype=float32)
    """
    images = floats(images, _CHANNELS_LAST, name="images")
    check_odd(size, name="size")
    wide, channels = widened(images), images.shape[-1]
    # The same number of zeros on both sides, so that window c starts at channel c.
    ends = [(0, 0)] * (images.ndim - 1) + [(size // 2, size // 2)]
    squares = jnp.pad(jnp.square(wide), ends)
    sums = functools.reduce(
        operator.add, (squares[..., start : start + channels] for start in range(size))
    )
    return (wide * (k + alpha * sums) ** -beta).astype(images.dtype)
