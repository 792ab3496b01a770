"""Eight seeds of LeNet-5 at once are eight runs alone.

Under SGD: where a gradient is zero, Adam divides its rounding by itself, and runs drift apart.
"""

from dataclasses import replace

import jax
import numpy as np

from cnn_jax import data, many
from cnn_jax.data.batches import train_batch
from cnn_jax.data.statistics import channel_statistics
from cnn_jax.train import make_engine
from experiments import digits_many_seeds


def test_eight_seeds_are_within_1e_5_of_single_runs_after_50_steps():
    """The real digits, the recipe of the experiment."""
    digits = digits_many_seeds.enlarged(data.load("digits"))
    train = data.Subset(digits.train, np.arange(400))
    recipe = digits_many_seeds.make_recipe(replace(digits, train=train, validation=None), epochs=4)
    recipe = replace(recipe, normalization=channel_statistics(train))
    result = many.run_many(recipe, seeds=range(8))

    engine = make_engine(recipe)
    fresh = jax.jit(lambda seed: make_engine(replace(recipe, seed=seed)).fresh_state())
    for seed in range(8):
        state = fresh(np.uint32(seed))
        for step in range(50):
            batch = train_batch(train, seed, step, batch_size=recipe.batch_size)
            state, _ = engine.train_step(state, batch)
        assert result.states.step[seed] == 50
        for alone, together in zip(
            *map(jax.tree.leaves, (state.params, result.states.params)), strict=True
        ):
            np.testing.assert_allclose(together[seed], alone, rtol=0, atol=1e-5)
