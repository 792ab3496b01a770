"""The first convolution, for images of another number of channels."""

import math

import numpy as np

_COLOURS = 3


def adapt_stem(kernel: np.ndarray, channels: int) -> np.ndarray | None:
    """Fold or repeat a kernel for RGB images.

    For one channel the three are added up, so that a grey image gives what its RGB copy gave.
    For other numbers they are repeated in turn, and scaled by 3 / channels.

    Args:
        kernel: [..., 3, features].
        channels: of the images to come.

    Returns:
        float32 [..., channels, features], as timm's `adapt_input_conv` has it; None where the
        kernel is no convolution or not for three channels.
    """
    if kernel.ndim < 3 or kernel.shape[-2] != _COLOURS:
        return None
    kernel = kernel.astype(np.float32)
    if channels == 1:
        return kernel.sum(axis=-2, keepdims=True)
    repeated = np.concatenate([kernel] * math.ceil(channels / _COLOURS), axis=-2)
    return repeated[..., :channels, :] * np.float32(_COLOURS / channels)
