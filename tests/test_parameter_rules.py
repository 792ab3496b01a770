"""What is frozen, undecayed or slowed is exactly what the table says."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import models, optim
from cnn_jax.errors import InputError
from cnn_jax.parameter_rules import (
    Rule,
    by_path,
    kernels_except,
    kernels_only,
    parameter_table,
    table_of,
)

RULES = (
    Rule("conv1/bias", decay=True),
    Rule("conv1/*", frozen=True),
    Rule("fc*/kernel", learning_rate=3.0, decay=False),
    Rule("bn?/scale", learning_rate=0.5),
)


def small_params():
    shapes = {
        "bn1": {"bias": (4,), "scale": (4,)},
        "conv1": {"bias": (4,), "kernel": (3, 3, 1, 4)},
        "conv2": {"kernel": (3, 3, 4, 4)},
        "fc1": {"bias": (2,), "kernel": (4, 2)},
    }
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda shape: jnp.array(rng.uniform(1, 2, shape), jnp.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def test_the_table_by_hand():
    rows = parameter_table(small_params(), rules=RULES, weight_decay=0.2)
    table = {row.path: (row.shape, row.learning_rate, row.decay, row.frozen) for row in rows}
    assert table == {
        "bn1/bias": ((4,), 1.0, 0.0, False),
        "bn1/scale": ((4,), 0.5, 0.0, False),
        "conv1/bias": ((4,), 1.0, 0.2, False),
        "conv1/kernel": ((3, 3, 1, 4), 0.0, 0.0, True),
        "conv2/kernel": ((3, 3, 4, 4), 1.0, 0.2, False),
        "fc1/bias": ((2,), 1.0, 0.0, False),
        "fc1/kernel": ((4, 2), 3.0, 0.0, False),
    }


@pytest.mark.parametrize(
    "mask", [kernels_only, partial(kernels_except, patterns=("conv2/*",))], ids=["all", "but"]
)
@pytest.mark.parametrize(
    "optimizer",
    [partial(optim.sgd, momentum=0.0), optim.sgd, optim.adam, optim.adamw, optim.rmsprop],
    ids=["plain", "sgd", "adam", "adamw", "rmsprop"],
)
def test_every_parameter_does_what_its_row_says(optimizer, mask):
    """Without gradients nothing but decay moves; with them, everything that is not frozen."""
    params, options = small_params(), {"rules": RULES, "weight_decay": 0.2, "mask": mask}
    tx = by_path(lambda step: 0.1, optimizer=optimizer, **options)
    rows = {row.path: row for row in parameter_table(params, **options)}
    update = jax.jit(tx.update)

    def moves(gradients):
        updates, _ = update(gradients, tx.init(params), params)
        named = jax.tree_util.tree_leaves_with_path(updates)
        return {jax.tree_util.keystr(path, simple=True, separator="/"): u for path, u in named}

    still = moves(jax.tree.map(jnp.zeros_like, params))
    assert {path for path, move in still.items() if (move != 0).any()} == {
        path for path, row in rows.items() if row.decay
    }
    moving = moves(jax.tree.map(jnp.ones_like, params))
    assert {path for path, move in moving.items() if (move == 0).all()} == {
        path for path, row in rows.items() if row.frozen
    }


def test_learning_rates_and_decays_are_those_of_the_table():
    params = small_params()
    options = {"rules": RULES, "weight_decay": 0.2}
    tx = by_path(0.1, optimizer=partial(optim.sgd, momentum=0.0), **options)
    gradients = jax.tree.map(lambda leaf: leaf**2, params)
    updates, _ = tx.update(gradients, tx.init(params), params)
    for row, value, gradient, move in zip(
        parameter_table(params, **options),
        *map(jax.tree.leaves, (params, gradients, updates)),
        strict=True,
    ):
        expected = -0.1 * row.learning_rate * (gradient + row.decay * value)
        np.testing.assert_allclose(move, expected, rtol=1e-6, err_msg=row.path)


def test_what_is_frozen_costs_no_memory():
    params = small_params()
    tx = by_path(0.1, optimizer=optim.adam, rules=(Rule("*", frozen=True),))
    assert sum(leaf.size for leaf in jax.tree.leaves(tx.init(params))) <= 2  # counters


def test_the_table_of_a_network_needs_its_shapes_alone():
    model = models.create_model("simple_cnn", num_classes=3)
    images = jax.ShapeDtypeStruct((1, 16, 16, 1), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), images)["params"]
    rows = parameter_table(shapes, rules=(Rule("conv1/*", frozen=True),), weight_decay=1e-4)
    assert {row.path for row in rows if row.frozen} == {"conv1/kernel", "conv1/bias"}
    assert sum(np.prod(row.shape) for row in rows) == sum(
        leaf.size for leaf in jax.tree.leaves(shapes)
    )


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (
            (Rule("fc/kernel"),),
            r"`pattern` \(=fc/kernel\) matches no parameter: the nearest are fc1/kernel",
        ),
        (
            (Rule("conv3/*"),),
            r"`pattern` \(=conv3/\*\) matches no parameter: the nearest are conv\d/",
        ),
        (
            (Rule("conv*"), Rule("conv1/*", frozen=True)),
            r"`pattern` \(=conv1/\*\) matches only what an earlier rule has taken",
        ),
        (
            (Rule("conv1/*", learning_rate=0.0),),
            r"`learning_rate of conv1/\*` \(=0.0\) must be positive: freeze it instead",
        ),
    ],
)
def test_rules_that_do_nothing_are_named(rules, words):
    params = small_params()
    with pytest.raises(InputError, match=words):
        parameter_table(params, rules=rules)
    with pytest.raises(InputError, match=words):
        by_path(0.1, optimizer=optim.sgd, rules=rules).init(params)


def test_without_rules_nothing_changes():
    params = small_params()
    plain, ruled = (
        optim.adamw(0.1, weight_decay=0.3),
        by_path(0.1, optimizer=optim.adamw, weight_decay=0.3),
    )
    for tx in (plain, ruled):
        updates, _ = tx.update(params, tx.init(params), params)
        moved = optax.apply_updates(params, updates)
        if tx is plain:
            expected = moved
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), moved, expected)


def test_the_table_of_an_optimizer_of_optax_says_that_all_decays():
    rows = table_of(
        partial(optax.adamw, weight_decay=0.5), {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}
    )
    assert [row.decay for row in rows] == [0.5, 0.5]
    assert table_of(optax.sgd, {"a": jnp.ones(1)}) is None
    changing = partial(optax.adamw, weight_decay=lambda step: 0.1)
    assert table_of(changing, {"a": jnp.ones(1)}) is None
