"""The quick trace gives the shapes that the model's own initialisation gives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax import layers, models
from cnn_jax.weights.shapes import default_image_shape, head_paths, stem_paths
from cnn_jax.weights.tracing import trace_shapes


def _initialised(model, image) -> dict:
    images = jnp.zeros((1, *image))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    return {path: leaf.shape for path, leaf in flatten_dict(variables).items()}


# One of each way of building models; the others differ in numbers alone.
@pytest.mark.parametrize(
    "name",
    [
        "cnn1d", "convnext_tiny", "efficientnet_b1", "lenet5", "mobilenet_v3_small",
        "regnet_y_400mf", "resnet20_cifar", "resnet50", "seresnet18", "shufflenet_v2_x0_5",
        "vgg11_bn", "vit_tiny_patch32",
    ],
)  # fmt: skip
def test_zoo(name):
    model = models.create_model(name)
    image = default_image_shape(model)
    assert trace_shapes(model, image) == _initialised(model, image)


class _Block(nn.Module):
    features: int
    drop_rate: float = 0.0

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        for index in range(2):
            x = layers.Conv(self.features, padding=1, name=f"conv_{index}")(x)
            x = layers.BatchNorm(name=f"bn_{index}")(x, train=train)
        gamma = self.param("gamma", nn.initializers.ones, (x.shape[-1],))
        return x * gamma, {"note": "no array"} if self.features == 5 else None


class _Odd(nn.Module):
    """Blocks that are alike, alike in fields only, alike in inputs only, and used twice."""

    widths: tuple[int, ...] = (4, 4, 4, 5, 5, 4)

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        for index, width in enumerate(self.widths):
            x, _ = _Block(width, drop_rate=index / 10, name=f"block_{index}")(x, train=train)
        shared = _Block(4, name="shared")
        for _ in range(3):
            x, _ = shared(x, train=train)
        return layers.Dense(2, name="fc")(x.mean((1, 2)))


def test_modules_that_only_look_alike():
    assert trace_shapes(_Odd(), (8, 8, 3)) == _initialised(_Odd(), (8, 8, 3))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "efficientnet_b0", "alexnet", "simple_cnn"])
def test_head_and_stem(name):
    model = models.create_model(name)
    image = default_image_shape(model)
    head, stem = head_paths(model, image), stem_paths(model, image)
    assert {path[-1] for path in head} == {"kernel", "bias"} and len(head) == 2
    assert {path[-1] for path in stem} == {"kernel"} and len(stem) == 1
    without = model.clone(num_classes=0)
    assert head_paths(without, image) == head
