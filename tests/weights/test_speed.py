"""Loading 100 MB takes at most twice the time of reading and transposing with safetensors.numpy."""

import gc
import time

import jax
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.weights import load_weights, save_weights, shapes
from tests.weights.random_weights import random_variables


@pytest.fixture
def _little_garbage():
    """What the tests before have left takes seconds to look through, at each turn."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _seconds(function) -> float:
    gc.collect()
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


@pytest.mark.usefixtures("_little_garbage")
def test_a_resnet50(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    model, path = models.create_model("resnet50"), tmp_path / "w.safetensors"
    save_weights(random_variables(model), path)
    assert path.stat().st_size > 100e6

    def reference():
        for array in safetensors.load_file(path).values():
            axes = (*range(2, array.ndim), 1, 0) if array.ndim > 1 else (0,) * array.ndim
            np.ascontiguousarray(array.transpose(axes))

    def ours():
        shapes._traced.cache_clear()  # as when it is the first load of the model
        jax.block_until_ready(load_weights(model, path))

    ours()  # jax's own start
    # In turn, and the best of each: other work on the machine then meets both.
    best_reference = best_ours = np.inf
    for _ in range(24):
        best_reference = min(best_reference, _seconds(reference))
        best_ours = min(best_ours, _seconds(ours))
        if best_ours < 2 * best_reference:
            return
    pytest.fail(f"{best_ours:.3f} s against {best_reference:.3f} s")
