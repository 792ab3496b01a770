"""What all augmentations promise: their signatures, and one table of cases times properties."""

import inspect
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import augment
from tests.augment.cases import photograph

MIXERS = {"mixup", "cutmix", "mix_one_of"}
PAIRS = {"blend_pairs", "paste_boxes"}
NO_AUGMENTATION = {
    "Augmentation",
    "OPERATIONS",
    "affine_matrix",
    "augment_batch",
    "chances_until",
    "perspective_matrix",
}


def test_signatures_read_key_image_options():
    for name in set(augment.__all__) - NO_AUGMENTATION:
        function = getattr(augment, name)
        parameters = list(inspect.signature(function).parameters.values())
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        if name in MIXERS:
            assert positional == ["key", "images", "labels"], name
        elif name in PAIRS:
            assert positional[:2] == ["images", "labels"], name
        elif positional[0] == "key":
            assert positional == ["key", "image"], name
        else:  # a fixed form: how much may follow the image
            assert positional[0] == "image", name
            assert all(p.default is p.empty for p in parameters[: len(positional)]), name
        options = parameters[len(positional) :]
        assert all(p.kind is p.KEYWORD_ONLY for p in options), name
        assert "Returns:" in function.__doc__, name
        assert ">>>" in function.__doc__, name


@dataclass(frozen=True)
class Case:
    """An augmentation, and the same at zero strength.

    Attributes:
        operation: `(key, image) -> image`.
        nothing: the same, which must leave every image as it is; None where there is no such.
    """

    operation: augment.Augmentation
    nothing: augment.Augmentation | None


def case(function, options, nothing):
    return Case(
        partial(function, **options), None if nothing is None else partial(function, **nothing)
    )


ROTATED = {"degrees": 20, "translation": 0.2, "scale": (0.8, 1.2), "shear": 10}
JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
CASES = {
    "random_flip": case(augment.random_flip, {}, {"probability": 0}),
    "alternating_flip": case(augment.alternating_flip, {"epoch": 3, "identity": 9}, None),
    "shifted_crop": case(augment.shifted_crop, {"padding": 2}, {"padding": 0}),
    "shifted_crop, mirrored": case(
        augment.shifted_crop, {"padding": 2, "mode": "reflect"}, {"padding": 0, "mode": "reflect"}
    ),
    "random_resized_crop": case(
        augment.random_resized_crop, {}, {"scale": (1, 1), "ratio": (1.25, 1.25)}
    ),
    "random_rotation": case(augment.random_rotation, {"degrees": 30}, {"degrees": 0}),
    "random_translation": case(augment.random_translation, {"fraction": 0.3}, {"fraction": 0}),
    "random_affine": case(augment.random_affine, ROTATED, {}),
    "random_perspective": case(augment.random_perspective, {}, {"distortion": 0}),
    "color_jitter": case(augment.color_jitter, JITTER, {}),
    "random_grayscale": case(augment.random_grayscale, {}, {"probability": 0}),
    "random_blur": case(augment.random_blur, {"size": 5}, {"size": 5, "deviation": (0, 0)}),
    "gaussian_noise": case(augment.gaussian_noise, {}, {"deviation": 0}),
    "cutout": case(augment.cutout, {"size": 4}, {"size": 0}),
    "random_erasing": case(augment.random_erasing, {}, {"probability": 0}),
    "rand_augment": case(augment.rand_augment, {}, {"count": 0}),
    "trivial_augment": case(augment.trivial_augment, {}, None),
    "auto_augment": case(augment.auto_augment, {"policy": "imagenet"}, None),
    "augmix": case(augment.augmix, {}, None),
}


def test_every_random_augmentation_is_in_the_table():
    random = {
        name
        for name in set(augment.__all__) - NO_AUGMENTATION - MIXERS
        if "key" in inspect.signature(getattr(augment, name)).parameters
    }
    assert {name.partition(",")[0] for name in CASES} == random


@pytest.mark.parametrize("name", CASES)
def test_mapped_it_is_what_it_is_alone_and_nothing_at_zero_strength(name):
    images = np.stack([photograph(16, 20), photograph(16, 20)[::-1], photograph(16, 20)[:, ::-1]])
    keys = jax.random.split(jax.random.key(1), 3)

    @jax.jit
    def forms(keys, images):
        nothing = CASES[name].nothing
        return {
            "mapped": jax.vmap(CASES[name].operation)(keys, images),
            "alone": jax.lax.map(lambda each: CASES[name].operation(*each), (keys, images)),
            "unchanged": images if nothing is None else jax.vmap(nothing)(keys, images),
        }

    found = forms(keys, images)
    np.testing.assert_allclose(found["mapped"], found["alone"], atol=1e-6)
    np.testing.assert_array_equal(found["unchanged"], images)
    if name != "random_grayscale":
        assert (found["mapped"] != images).any()
    assert (found["mapped"] >= 0).all()
    assert (found["mapped"] <= 1).all()


@pytest.mark.parametrize("name", CASES)
def test_shape_and_type_are_kept(name):
    key = jax.random.key(0)
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        for shape in ((16, 20, 3), (16, 20, 1)):
            image = jax.ShapeDtypeStruct(shape, dtype)
            result = jax.eval_shape(CASES[name].operation, key, image)
            assert (result.shape, result.dtype) == (shape, dtype)
