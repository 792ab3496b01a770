"""Explanations against closed forms, and against what is known of the network."""

from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import explain, models
from cnn_jax.errors import InputError
from cnn_jax.models.features import extract_features, mark
from tests.models.test_every_model import KINDS, small_images, small_model, variables_like


class Averaging(nn.Module):
    """A convolution, a ReLU, an average over places, a dense layer."""

    num_classes: int = 3

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> jax.Array:
        """Map [N, H, W, C] to [N, classes]."""
        maps = mark(self, "maps", nn.relu(nn.Conv(8, (3, 3), name="conv")(images)))
        return nn.Dense(self.num_classes, name="fc")(maps.mean((1, 2)))


MODEL = Averaging()
# Noise on a colour of each image's own, so that they are of several classes.
IMAGES = jax.random.normal(jax.random.key(1), (5, 12, 10, 2))
IMAGES += 4 * jax.random.normal(jax.random.key(4), (5, 1, 1, 2))
VARIABLES = MODEL.init(jax.random.key(3), IMAGES)
METHODS = {
    "grad_cam": explain.grad_cam,
    "grad_cam_plus_plus": explain.grad_cam_plus_plus,
    "saliency": explain.saliency,
    "smooth_grad": partial(explain.smooth_grad, jax.random.key(2), samples=2),
    "integrated_gradients": partial(explain.integrated_gradients, steps=4),
    "occlusion": partial(explain.occlusion, size=4),
}


def test_grad_cam_of_averaged_maps_is_the_class_activation_map():
    """Zhou et al. 2016, equation 2, of class 2; divided by the places that are averaged."""
    maps = extract_features(MODEL, VARIABLES, IMAGES)["maps"]
    weights = VARIABLES["params"]["fc"]["kernel"][:, 2]
    expected = np.maximum(np.einsum("nhwc,c->nhw", maps, weights), 0) / (12 * 10)
    found = explain.grad_cam(MODEL, VARIABLES, IMAGES, classes=2)
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_grad_cam_plus_plus_of_averaged_maps_is_its_closed_form():
    """With the same gradient g everywhere: g relu(g) / (2 g + S g^2) n places, S a map's sum."""
    maps = np.asarray(extract_features(MODEL, VARIABLES, IMAGES)["maps"], np.float64)
    g = np.asarray(VARIABLES["params"]["fc"]["kernel"][:, 2], np.float64) / 120
    alpha = g**2 / (2 * g**2 + maps.sum((1, 2)) * g**3)
    weights = 120 * alpha * np.maximum(g, 0)
    expected = np.maximum(np.einsum("nhwc,nc->nhw", maps, weights), 0)
    found = explain.grad_cam_plus_plus(MODEL, VARIABLES, IMAGES, classes=2)
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_maps_are_resized_to_the_images():
    class Pooled(Averaging):
        @nn.compact
        def __call__(self, images, *, train=False):
            maps = nn.relu(nn.Conv(8, (3, 3), strides=2, name="conv")(images))
            return nn.Dense(3, name="fc")(mark(self, "maps", maps).mean((1, 2)))

    found = explain.grad_cam(Pooled(), VARIABLES, IMAGES, classes=0)
    assert found.shape == (5, 12, 10)
    small = extract_features(Pooled(), VARIABLES, IMAGES)["maps"]
    cam = np.maximum(small @ VARIABLES["params"]["fc"]["kernel"][:, 0], 0) / 30
    np.testing.assert_allclose(
        found, jax.image.resize(cam, (5, 12, 10), "linear"), rtol=1e-5, atol=1e-7
    )


def test_saliency_of_a_linear_network_is_its_weights():
    model = models.create_model("mlp", num_classes=2, widths=(), in_channels=2)
    images = IMAGES[:, :4, :4]
    variables = model.init(jax.random.key(0), images)
    (kernel,) = (leaf for leaf in jax.tree.leaves(variables) if leaf.ndim == 2)
    expected = np.abs(kernel[:, 1].reshape(4, 4, 2)).max(-1)
    for found in (
        explain.saliency(model, variables, images, classes=1),
        METHODS["smooth_grad"](model, variables, images, classes=1),
    ):
        np.testing.assert_allclose(found, np.broadcast_to(expected, (5, 4, 4)), rtol=1e-5)


def test_smooth_grad_without_noise_is_saliency():
    plain = explain.saliency(MODEL, VARIABLES, IMAGES)
    still = METHODS["smooth_grad"](MODEL, VARIABLES, IMAGES, deviation=0.0)
    np.testing.assert_allclose(still, plain, rtol=1e-5)
    noisy = METHODS["smooth_grad"](MODEL, VARIABLES, IMAGES)
    assert np.abs(noisy - plain).max() > 1e-4


@pytest.mark.parametrize("baseline", [0.0, -1.0])
def test_integrated_gradients_add_up_to_the_score(baseline):
    """Completeness, within 1 %; proposition 1 of the paper."""
    found = explain.integrated_gradients(
        MODEL, VARIABLES, IMAGES, classes=1, baseline=baseline, steps=64
    )
    assert found.shape == IMAGES.shape
    scores = MODEL.apply(VARIABLES, IMAGES)[:, 1]
    nothing = MODEL.apply(VARIABLES, jnp.full_like(IMAGES, baseline))[:, 1]
    differences = scores - nothing
    np.testing.assert_allclose(found.sum((1, 2, 3)), differences, atol=0.01 * np.ptp(differences))


@pytest.mark.parametrize("name", METHODS)
def test_maps_can_be_compiled(name):
    plain = METHODS[name](MODEL, VARIABLES, IMAGES)
    compiled = jax.jit(partial(METHODS[name], MODEL))(VARIABLES, IMAGES)
    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-5)


def test_occlusion_finds_a_planted_square():
    """The score is the sum of what is bright, and the square is all that is."""

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            total = nn.relu(images - 0.5).sum((1, 2, 3))
            return jnp.stack([total, -total], -1)

    images = np.zeros((2, 16, 16, 1), np.float32)
    images[0, 4:8, 8:12] = 1
    images[1, 8:12, 0:4] = 1
    found = explain.occlusion(Sum(), {}, images, classes=0, size=4, stride=4)
    expected = np.where(images[..., 0] > 0, 16 * 0.5, 0)
    np.testing.assert_allclose(found, expected)
    # Squares that overlap: the mean of the losses of those that cover a pixel.
    found = explain.occlusion(Sum(), {}, images[:1], classes=0, size=4, stride=2)
    assert found[0, 5, 9] == found.max() == found[0, 6, 10]
    assert found[0, 0, 0] == 0


# Without SmoothGrad, whose noise is drawn for the batch.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "smooth_grad"])
def test_a_batch_is_explained_as_its_images_are_one_by_one(name):
    method = METHODS[name]
    classes = np.array([0, 1, 2, 0, 1])
    together = method(MODEL, VARIABLES, IMAGES, classes=classes)
    single = [method(MODEL, VARIABLES, IMAGES[k : k + 1], classes=classes[k]) for k in range(5)]
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_most_probable_class_is_explained_by_default(name):
    best = MODEL.apply(VARIABLES, IMAGES).argmax(-1)
    assert len(set(best.tolist())) > 1
    chex.assert_trees_all_close(
        METHODS[name](MODEL, VARIABLES, IMAGES),
        METHODS[name](MODEL, VARIABLES, IMAGES, classes=best),
        rtol=1e-5,
    )


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_plus_plus", "saliency"])
def test_maps_are_of_the_weights(name):
    """Adebayo et al. 2018, "Sanity Checks for Saliency Maps": other weights, other maps."""
    method = jax.jit(partial(METHODS[name], MODEL))
    other = MODEL.init(jax.random.key(5), IMAGES)
    ours, theirs = (np.asarray(method(v, IMAGES, classes=1)).ravel() for v in (VARIABLES, other))
    assert np.ptp(ours) > 0 and np.ptp(theirs) > 0
    assert np.corrcoef(ours, theirs)[0, 1] < 0.9
    moved = jax.tree.map(lambda leaf: leaf[::-1], IMAGES)
    np.testing.assert_allclose(
        method(VARIABLES, moved, classes=1), method(VARIABLES, IMAGES, classes=1)[::-1], rtol=1e-4
    )


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("cnn1d", "mlp_512_256")])
def test_every_family_has_a_target_with_places(name):
    """By shapes alone, at 64 pixels; that of the pretrained network is looked at."""
    model = small_model(name)
    size = max(64, small_images(name).shape[1])
    if hasattr(model, "image_size"):
        model = model.clone(image_size=size)
    images = jax.ShapeDtypeStruct((2, size, size, model.in_channels), jnp.float32)
    variables = variables_like(model, images)
    target = explain.default_target(model, variables, images)
    maps = jax.eval_shape(partial(extract_features, model), variables, images)
    assert maps[target].shape[1] > 1
    found = jax.eval_shape(partial(explain.grad_cam, model), variables, images)
    assert found.shape == (2, size, size)


def test_the_target_of_a_transformer_has_a_gradient_and_its_last_block_has_none():
    model, images = small_model("vit_tiny_patch16"), small_images("vit_tiny_patch16", 1)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    assert explain.default_target(model, variables, images) == "blocks.0"
    three, classes = jnp.concatenate([images] * 3), np.arange(3)
    for target, speaks in (("blocks.0", True), ("blocks.1", False)):
        cam = jax.jit(partial(explain.grad_cam, model, target=target))
        assert np.any(cam(variables, three, classes=classes)) == speaks


BAD = {
    "class": (partial(explain.saliency, classes=3), r"`classes` \(=3\) must be from 0 to 2, the 3"),
    "classes": (partial(explain.grad_cam, classes=[0, 1]), r"shape \(2,\), and there are 5 images"),
    "target": (
        partial(explain.grad_cam, target="layer4"),
        r"`target` \(='layer4'\) is no stage: .*'maps'",
    ),
    "size": (partial(explain.occlusion, size=11), r"`size` \(=11\) must be at most that of the im"),
    "steps": (partial(explain.integrated_gradients, steps=0), r"`steps` \(=0\) must be a whole n"),
    "samples": (
        partial(explain.smooth_grad, jax.random.key(0), samples=0), r"`samples` \(=0\) must be",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    method, words = BAD[name]
    with pytest.raises(InputError, match=words):
        method(MODEL, VARIABLES, IMAGES)


def test_a_single_place_cannot_be_mapped():
    images = IMAGES[:, :1, :1]
    with pytest.raises(InputError, match="leave the stages of Averaging a single place each"):
        explain.grad_cam(MODEL, VARIABLES, images)


def test_a_transformer_of_one_block_cannot_be_mapped():
    model = models.create_model("vit_tiny_patch16", depth=1, image_size=32)
    images = jnp.ones((1, 32, 32, 3))
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)
    with pytest.raises(InputError, match=r"`model` \(=VisionTransformer\) has one block.* deeper"):
        explain.default_target(model, shapes, images)


def test_overlays():
    images = np.full((1, 2, 2, 1), 0.5, np.float32)
    maps = np.array([[[0, -1], [2, 4]]])
    picture = explain.overlaid(images, maps, opacity=1.0)
    assert picture[0, 0, 0].tolist() == picture[0, 0, 1].tolist() == [0, 0, 128]
    assert picture[0, 1, 1].tolist() == [128, 0, 0]
    np.testing.assert_array_equal(
        explain.overlaid(images, maps, opacity=0.0), np.full((1, 2, 2, 3), 128)
    )
    with pytest.raises(InputError, match=r"`maps` \(1, 2\) must be"):
        explain.overlaid(images, maps[:, 0])


def test_filters_are_tiles():
    model = models.create_model("lenet5")
    image = jnp.zeros((1, 28, 28, 1))
    variables = model.init(jax.random.key(0), image)
    picture = explain.first_filters(model, variables)
    assert picture.shape == (2 * 6 + 1, 3 * 6 + 1, 3)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"][..., 4])
    tile = picture[7:12, 7:12]
    expected = np.round(127.5 + 127.5 * kernel / np.abs(kernel).max())
    np.testing.assert_array_equal(tile, np.broadcast_to(expected, (5, 5, 3)))
    with pytest.raises(InputError, match="begins with no convolution of images"):
        explain.first_filters(models.create_model("mlp"), {"params": {}})
