"""Receptive fields: those published, and those that gradients show."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import layers
from cnn_jax.inspect import summary
from cnn_jax.models import create_model


class Chain(nn.Module):
    """Layers one after the other; functions are called as they are."""

    steps: tuple

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images
        for step in self.steps:
            x = step(x)
        return x


def _conv(size, **options):
    return lambda x: layers.Conv(2, kernel_size=size, kernel_init=nn.initializers.ones, **options)(
        x
    )


def _pool(pool, **options):
    return lambda x: pool(x, **options)


def _residual(x):
    return x + _conv(3, padding=1)(x)


CHAINS = {
    "convolution": (_conv(3, padding=1), _conv(5, padding=2)),
    "strides": (_conv(3, stride=2, padding=1), _conv((3, 1), stride=(2, 1)), _conv(3)),
    "dilation": (_conv(3, dilation=2), _conv(3, dilation=(1, 3), stride=2), _conv(2)),
    "maximum pooling": (_conv(3), _pool(layers.max_pool, window=3, stride=2), _conv(3)),
    "plain pooling": (_pool(layers.average_pool, window=3, stride=2, plain=True), _conv(3)),
    "depthwise": (_conv(5, groups=2, stride=2, padding=2), _conv(3, groups=2)),
    "plain depthwise": (_conv(5, groups=2, stride=2, plain=True), _conv(3, groups=2, plain=True)),
    "branches": (_residual, _pool(layers.max_pool, window=2), _residual),
    "windows by reshaping": (
        _conv(3),
        lambda x: x.reshape(1, x.shape[1] // 2, 2, x.shape[2] // 2, 2, 2).sum((2, 4)),
        _conv(3),
    ),
    "transposed axes": (_conv((1, 5)), lambda x: x.swapaxes(1, 2), _conv((1, 3)), _conv((3, 3))),
}


@pytest.mark.parametrize("name", CHAINS)
def test_gradients_reach_as_far(name):
    """Pooling passes the gradient to the largest pixel only: several images show all."""
    model = Chain(CHAINS[name])
    images = jnp.arange(1.0, 32 * 32 * 2 + 1).reshape(1, 32, 32, 2)
    variables = model.init(jax.random.key(0), images)
    record = summary(model, image_shape=images.shape[1:])

    def middle(images):
        maps = model.apply(variables, images)
        return maps[0, maps.shape[1] // 2, maps.shape[2] // 2].sum()

    reach = np.zeros((32, 32), bool)
    for seed in range(12):
        noise = jax.random.normal(jax.random.key(seed), images.shape)
        reach |= np.asarray(jax.grad(middle)(noise)[0].any(-1))
    rows, columns = np.flatnonzero(reach.any(1)), np.flatnonzero(reach.any(0))
    assert record.receptive_field == (np.ptp(rows) + 1, np.ptp(columns) + 1)


@pytest.mark.parametrize(
    ("name", "extent"),
    [
        # Araujo et al. 2019, table 1.
        ("alexnet", 195),
        ("mobilenet_v1", 315),
        ("inception_v3", 1311),
        # By hand: a bottleneck adds 2 pixels of its 3x3 times the distance of its positions, whose
        # stride comes with that 3x3; the paper above has it at the end of a stage.
        ("resnet18", 435),
        ("resnet50", 427),
    ],
)
def test_published_receptive_fields(name, extent):
    assert summary(create_model(name)).receptive_field == (extent, extent)


def test_vgg16_sees_196_pixels_before_the_last_pooling():
    record = summary(create_model("vgg16"))
    (last,) = (layer for layer in record.layers if layer.name == "features_28")
    assert last.receptive_field == (196, 196)


@pytest.mark.parametrize("name", ["seresnet18", "vit_tiny_patch32", "mobilenet_v3_small", "mlp"])
def test_it_is_not_defined_where_each_position_sees_everything(name):
    record = summary(create_model(name))
    assert record.receptive_field is None
    assert record.layers[-1].receptive_field is None


def test_signals_have_one_axis():
    assert summary(create_model("cnn1d")).receptive_field == (8 + 5 + 3 - 2,)
