"""The operations of policies: one by one torchvision's, mapped and together what they are alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.augment import OPERATIONS, apply_operation
from cnn_jax.augment.operations import BRANCHES
from cnn_jax.augment.policies import Chain, apply_chain
from cnn_jax.augment.together import apply_together
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.parity import torch, torchvision

NEAREST = torchvision.transforms.InterpolationMode.NEAREST
TORCHS = {
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "autocontrast": "AutoContrast",
}
CASES = [
    ("identity", 0.0),
    ("shear_x", 0.23),
    ("shear_x", -0.11),
    ("shear_y", 0.31),
    ("translate_x", 5.0),
    ("translate_x", -3.0),
    ("translate_y", 4.0),
    ("rotate", 23.0),
    ("rotate", -101.0),
    ("brightness", 0.6),
    ("brightness", -0.6),
    ("color", 0.9),
    ("color", -0.4),
    ("contrast", 0.5),
    ("contrast", -0.9),
    ("sharpness", 0.9),
    ("sharpness", -0.7),
    ("posterize", 3.0),
    ("solarize", 110 / 255),
    ("autocontrast", 0.0),
    ("equalize", 0.0),
    ("invert", 0.0),
]
PLACES = jnp.array([OPERATIONS.index(name) for name, _ in CASES])
MAGNITUDES = jnp.array([magnitude for _, magnitude in CASES])
IMAGE = photograph(20, 23)

mapped = jax.jit(jax.vmap(apply_operation, (None, 0, 0)))
together = jax.jit(jax.vmap(apply_together, (None, 0, 0)))
alone = jax.jit(apply_operation)


def test_every_operation_is_in_the_table_and_the_cases():
    assert set(BRANCHES) == set(OPERATIONS) == {name for name, _ in CASES}


def test_each_operation_is_torchvisions():
    for (name, magnitude), ours in zip(CASES, mapped(IMAGE, PLACES, MAGNITUDES), strict=True):
        image = torch.tensor(IMAGE).permute(2, 0, 1)
        if name in ("posterize", "solarize", "equalize"):  # of bytes only
            image = torch.round(255 * image).to(torch.uint8)
            magnitude = 255 * magnitude if name == "solarize" else magnitude
        theirs = torchvision.transforms.autoaugment._apply_op(
            image, TORCHS.get(name, name.title()), magnitude, NEAREST, None
        )
        theirs = theirs.permute(1, 2, 0).numpy() / (255 if theirs.dtype == torch.uint8 else 1)
        difference = abs(np.asarray(ours) - theirs)
        if name.startswith(("shear", "rotate")):  # halfway between two pixels
            assert (difference > 1e-6).mean() <= 0.004, name
        else:  # torchvision's weights of red, green and blue do not sum to 1
            assert difference.max() < 3e-4, name


def test_one_after_the_other_or_all_together_they_are_what_they_are_alone():
    one_by_one, at_once = (f(IMAGE, PLACES, MAGNITUDES) for f in (mapped, together))
    for case in range(len(CASES)):
        expected = alone(IMAGE, PLACES[case], MAGNITUDES[case])
        np.testing.assert_allclose(one_by_one[case], expected, atol=1e-6)
        np.testing.assert_allclose(at_once[case], expected, atol=1e-6, err_msg=str(CASES[case]))


def test_mapped_twice_and_over_one_image_only():
    images = np.stack([IMAGE, IMAGE[::-1]])
    twice = jax.jit(jax.vmap(jax.vmap(apply_operation, (None, 0, 0)), (0, None, None)))
    chosen = PLACES[::3], MAGNITUDES[::3]
    expected = np.stack([mapped(image, PLACES, MAGNITUDES)[::3] for image in images])
    np.testing.assert_allclose(twice(images, *chosen), expected, atol=1e-6)


def test_types_are_kept():
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        image = jax.ShapeDtypeStruct((20, 23, 3), dtype)
        for form in (apply_operation, apply_together):
            result = jax.eval_shape(form, image, PLACES[0], MAGNITUDES[0])
            chex.assert_shape(result, image.shape)
            assert result.dtype == dtype


def test_a_chain_is_its_operations_in_their_order():
    chain = Chain(PLACES[jnp.array([7, 9, 18])], MAGNITUDES[jnp.array([7, 9, 18])])
    expected = IMAGE
    for place, magnitude in zip(*chain, strict=True):
        expected = alone(expected, place, magnitude)
    np.testing.assert_allclose(jax.jit(apply_chain)(IMAGE, chain), expected, atol=1e-6)


def test_bad_interpolation_is_named():
    with pytest.raises(InputError, match=r"`interpolation` \(=cubic\) must be nearest or bilinear"):
        apply_operation(IMAGE, 0, 0.0, interpolation="cubic")
