"""The recipes of the courses and the classics, shrunk: few images, a narrow network, few steps."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from cnn_jax import run
from cnn_jax.data import array_source, make_dataset
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.recipe import check, describe
from cnn_jax.train import make_engine
from experiments import (
    cifar10_cnn,
    cifar10_resnet20,
    cifar10_simple_cnn,
    fashion_mnist_precision,
    fashion_mnist_resnet18,
    fashion_mnist_resnet20,
    imagenet_resnet50,
    mnist_simple_cnn,
)
from tests.conftest import ROOT
from tests.experiments.test_recipes import some_scans

NARROW = {"widths": (4, 8, 8), "hidden": 16, "block_drop_rate": 0.0, "drop_rate": 0.0}
# Recipe -> what makes its network small.
RECIPES = {
    "mnist_simple_cnn": (mnist_simple_cnn.make_recipe, {"widths": (4, 8, 8), "hidden": 16}),
    "cifar10_simple_cnn": (cifar10_simple_cnn.make_recipe, {"widths": (4, 8, 8), "hidden": 16}),
    "cifar10_cnn cosine": (cifar10_cnn.cosine, NARROW),
    "cifar10_cnn pytorch": (cifar10_cnn.pytorch, NARROW),
    "cifar10_cnn keras": (cifar10_cnn.keras, NARROW),
    "cifar10_resnet20": (cifar10_resnet20.make_recipe, {"depth": 1}),
    "fashion_mnist_resnet20": (fashion_mnist_resnet20.make_recipe, {"depth": 1}),
    "fashion_mnist_resnet18": (fashion_mnist_resnet18.make_recipe, {"depths": (1, 0, 0, 0)}),
    "imagenet_resnet50 classic": (imagenet_resnet50.classic, {"depths": (1, 0, 0, 0)}),
    "imagenet_resnet50 modern": (imagenet_resnet50.modern, {"depths": (1, 0, 0, 0)}),
}


def shades(count: int, size: int):
    """Class k is brighter than class k - 1, however an image is turned, shifted or cropped."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 10
    images = 20 * labels[:, None, None, None] + rng.integers(0, 40, (count, size, size, 1))
    return make_dataset(array_source(images.astype(np.uint8), labels, name="shades"), name="shades")


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_lowers_the_loss(name):
    """Its own augmentation, loss, optimizer and schedule; each image is seen several times."""
    make_recipe, small = RECIPES[name]
    recipe = make_recipe(shades(160, 12), epochs=20)
    recipe = replace(
        recipe,
        model=recipe.model.clone(in_channels=1, image_size=12, **small),
        batch_size=16,
        normalization=channel_statistics(recipe.data.train),
    )
    check(recipe)
    engine = make_engine(recipe)
    state, losses = engine.fresh_state(), []
    for step in range(engine.total_steps):
        batch = train_batch(recipe.data.train, recipe.seed, step, batch_size=16)
        state, told = engine.train_step(state, engine.place(batch))
        losses.append(told["loss"] / 16)
    losses = np.array(jax.device_get(losses))
    assert np.isfinite(losses).all()
    assert losses[-30:].mean() < 0.93 * losses[:5].mean()


def test_the_figures_of_the_papers_are_in_the_recipes():
    """He et al. 2016, section 4.2: 64,000 steps, falls after 32,000 and 48,000."""
    data = some_scans(450, 12)
    recipe = cifar10_resnet20.make_recipe(data)
    rates = recipe.schedule(64_000)
    assert [round(float(rates(step)), 6) for step in (0, 31_999, 32_000, 48_000)] == [
        0.1, 0.1, 0.01, 0.001,
    ]  # fmt: skip
    assert recipe.optimizer.keywords == {"momentum": 0.9, "weight_decay": 1e-4}
    assert recipe.epochs == -(-64_000 * 128 // 45_000) - 1 == 182

    halved = cifar10_cnn.pytorch(data).schedule(500)  # 50 epochs of 10 steps
    assert [round(float(halved(step)), 7) for step in (99, 100, 200)] == [1e-3, 5e-4, 2.5e-4]
    described = describe(cifar10_cnn.keras(data))
    assert described["stopping"]["patience"] == 10
    assert described["plateau"] | {"function": ""} == {"function": "", "factor": 0.5, "patience": 5}


def test_precisions_are_trained_one_after_the_other(tmp_path):
    data = some_scans(400, 12)
    for precision in ("bfloat16", "float16"):
        recipe = fashion_mnist_precision.make_recipe(data, precision=precision, images=64, epochs=1)
        recipe = replace(recipe, model=recipe.model.clone(**NARROW), batch_size=16)
        assert len(recipe.data.train) == 64
        figures = run(recipe, tmp_path / precision, quiet=True).figures
        assert np.isfinite(figures["test_loss"])


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda p: p.stem)
def test_every_experiment_tells_its_command_and_what_it_measured(path):
    docstring = path.read_text().partition('"""')[2].partition('"""')[0]
    assert f"python experiments/{path.name}" in docstring or f"experiments.{path.stem}" in docstring
    assert "NOT YET" not in docstring
    assert "easured" in docstring
