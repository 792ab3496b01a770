"""What the tests of this folder share: random weights for a model, and small files of them."""

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_jax import models
from cnn_jax.weights.shapes import default_image_shape, variable_shapes


def random_variables(model, seed: int = 0) -> dict:
    """Draw all variables of a model; no two values are equal."""
    rng = np.random.default_rng(seed)
    shapes = variable_shapes(model, default_image_shape(model))
    return unflatten_dict(
        {path: rng.random(shape, dtype=np.float32) for path, shape in shapes.items()}
    )


def differing(one: dict, other: dict) -> list[str]:
    """Name the variables of two trees that are not bitwise equal."""
    one, other = (flatten_dict(jax.device_get(tree), sep="/") for tree in (one, other))
    return [
        name
        for name in one.keys() | other.keys()
        if name not in one
        or name not in other
        or np.asarray(one[name]).dtype != np.asarray(other[name]).dtype
        or not np.array_equal(one[name], other[name])
    ]


def small_state(seed: int = 0) -> dict[str, np.ndarray]:
    """The `state_dict` of a LeNet-5 for 2 classes, widths as small as the model has them."""
    rng = np.random.default_rng(seed)
    shapes = {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        "conv2.weight": (16, 6, 5, 5),
        "conv2.bias": (16,),
        "fc1.weight": (120, 400),
        "fc1.bias": (120,),
        "fc2.weight": (84, 120),
        "fc2.bias": (84,),
        "fc3.weight": (2, 84),
        "fc3.bias": (2,),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def small_model(**options):
    """The model of `small_state`."""
    return models.create_model("lenet5", **{"num_classes": 2, **options})
