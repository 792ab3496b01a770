"""What is special about the transformer: the position embedding has a size."""

import jax
import jax.numpy as jnp
import pytest

from cnn_jax.errors import InputError
from cnn_jax.models import create_model


def _parameters(image_size, images_size):
    model = create_model("vit_tiny_patch32", image_size=image_size)
    images = jnp.zeros((1, images_size, images_size, 3))
    return jax.eval_shape(model.init, jax.random.key(0), images)["params"]


def test_position_embedding_is_built_for_the_image_size_whatever_the_images():
    assert _parameters(64, 96)["pos_embed"].shape == (1, 1 + 4, 192)


def test_sides_that_no_patch_divides_are_refused():
    with pytest.raises(InputError, match=r"70x70 .* multiples of `patch_size` \(=32\)"):
        _parameters(64, 70)
