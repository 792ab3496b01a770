"""Normalisation, written out: subtract a mean, divide by a spread; they differ in whose."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.errors import InputError
from cnn_jax.reference.arguments import check_length, check_odd, float64


def _per_channel(value: ArrayLike, *, name: str, channels: int) -> np.ndarray:
    value = float64(value, name=name)
    check_length(value, name=name, length=channels, what="channel")
    return value


def batch_norm(
    images: ArrayLike, scale: ArrayLike, bias: ArrayLike, *, epsilon: float = 1e-5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batch normalisation in training: each channel by its statistics over the whole batch.

    Ioffe and Szegedy 2015, "Batch Normalization", algorithm 1; over positions too, section 3.2.

    Args:
        images: float [..., C]; [N, H, W, C] for images, [N, C] after a dense layer.
        scale: float [C], gamma of the paper.
        bias: float [C], beta of the paper.
        epsilon: added to the variance, so that a constant channel divides by no zero.

    Returns:
        Output float64 [..., C], mean float64 [C] and biased variance float64 [C] of the batch.

    Raises:
        InputError: for integers, or a scale or a bias without one value for each channel.

    >>> images = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> output, mean, var = batch_norm(images, [1.0, 1.0], [0.0, 0.5], epsilon=0.0)
    >>> output
    array([[-1. , -0.5],
           [ 1. ,  1.5]])
    >>> mean, var
    (array([ 2., 20.]), array([  1., 100.]))
    """
    images = float64(images, ("...", "channels"), name="images")
    channels = images.shape[-1]
    mean, var = np.zeros(channels), np.zeros(channels)
    for c in range(channels):
        values = images[..., c]
        mean[c] = np.sum(values) / values.size
        var[c] = np.sum((values - mean[c]) ** 2) / values.size
    return batch_norm_eval(images, scale, bias, mean, var, epsilon=epsilon), mean, var


def batch_norm_eval(
    images: ArrayLike,
    scale: ArrayLike,
    bias: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    epsilon: float = 1e-5,
) -> np.ndarray:
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
        float64 [..., C].

    Raises:
        InputError: for integers, or a vector without one value for each channel.

    >>> batch_norm_eval([[3.0]], [2.0], [1.0], [1.0], [4.0], epsilon=0.0)
    array([[3.]])
    """
    images = float64(images, ("...", "channels"), name="images")
    channels = images.shape[-1]
    scale = _per_channel(scale, name="scale", channels=channels)
    bias = _per_channel(bias, name="bias", channels=channels)
    mean = _per_channel(mean, name="mean", channels=channels)
    var = _per_channel(var, name="var", channels=channels)
    output = np.zeros(images.shape)
    for c in range(channels):
        normalized = (images[..., c] - mean[c]) / np.sqrt(var[c] + epsilon)
        output[..., c] = scale[c] * normalized + bias[c]
    return output


def batch_norm_statistics(
    old_mean: ArrayLike,
    old_var: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    momentum: float = 0.9,
    count: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
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
        count: values that each channel was averaged over (N * H * W), to multiply the variance by
            count / (count - 1); None leaves it biased.

    Returns:
        New running mean and variance, float64 [C] each.

    Raises:
        InputError: for a momentum outside [0, 1], or a count of 1, which has no unbiased variance.

    >>> batch_norm_statistics([0.0], [1.0], [2.0], [3.0], momentum=0.5)
    (array([1.]), array([2.]))
    >>> batch_norm_statistics([0.0], [1.0], [2.0], [3.0], momentum=0.5, count=4)
    (array([1.]), array([2.5]))
    """
    if not 0 <= momentum <= 1:
        raise InputError(
            f"`momentum` (={momentum}) must be from 0 to 1: it is the share of the old value"
        )
    if count is not None and count < 2:
        raise InputError(
            f"`count` (={count}) must be at least 2 for an unbiased variance: use a larger batch"
        )
    old_mean = float64(old_mean, ("channels",), name="old_mean")
    old_var = _per_channel(old_var, name="old_var", channels=len(old_mean))
    mean = _per_channel(mean, name="mean", channels=len(old_mean))
    var = _per_channel(var, name="var", channels=len(old_mean))
    if count is not None:
        var = var * count / (count - 1)
    return (
        momentum * old_mean + (1 - momentum) * mean,
        momentum * old_var + (1 - momentum) * var,
    )


def layer_norm(
    x: ArrayLike, scale: ArrayLike, bias: ArrayLike, *, epsilon: float = 1e-6
) -> np.ndarray:
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
        float64 [..., C].

    Raises:
        InputError: for integers, or a scale or a bias without one value for each channel.

    >>> layer_norm([[1.0, 3.0], [10.0, 30.0]], [1.0, 1.0], [0.0, 0.0], epsilon=0.0)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    x = float64(x, ("...", "channels"), name="x")
    channels = x.shape[-1]
    scale = _per_channel(scale, name="scale", channels=channels)
    bias = _per_channel(bias, name="bias", channels=channels)
    output = np.zeros(x.shape)
    for position in np.ndindex(x.shape[:-1]):
        values = x[position]
        mean = np.sum(values) / channels
        var = np.sum((values - mean) ** 2) / channels
        output[position] = scale * (values - mean) / np.sqrt(var + epsilon) + bias
    return output


def local_response_norm(
    images: ArrayLike,
    *,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 2.0,
) -> np.ndarray:
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
        float64 [..., C].

    Raises:
        InputError: for integers or an even size.

    >>> local_response_norm([[1.0, 2.0, 3.0]], size=3, alpha=1.0, beta=1.0, k=0.0).round(3)
    array([[0.2  , 0.143, 0.231]])
    """
    images = float64(images, ("...", "channels"), name="images")
    check_odd(size, name="size")
    channels = images.shape[-1]
    output = np.zeros(images.shape)
    for c in range(channels):
        around = images[..., max(c - size // 2, 0) : c + size // 2 + 1]
        output[..., c] = images[..., c] / (k + alpha * np.sum(around**2, axis=-1)) ** beta
    return output
