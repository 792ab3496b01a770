"""First kernels have the published deviation; and the families use the published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.layers import convolution
from cnn_jax.models import create_model, initializers

_SHAPE = (3, 3, 64, 128)
_FAN_IN, _FAN_OUT = 9 * 64, 9 * 128


@pytest.mark.parametrize(
    ("initializer", "deviation", "largest"),
    [
        (initializers.he_normal(), (2 / _FAN_OUT) ** 0.5, None),
        (initializers.he_normal("fan_in"), (2 / _FAN_IN) ** 0.5, None),
        (initializers.he_normal(groups=8), (2 * 8 / _FAN_OUT) ** 0.5, None),
        (initializers.he_uniform(), (2 / _FAN_IN) ** 0.5, (6 / _FAN_IN) ** 0.5),
        (initializers.uniform_fan_in(), (1 / 3 / _FAN_IN) ** 0.5, _FAN_IN**-0.5),
        (initializers.uniform_fan_out(), (1 / 3 / _FAN_OUT) ** 0.5, _FAN_OUT**-0.5),
        (initializers.normal(0.01), 0.01, None),
        (initializers.truncated_normal(0.02), 0.02, None),
        # A normal distribution cut at two deviations has 0.8796 of them left.
        (initializers.truncated_normal(1.0), 0.8796, 2.0),
    ],
)
def test_deviation_and_bounds(initializer, deviation, largest):
    kernel = initializer(jax.random.key(0), _SHAPE)
    assert kernel.dtype == jnp.float32
    assert abs(kernel.mean()) < 0.02 * deviation
    assert kernel.std() == pytest.approx(deviation, rel=0.01)
    if largest is None:
        assert abs(kernel).max() > 3.5 * deviation
    else:
        assert 0.999 * largest < abs(kernel).max() <= largest


@pytest.mark.parametrize(("channels", "filters"), [(3, 5), (5, 3)])
def test_dirac_filters_return_their_input(channels, filters):
    rest = initializers.uniform_fan_in()
    kernel = initializers.dirac(rest)(jax.random.key(0), (3, 3, channels, filters))
    images = jax.random.normal(jax.random.key(1), (2, 6, 7, channels))
    handed = min(channels, filters)
    answers = convolution(images, kernel, padding=1)
    np.testing.assert_allclose(answers[..., :handed], images[..., :handed], atol=1e-6)
    drawn = rest(jax.random.key(0), kernel.shape)
    np.testing.assert_array_equal(kernel[..., handed:], drawn[..., handed:])


def test_a_deviation_of_exactly_one():
    drawn = initializers.uniform_fan_in()(jax.random.key(0), (8, 3))
    scaled = initializers.unit_deviation(initializers.uniform_fan_in())(jax.random.key(0), (8, 3))
    assert np.std(scaled, ddof=1) == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(scaled / scaled[0, 0], drawn / drawn[0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("variant", "path", "deviation"),
    [
        ("resnet18", "layer3_1/conv2", (2 / (9 * 256)) ** 0.5),
        ("resnet18", "fc", (1 / 3 / 512) ** 0.5),
        ("resnet20_cifar", "layer3_0/conv1", (2 / (9 * 32)) ** 0.5),
        ("wrn_16_4_cifar", "layer2_0/conv1", (2 / (9 * 128)) ** 0.5),
        ("densenet_bc_100_12_cifar", "features/denseblock3/denselayer16/conv1", (2 / 330) ** 0.5),
        ("vgg11", "features_8", (2 / (9 * 256)) ** 0.5),
        ("alexnet", "features_6", (1 / 3 / (9 * 192)) ** 0.5),
        ("alexnet_2012", "features_8", 0.01),
        ("googlenet", "inception4a/branch2_1/conv", 0.01),
        ("inception_v3", "Mixed_6e/branch7x7_2/conv", 0.1),
        ("inception_v3", "AuxLogits/fc", 0.001),
        ("squeezenet1_1", "features_12/expand3x3", (2 / (9 * 64)) ** 0.5),
        ("squeezenet1_1", "classifier_1", 0.01),
        ("mobilenet_v2", "conv_head", (2 / 1280) ** 0.5),
        ("mobilenet_v2", "blocks_3_3/conv_dw", (2 / 9) ** 0.5),  # one filter for each channel
        ("efficientnet_b0", "blocks_4_0/conv_pwl", (2 / 112) ** 0.5),
        ("efficientnet_b0", "classifier", (1 / 3 / 1000) ** 0.5),
        ("shufflenet_v2_x1_0", "stage3_3/branch2_0", (1 / 3 / 116) ** 0.5),
        ("regnet_y_400mf", "s4/b6/conv2/conv", (2 / (9 * 440)) ** 0.5),
        ("regnet_y_400mf", "head/fc", 0.01),
        ("convnext_tiny", "stages_2/blocks_3/mlp/fc1", 0.02),
        ("convnext_tiny", "stages_3/downsample_1", 0.02),
        ("vit_tiny_patch16", "blocks_4/attn/qkv", 0.02),
        ("vit_tiny_patch16", "patch_embed/proj", (1 / (16 * 16 * 3)) ** 0.5),
    ],
)
def test_families_draw_as_published(variant, path, deviation):
    kernel = _parameter(variant, f"{path}/kernel", image_size=96)
    assert kernel.std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    ("name", "value"),
    [("features_0", 0), ("features_4", 1), ("features_8", 0), ("classifier_4", 1)],
)
def test_biases_of_alexnet_2012_start_at_one_where_the_paper_says(name, value):
    assert (_parameter("alexnet_2012", f"{name}/bias", image_size=96) == value).all()


@pytest.mark.parametrize(
    ("variant", "norm"), [("resnet18", "bn2"), ("resnet50", "bn3"), ("resnet20_cifar", "bn2")]
)
def test_the_last_scale_of_each_block_starts_at_zero_on_request(variant, norm):
    path = f"layer2_1/{norm}/scale"
    assert (_parameter(variant, path) == 1).all()
    assert (_parameter(variant, path, zero_init_last=True) == 0).all()
    assert (_parameter(variant, "layer2_1/bn1/scale", zero_init_last=True) == 1).all()


def _parameter(variant, path, *, image_size=32, **options):
    model = create_model(variant, **options)
    images = jnp.zeros((1, image_size, image_size, 3))

    # One parameter: jit then leaves out all others, and the computation of the outputs.
    @jax.jit
    def draw(key):
        leaf = model.init(key, images)["params"]
        for part in path.split("/"):
            leaf = leaf[part]
        return leaf

    return draw(jax.random.key(0))
