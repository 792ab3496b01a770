"""Ensembles against SciPy and loops over members and views; soups against what they must keep."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict
from scipy import special

from cnn_jax import averaging, create_model, ensembles
from cnn_jax.data import array_source
from cnn_jax.ensembles import (
    Applied,
    as_it_is,
    average_logits,
    average_probabilities,
    flipped,
    mirrored_too,
    of_members,
    shifted,
    shifts,
    stacked,
    ten_crops,
    with_views,
)
from cnn_jax.errors import InputError
from cnn_jax.evaluate import evaluate
from cnn_jax.soups import greedy_soup, soup
from cnn_jax.state import init_state
from cnn_jax.steps import make_eval_step
from tests.conftest import scans

MODEL = create_model("simple_cnn", num_classes=3, in_channels=1, widths=(4, 6), hidden=8)
IMAGES = jax.random.normal(jax.random.key(0), (5, 8, 8, 1))
INIT = jax.jit(MODEL.init)
MEMBERS = [INIT(jax.random.key(seed), IMAGES) for seed in range(3)]
LOGITS = 30 * np.random.default_rng(0).normal(size=(4, 7, 3)).astype(np.float32)
DENSE = create_model("mlp", num_classes=3, widths=(6,))
FLAT = [DENSE.init(jax.random.key(seed), IMAGES) for seed in range(3)]
SAME = partial(jax.tree.map, np.testing.assert_array_equal)


def test_averages_are_scipys():
    expected = np.log(special.softmax(LOGITS.astype(np.float64), -1).mean(0))
    found = average_probabilities(LOGITS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(special.logsumexp(found, axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(average_logits(LOGITS), LOGITS.mean(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ensembles.AVERAGES)
def test_one_member_answers_as_alone(name):
    alone = ensembles.AVERAGES[name](LOGITS[:1])
    np.testing.assert_allclose(
        special.log_softmax(alone, -1), special.log_softmax(LOGITS[0], -1), atol=1e-4
    )


def test_of_a_sure_and_an_unsure_member_the_averages_differ():
    """Probabilities of 0.999 and 0.4 average to 0.7; their logits to a class more sure."""
    logits = special.logit(np.array([0.999, 0.4]))[:, None, None] * np.array([1, 0])
    by_probabilities, by_logits = (
        special.softmax(average(logits), -1)[0, 0] for average in ensembles.AVERAGES.values()
    )
    np.testing.assert_allclose(by_probabilities, 0.6995, rtol=1e-4)
    assert by_logits > 0.95


def test_members_in_one_program_are_the_members_one_by_one():
    together = jax.jit(of_members(MODEL.apply, average=lambda logits: logits))
    alone = np.stack([MODEL.apply(each, IMAGES) for each in MEMBERS])
    assert np.ptp(alone, axis=0).min() > 1e-4
    np.testing.assert_allclose(together(stacked(MEMBERS), IMAGES), alone, rtol=1e-4, atol=1e-5)


def test_the_states_of_many_runs_are_evaluated_as_one_network():
    """As `run_many` returns them, with averages; each image once, of 37 in batches of 8."""
    images, labels = scans(37)
    source = array_source(images, labels, name="scans")
    tx = averaging.ema(0.1, optimizer=optax.sgd)
    keys = [jax.random.key(seed) for seed in range(2)]
    states = [init_state(DENSE, tx, key, image_shape=(8, 8, 1)) for key in keys]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states).averaged_variables
    step = jax.jit(make_eval_step(Applied(of_members(DENSE.apply))))
    found = evaluate(step, stack, source, batch_size=8)
    one_by_one = [DENSE.apply(each.averaged_variables, images / 255.0) for each in states]
    np.testing.assert_allclose(found.logits, average_probabilities(one_by_one), atol=1e-4)
    assert found.tally.count == 37


def test_views_are_averaged():
    views = (as_it_is, flipped, partial(shifted, down=1, right=-2))
    found = jax.jit(with_views(DENSE.apply, views))(FLAT[0], IMAGES)
    one_by_one = np.stack([DENSE.apply(FLAT[0], view(IMAGES)) for view in views])
    np.testing.assert_allclose(found, average_probabilities(one_by_one), atol=1e-5)
    only = with_views(DENSE.apply, (as_it_is,), average=average_logits)
    np.testing.assert_allclose(only(FLAT[0], IMAGES), DENSE.apply(FLAT[0], IMAGES), atol=1e-5)


def test_members_with_views():
    answer = jax.jit(of_members(with_views(DENSE.apply, (as_it_is, flipped))))
    one_by_one = np.stack(
        [DENSE.apply(each, view(IMAGES)) for each in FLAT for view in (as_it_is, flipped)]
    )
    np.testing.assert_allclose(
        answer(stacked(FLAT), IMAGES), average_probabilities(one_by_one), atol=1e-4
    )


def test_views_do_what_they_say():
    images = np.arange(2 * 4 * 5 * 3, dtype=np.float32).reshape(2, 4, 5, 3)
    np.testing.assert_array_equal(flipped(images), np.flip(images, 2))
    down, right = 1, -2
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(
        shifted(jnp.asarray(images), down=down, right=right), padded[:, 1:5, 4:9]
    )
    five = [np.asarray(view(jnp.asarray(images))) for view in shifts(1)]
    np.testing.assert_array_equal(five[0], images)
    np.testing.assert_array_equal(five[1][:, :-1], images[:, 1:])  # up
    np.testing.assert_array_equal(five[4][:, :, 1:], images[:, :, :-1])  # right
    ten = [view(images) for view in ten_crops(2, 3)]
    assert len(mirrored_too(shifts(1))) == len(ten) == 10
    np.testing.assert_array_equal(ten[3], images[:, 2:, 2:])
    np.testing.assert_array_equal(ten[4], images[:, 1:3, 1:4])
    np.testing.assert_array_equal(ten[7], np.flip(images[:, 2:, :3], 2))


def test_a_soup_of_one_is_the_network_bit_by_bit():
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), MEMBERS[0])
    for variables in (MEMBERS[0], half):
        for weights in (None, [0.3]):
            made = soup([variables], weights=weights)
            chex.assert_trees_all_equal_dtypes(made, jax.tree.map(np.asarray, variables))
            SAME(made, variables)
    SAME(soup([MEMBERS[1], MEMBERS[0]], weights=[0.0, 7.0]), MEMBERS[0])
    SAME(greedy_soup(MEMBERS[:1], score=lambda tree: 0.0)[0], MEMBERS[0])


def test_a_soup_is_the_mean_of_the_weights():
    made = soup(MEMBERS)
    weighted = soup(MEMBERS, weights=(1, 0, 3))
    for path, leaf in flatten_dict(made).items():
        leaves = [np.asarray(flatten_dict(each)[path], np.float64) for each in MEMBERS]
        np.testing.assert_array_equal(leaf, np.mean(leaves, 0).astype(np.float32))
        np.testing.assert_allclose(
            flatten_dict(weighted)[path], (leaves[0] + 3 * leaves[2]) / 4, rtol=1e-6
        )
    # The same to the bit in whatever order: added in float64.
    chex.assert_trees_all_close(soup(MEMBERS[::-1]), made, rtol=1e-7)


def test_a_linear_network_is_its_soup():
    """The soup of linear networks answers as the average of their logits."""
    model = create_model("mlp", num_classes=3, widths=())
    networks = [model.init(jax.random.key(seed), IMAGES) for seed in range(3)]
    expected = average_logits(np.stack([model.apply(each, IMAGES) for each in networks]))
    np.testing.assert_allclose(model.apply(soup(networks), IMAGES), expected, atol=1e-5)


def test_the_greedy_soup_leaves_out_what_spoils_it():
    """Wortsman et al. 2022, recipe 1, by hand: towards 4, from 3, 5, 9 and 0."""
    networks = [{"params": {"x": np.float32([x])}} for x in (9.0, 0.0, 5.0, 3.0, 4.5)]
    seen = []

    def score(tree):
        seen.append(float(tree["params"]["x"][0]))
        return -abs(seen[-1] - 4)

    made, taken = greedy_soup(networks, score=score)
    # 4.5 alone; with 5: 4.75, worse; with 3: 3.75, better; with 0: worse; with 9: worse.
    assert taken == (4, 3)
    assert made["params"]["x"].tolist() == [3.75]
    assert seen == [9, 0, 5, 3, 4.5, 4.75, 3.75, 2.5, 5.5]


BAD = {
    "members": (lambda: average_logits(np.zeros((0, 3))), r"`logits` \(0, 3\) must be \[M, ..., K"),
    "one": (lambda: average_probabilities(np.zeros(3)), r"`logits` \(3,\) must be"),
    "views": (lambda: with_views(MODEL.apply, ()), r"`views` \(=\(\)\) must be one at least"),
    "sizes": (
        lambda: with_views(MODEL.apply, (as_it_is, ten_crops(4, 4)[0]))(MEMBERS[0], IMAGES),
        r"make images of \(5, 4, 4, 1\) and \(5, 8, 8, 1\): they must all be of one size",
    ),
    "crops": (lambda: ten_crops(9, 4)[0](IMAGES), "crops of 9x4 are larger than the images, 8x8"),
    "shift": (lambda: shifts(0), r"`pixels` \(=0\) must be a whole number"),
    "none": (lambda: soup([]), r"`variables` \(=\(\)\) are of no network"),
    "weights": (lambda: soup(MEMBERS, weights=[1, 2]), r"`weights` .* must be 3 numbers of at"),
    "negative": (lambda: soup(MEMBERS[:2], weights=[1, -1]), "must be 2 numbers of at least 0"),
    "zero": (lambda: soup(MEMBERS[:1], weights=[0]), "and not all 0"),
    "nan": (
        lambda: greedy_soup(MEMBERS, score=lambda tree: np.nan), "`score` of network 0 is NaN",
    ),
    "shape": (
        lambda: soup([{"params": {"x": np.ones(n)}} for n in (2, 3)]),
        r"`variables` of network 1 have params/x of shape \(3,\), and network 0 of shape \(2,\)",
    ),
    "name": (
        lambda: stacked([{"params": {"x": 1}}, {"params": {"y": 1}}]),
        "`variables` of network 1 lack params/x, which network 0 has: average runs of one",
    ),
    "more": (
        lambda: stacked([{"params": {}}, {"params": {"y": 1}}]),
        "`variables` of network 0 lack params/y, which network 1 has",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    call, words = BAD[name]
    with pytest.raises(InputError, match=words):
        call()


def test_the_average_loses_less_than_its_members_do():
    """Of probabilities, whatever the members: Jensen's inequality."""
    images, labels = scans(60)
    source = array_source(images, labels, name="scans")
    step = jax.jit(make_eval_step(DENSE))
    losses = [evaluate(step, each, source, batch_size=60).tally.mean_loss for each in FLAT]
    answer = jax.jit(make_eval_step(Applied(of_members(DENSE.apply))))
    together = evaluate(answer, stacked(FLAT), source, batch_size=60)
    assert together.tally.mean_loss < np.mean(losses)
