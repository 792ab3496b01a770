"""The scores that are explained: of each image the logit of one class."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from cnn_jax.errors import InputError


def chosen_classes(logits: jax.Array, classes: ArrayLike | None) -> jax.Array:
    """Say which class of each image is explained.

    Args:
        logits: [N, K].
        classes: int [N], one number for all, or None for the most probable of each.

    Returns:
        int32 [N].

    Raises:
        InputError: they are not as many as the images, or, where their values are known, out of
            range.

    >>> chosen_classes(jnp.array([[0.0, 1.0], [2.0, 0.0]]), None).tolist()
    [1, 0]
    """
    if classes is None:
        return logits.argmax(-1).astype(jnp.int32)
    classes = jnp.asarray(classes, jnp.int32)
    if classes.ndim > 1 or (classes.ndim == 1 and len(classes) != len(logits)):
        raise InputError(
            f"`classes` has the shape {classes.shape}, and there are {len(logits)} images: give "
            "one class for each, one for all, or none for the most probable"
        )
    known = not isinstance(classes, jax.core.Tracer)
    if (
        known
        and classes.size
        and not 0 <= int(classes.min()) <= int(classes.max()) < logits.shape[-1]
    ):
        raise InputError(
            f"`classes` (={classes.tolist()}) must be from 0 to {logits.shape[-1] - 1}, the "
            f"{logits.shape[-1]} classes of the model"
        )
    return jnp.broadcast_to(classes, len(logits))


def scores(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Take of each image the logit of its class: [N, K] and int [N] -> [N]."""
    return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
