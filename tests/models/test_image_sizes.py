"""The smallest images: those that the documentation names, and no smaller ones."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.errors import InputError
from cnn_jax.models import create_model
from tests.models.test_every_model import SMALL

LEAST = {
    "alexnet": 63,
    "convnext_tiny": 32,
    "densenet121": 29,
    "densenet_bc_100_12_cifar": 4,
    "googlenet": 15,
    "inception_v3": 75,
    "lenet5": 12,
    "lenet5_1998": 32,
    "lenet5_unpadded": 16,
    "simple_cnn": 8,
    "squeezenet1_0": 21,
    "squeezenet1_1": 17,
    "three_block_cnn": 8,
    "vgg11": 32,
}
SHORT = {
    **{name: options for name, (_, options) in SMALL.items()},
    "convnext_tiny": {"depths": (1, 1, 1, 1), "features": (8, 8, 8, 8)},
}


def traced(name: str, height: int, width: int) -> None:
    model = create_model(name, **SHORT.get(name, {}))
    images = jax.ShapeDtypeStruct((1, height, width, model.in_channels), jnp.float32)
    jax.eval_shape(model.init, jax.random.key(0), images)


@pytest.mark.parametrize("name", LEAST)
def test_the_smallest_images_are_those_that_are_documented(name):
    least = LEAST[name]
    assert f" {least}" in type(create_model(name)).__doc__
    traced(name, least, least)
    with pytest.raises(InputError):
        traced(name, least, least - 1)


@pytest.mark.parametrize("name", ["densenet121", "convnext_tiny"])
def test_of_smaller_images_the_error_speaks(name):
    """Not of a layer's kernel, which nobody has chosen."""
    words = rf"`images` of 28x64 pixels must have sides of at least {LEAST[name]}.*: enlarge them"
    with pytest.raises(InputError, match=words):
        traced(name, 28, 64)
