"""The package as a whole: what importing it costs, what it promises, its examples."""

import doctest
import importlib
import json
import pkgutil

import pytest

import cnn_jax
from tests.conftest import ROOT, python

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(cnn_jax.__path__, "cnn_jax.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    failures, _ = doctest.testmod(importlib.import_module(name))
    assert failures == 0


def test_every_public_name_is_there():
    assert set(cnn_jax.__all__) <= set(dir(cnn_jax))
    for name in cnn_jax.__all__:
        assert getattr(cnn_jax, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cnn_jax.nothing  # noqa: B018


def modules_after(statement: str) -> set[str]:
    program = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = python("-c", program, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_the_package_imports_nothing_else():
    assert not modules_after("import cnn_jax") & {"jax", "flax", "numpy", "sklearn", "matplotlib"}


def test_making_models_imports_no_heavy_strangers():
    loaded = modules_after("import cnn_jax; cnn_jax.create_model('lenet5'); cnn_jax.list_models()")
    strangers = {"torch", "tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "orbax"}
    assert "flax" in loaded
    assert not loaded & (strangers - {"orbax"})  # flax itself may bring orbax


def test_training_imports_no_tensorflow():
    loaded = modules_after("import cnn_jax.train, cnn_jax.cli, cnn_jax.recipe, cnn_jax.trained")
    # PyTorch is not asked for either, but tensorboardX takes it in where it is installed.
    assert not loaded & {"tensorflow", "keras", "torchvision", "timm"}
