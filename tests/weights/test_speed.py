"""Loading 100 MB takes at most twice the time of reading and transposing with safetensors.numpy.

Measured in a process of its own, whose memory no other test has used.
"""

import json
import textwrap

import pytest

from tests.conftest import ROOT, python

_PROGRAM = """
    import gc, json, sys, time
    import jax
    import numpy as np
    from safetensors.numpy import load_file
    from cnn_jax.models import create_model
    from cnn_jax.weights import load_weights, save_weights, shapes
    from tests.weights.random_weights import random_variables

    path, model = sys.argv[1], create_model("resnet50")
    save_weights(random_variables(model), path)

    def reference():
        for array in load_file(path).values():
            axes = (*range(2, array.ndim), 1, 0) if array.ndim > 1 else (0,) * array.ndim
            np.ascontiguousarray(array.transpose(axes))

    def ours():
        shapes._traced.cache_clear()  # as when it is the first load of the model
        jax.block_until_ready(load_weights(model, path))

    def seconds(function):
        gc.collect()
        begin = time.perf_counter()
        function()
        return time.perf_counter() - begin

    ours()  # jax's own start
    # In turn, and the best of each: other work on the machine then meets both.
    best = {}
    for _ in range(24):
        for function in (reference, ours):
            taken = seconds(function)
            best[function.__name__] = min(best.get(function.__name__, taken), taken)
        if best["ours"] < 2 * best["reference"]:
            break
    print(json.dumps(best))
"""


def test_a_resnet50(tmp_path):
    pytest.importorskip("safetensors.numpy")
    path = tmp_path / "w.safetensors"
    done = python("-c", textwrap.dedent(_PROGRAM), path, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_size > 100e6
    best = json.loads(done.stdout)
    assert best["ours"] < 2 * best["reference"], best
