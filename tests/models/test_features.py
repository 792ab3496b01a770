"""Stages: their order, under jit too, and inside another module."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax.errors import InputError
from cnn_jax.models.features import extract_features, mark

_IMAGES = jnp.ones((2, 4, 4, 3))


class TwoStages(nn.Module):
    """Stages whose names are not in alphabetical order, one of them a child's."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = mark(self, "stem", nn.Dense(4, name="stem")(x))
        x = mark(self, "blocks.0", 2 * x)
        return x.mean((1, 2))


class Wrapper(nn.Module):
    """A model inside another."""

    @nn.compact
    def __call__(self, x):
        return TwoStages(name="backbone")(x)


def test_stages_come_in_order_even_under_jit():
    model = TwoStages()
    variables = model.init(jax.random.key(0), _IMAGES)
    assert set(variables) == {"params"}
    features = extract_features(model, variables, _IMAGES)
    jitted = jax.jit(partial(extract_features, model))(variables, _IMAGES)
    assert list(features) == list(jitted) == ["stem", "blocks.0"]
    assert jnp.allclose(features["blocks.0"], 2 * features["stem"])
    assert jnp.allclose(features["stem"], jitted["stem"])


def test_a_model_inside_another_gives_its_stages():
    model = Wrapper()
    variables = model.init(jax.random.key(0), _IMAGES)
    assert list(extract_features(model, variables, _IMAGES)) == [
        "backbone.stem",
        "backbone.blocks.0",
    ]


def test_a_model_without_stages_is_an_error():
    model = nn.Dense(1)
    variables = model.init(jax.random.key(0), _IMAGES)
    with pytest.raises(InputError, match=r"`model` \(=Dense\) marks no stage"):
        extract_features(model, variables, _IMAGES)
