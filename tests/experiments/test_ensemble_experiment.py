"""Five seeds together, shrunk: two networks as drawn, a few images."""

import jax
import numpy as np
from rich.table import Table

from cnn_jax import create_model
from cnn_jax.data import array_source, make_dataset
from cnn_jax.ensembles import flipped, stacked
from cnn_jax.recipe import check
from experiments import digits_ensemble
from tests.conftest import scans


def test_networks_answer_alone_and_together():
    """On scans of 28 pixels; with a network that makes programs of little."""
    data = make_dataset(array_source(*scans(60, size=28), name="scans"), name="scans")
    recipe = digits_ensemble.make_recipe(data, epochs=1)
    variables = recipe.model.init(jax.random.key(0), np.zeros((1, 28, 28, 1), np.float32))
    check(digits_ensemble.gone_on(recipe, variables, epochs=1))

    small = create_model("mlp", num_classes=3, widths=())
    recipe = digits_ensemble.replace(recipe, model=small)
    images = np.zeros((1, 28, 28, 1), np.float32)
    members = [small.init(jax.random.key(seed), images) for seed in range(2)]
    found = digits_ensemble.figures(recipe, stacked(members), (flipped,))
    assert [len(evaluations) for evaluations in found.values()] == [2, 1, 1, 2, 1, 1]
    each = np.stack([one.logits for one in found["each"]])
    # Of linear networks the soup is the average of the logits.
    for name in ("together, by logits", "soup"):
        np.testing.assert_allclose(found[name][0].logits, each.mean(0), atol=1e-4)
    seen = np.stack([one.probabilities for one in found["each, with views"]])
    np.testing.assert_allclose(
        found["together, with views"][0].probabilities, seen.mean(0), atol=1e-4
    )
    table = Table("", "", "")
    digits_ensemble.added_to(table, "two", found)
    assert table.row_count == 7
