"""Gradients of a score by the pixels: what a small change of each would do."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cnn_jax import ranges
from cnn_jax.explain.scores import chosen_classes, scores


def saliency(
    model: nn.Module, variables: dict, images: jax.Array, *, classes: ArrayLike | None = None
) -> jax.Array:
    """Map how much each pixel matters: the largest gradient of its channels.

    Simonyan, Vedaldi and Zisserman 2014, "Deep Inside Convolutional Networks", section 3.1.

    Args:
        model: any network of images.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        classes: int [N] or one for all; None for the most probable of each.

    Returns:
        float32 [N, H, W], 0 or above.

    Raises:
        InputError: there is no such class.

    >>> import cnn_jax
    >>> model, images = cnn_jax.create_model("mlp", num_classes=2), jnp.ones((1, 4, 4, 1))
    >>> saliency(model, model.init(jax.random.key(0), images), images).shape
    (1, 4, 4)
    """
    return jnp.abs(_gradient_of(model, variables, images, classes)(images)).max(-1)


def smooth_grad(
    key: jax.Array,
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    *,
    classes: ArrayLike | None = None,
    deviation: float = 0.15,
    samples: int = 16,
) -> jax.Array:
    """Map how much each pixel matters, on average over noisy copies of the image.

    Smilkov et al. 2017, "SmoothGrad", section 3: 10 to 20 % noise, and few samples do.

    Args:
        key: random key of the noise.
        model: any network of images.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        classes: int [N] or one for all; None for the most probable of each image without noise.
        deviation: of the noise, as a part of the range of the image's values.
        samples: noisy copies of each.

    Returns:
        float32 [N, H, W], 0 or above: the largest mean gradient of the channels.

    Raises:
        InputError: there is no such class, `deviation` is negative, or `samples` below 1.
    """
    ranges.not_negative("deviation", deviation, remedy="0.15 is usual")
    ranges.whole("samples", samples, remedy="16 for instance")
    gradient = _gradient_of(model, variables, images, classes)
    span = images.max((1, 2, 3), keepdims=True) - images.min((1, 2, 3), keepdims=True)

    def noisy(number):
        noise = jax.random.normal(jax.random.fold_in(key, number), images.shape)
        return gradient(images + deviation * span * noise)

    # Not in a loop on the device: convolutions in one are slow on a CPU.
    return jnp.abs(sum(noisy(number) for number in range(samples)) / samples).max(-1)


def integrated_gradients(
    model: nn.Module,
    variables: dict,
    images: jax.Array,
    *,
    classes: ArrayLike | None = None,
    baseline: ArrayLike = 0.0,
    steps: int = 32,
) -> jax.Array:
    """Share the score among the pixels: their gradients along the way from a baseline.

    Sundararajan, Taly and Yan 2017, "Axiomatic Attribution for Deep Networks", equations 1 and 3,
    the integral by the midpoint rule.

    Args:
        model: any network of images.
        variables: its parameters and statistics.
        images: [N, H, W, C], as the model gets them.
        classes: int [N] or one for all; None for the most probable of each.
        baseline: what stands for nothing, of a shape that images broadcast with; 0 is the mean
            colour where images are normalised.
        steps: points on the way.

    Returns:
        float32 [N, H, W, C], which add up to the score of the image less that of the baseline, but
        for the error of the integral.

    Raises:
        InputError: there is no such class, or `steps` is below 1.
    """
    ranges.whole("steps", steps, remedy="32 for instance")
    gradient = _gradient_of(model, variables, images, classes)
    way = images - jnp.asarray(baseline, images.dtype)
    points = ((number + 0.5) / steps for number in range(steps))
    return way * sum(gradient(images - way * (1 - point)) for point in points) / steps


def _gradient_of(
    model: nn.Module, variables: dict, images: jax.Array, classes: ArrayLike | None
) -> Callable[[jax.Array], jax.Array]:
    """Make the gradient of the scores by images like these, for the classes chosen of these."""
    chosen = chosen_classes(model.apply(variables, images), classes)

    def score(images):
        return scores(model.apply(variables, images), chosen).astype(jnp.float32).sum()

    return jax.grad(score)
