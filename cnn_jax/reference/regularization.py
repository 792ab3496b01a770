"""Dropout, with the mask given: the randomness is the caller's, the arithmetic is shown here."""

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.reference.arguments import check_rate, check_shape, float64

_IMAGE = ("height", "width", "channels")
_IMAGES = ("images", "height", "width", "channels")


def dropout(x: ArrayLike, mask: ArrayLike, *, rate: float) -> np.ndarray:
    """Drop the values where the mask is false, and enlarge the others to make up for them.

    What is kept is divided by 1 - rate, so that the expected value stays and evaluation needs no
    change (the paper scales the weights at test time instead: the same on average).

    Srivastava et al. 2014, "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    section 4; with the division in training, section 10.

    Args:
        x: float, any shape.
        mask: bool, the same shape; true keeps.
        rate: share that is dropped, in [0, 1).

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers, a rate outside [0, 1), or a mask of another shape.

    >>> dropout([1.0, 2.0, 3.0, 4.0], [True, False, True, False], rate=0.5)
    array([2., 0., 6., 0.])
    """
    x = float64(x, name="x")
    mask = np.asarray(mask, bool)
    check_rate(rate)
    check_shape(mask, x.shape, name="mask", rule="one entry for each value")
    return np.where(mask, x / (1 - rate), 0.0)


def channel_dropout(images: ArrayLike, mask: ArrayLike, *, rate: float) -> np.ndarray:
    """Drop whole channels: neighbouring pixels know too much about each other to drop alone.

    Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks", section 3.2
    (there called SpatialDropout).

    Args:
        images: float [N, H, W, C], or one image [H, W, C].
        mask: bool [N, C], or [C]; true keeps.
        rate: share that is dropped, in [0, 1).

    Returns:
        float64, the shape of `images`.

    Raises:
        InputError: for integers, a wrong rank, a rate outside [0, 1), or a mask of another shape.

    >>> channel_dropout(np.ones((1, 2, 2)), [True, False], rate=0.5)
    array([[[2., 0.],
            [2., 0.]]])
    """
    images = float64(images, _IMAGE, _IMAGES, name="images")
    mask = np.asarray(mask, bool)
    check_rate(rate)
    channels = (*images.shape[:-3], images.shape[-1])
    check_shape(mask, channels, name="mask", rule="one entry for each channel of each image")
    return np.where(mask[..., None, None, :], images / (1 - rate), 0.0)
