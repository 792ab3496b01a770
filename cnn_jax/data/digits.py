"""The embedded default: 1,797 scans of handwritten digits, 8x8 pixels."""

import numpy as np

from cnn_jax.data.source import ArraySource, array_source


def read_digits() -> ArraySource:
    """Read scikit-learn's copy of the optical digits (Alpaydin and Kaynak 1998).

    Returns:
        1,797 images uint8 [8, 8, 1] (the 17 grey levels spread over 0..255) with labels 0..9.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return array_source(images, bunch.target, name="digits")
