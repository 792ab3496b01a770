"""The embedded default: 1,797 scans of handwritten digits, 8x8 pixels."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from cnn_jax.data.source import ArraySource, array_source


def read_digits() -> ArraySource:
    """Read scikit-learn's copy of the optical digits (Alpaydin and Kaynak 1998).

    Returns:
        1,797 images uint8 [8, 8, 1] (the 17 grey levels spread over 0..255) with labels 0..9.
    """
    # The file alone: to import scikit-learn takes longer than to train on them.
    package = Path(importlib.util.find_spec("sklearn").origin).parent
    # Opened here: NumPy asks for the working directory first, and that may be gone.
    with gzip.open(package / "datasets" / "data" / "digits.csv.gz", "rt") as lines:
        rows = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    images = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return array_source(images, rows[:, -1], name="digits")
