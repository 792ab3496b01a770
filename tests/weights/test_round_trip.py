"""PyTorch -> ours -> PyTorch -> ours, bitwise, for every family."""

from functools import partial

import numpy as np
import pytest

from cnn_jax import models, run
from cnn_jax.models import VARIANTS
from cnn_jax.weights import load_weights, save_weights
from tests.weights.random_weights import differing, random_variables

# A small variant of each family, with options that make it smaller where that can be.
_FAMILIES = {
    "alexnet": {}, "cnn1d": {}, "convnext_tiny": {}, "densenet121": {}, "efficientnet_b0": {},
    "efficientnet_lite0": {}, "efficientnet_v2_s": {}, "googlenet": {}, "inception_v3": {},
    "lenet5": {}, "mlp": {"widths": (16,)}, "mnasnet0_5": {},
    "mobilenet_v1_025": {}, "mobilenet_v2_050": {}, "mobilenet_v3_small": {},
    "preactresnet18_cifar": {}, "regnet_y_400mf": {}, "resnet18": {}, "resnet20_cifar": {},
    "shufflenet_v2_x0_5": {}, "simple_cnn": {}, "squeezenet1_0": {}, "three_block_cnn": {},
    "vgg11_bn": {"hidden": 64}, "vit_tiny_patch32": {}, "wrn_16_4_cifar": {},
}  # fmt: skip


# PyTorch has none of these; that LeNet-5 computes the same is in test_flattening.py.
_OURS_ALONE = ("cnn1d", "lenet5", "mlp", "simple_cnn", "three_block_cnn")


def _family(variant) -> str:
    return (variant.func if isinstance(variant, partial) else variant).__module__


def test_every_family_is_in_the_table():
    missing = {_family(variant) for variant in VARIANTS.values()} - {
        _family(VARIANTS[name]) for name in _FAMILIES
    }
    assert not missing


@pytest.mark.parametrize("name", _FAMILIES)
def test_load_save_load_is_bitwise(tmp_path, name):
    model = models.create_model(name, **_FAMILIES[name])
    variables, path = random_variables(model), tmp_path / "w.safetensors"
    save_weights(variables, path)
    loaded = load_weights(model, path)
    assert differing(loaded, variables) == []
    content = path.read_bytes()
    save_weights(loaded, path)
    assert path.read_bytes() == content


def _rows() -> dict:
    """The PyTorch models of the parity tables, by variant."""
    pytest.importorskip("torch")
    from tests.models.test_parity import ROWS

    return {row.variant: row for row in ROWS if not row.options}


@pytest.mark.parametrize("name", [name for name in _FAMILIES if name not in _OURS_ALONE])
def test_pytorch_loads_what_is_saved_and_finds_its_own_numbers(tmp_path, name):
    row = _rows()[name]
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    theirs = row.build()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    state = theirs.state_dict()
    torch.save(state, tmp_path / "theirs.pth")

    model = models.create_model(name)
    save_weights(load_weights(model, tmp_path / "theirs.pth"), tmp_path / "ours.safetensors")
    back = safetensors.load_file(tmp_path / "ours.safetensors")
    row.build().load_state_dict(back, strict=True)
    for key, tensor in state.items():
        assert tensor.dtype == back[key].dtype and torch.equal(tensor, back[key]), key


def test_a_run_directory(tmp_path, recipe):
    run(recipe, tmp_path / "run")
    variables = load_weights(recipe.model, tmp_path / "run", image_shape=(8, 8, 1))
    from cnn_jax import load_run

    expected = load_run(tmp_path / "run").variables
    assert differing(variables["params"], expected["params"]) == []
    save_weights(variables, tmp_path / "w.safetensors")
    again = load_weights(recipe.model, tmp_path / "w.safetensors", image_shape=(8, 8, 1))
    assert differing(again, variables) == []


def test_safetensors_own_reader_agrees(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    variables = random_variables(models.create_model("resnet20_cifar"))
    save_weights(variables, tmp_path / "w.safetensors")
    state = safetensors.load_file(tmp_path / "w.safetensors")
    assert state["bn1.num_batches_tracked"] == 0 and state["bn1.num_batches_tracked"].ndim == 0
    kernel = variables["params"]["layer3_2"]["conv2"]["kernel"]
    np.testing.assert_array_equal(state["layer3.2.conv2.weight"], kernel.transpose(3, 2, 0, 1))
