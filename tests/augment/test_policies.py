"""Policies: the papers' numbers as torchvision has them, and what is drawn how often."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cnn_jax import augment
from cnn_jax.augment import OPERATIONS
from cnn_jax.augment.augmix import draw_augmix
from cnn_jax.augment.auto_augment import POLICIES, draw_auto_augment
from cnn_jax.augment.magnitudes import (
    augmix_magnitudes,
    auto_augment_magnitudes,
    rand_augment_magnitudes,
    trivial_augment_magnitudes,
)
from cnn_jax.augment.policies import Chain, apply_chain, draw_rand_augment, draw_trivial_augment
from cnn_jax.errors import InputError
from tests.augment.cases import photograph
from tests.augment.test_operations import TORCHS
from tests.parity import torchvision

autoaugment = torchvision.transforms.autoaugment

KEYS = jax.random.split(jax.random.key(4), 6000)
SHAPE = (40, 32)
NAMES = np.array(OPERATIONS)


def torchs_name(name):
    return TORCHS.get(name, name.title())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            auto_augment_magnitudes(SHAPE),
            autoaugment.AutoAugment()._augmentation_space(10, SHAPE),
        ),
        (
            rand_augment_magnitudes(SHAPE),
            autoaugment.RandAugment()._augmentation_space(31, SHAPE),
        ),
        (
            trivial_augment_magnitudes(),
            autoaugment.TrivialAugmentWide()._augmentation_space(31),
        ),
        (
            augmix_magnitudes(SHAPE),
            autoaugment.AugMix()._augmentation_space(10, SHAPE),
        ),
    ],
    ids=["AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix"],
)
def test_magnitudes_are_torchvisions(ours, theirs):
    assert {torchs_name(name) for name in ours} == set(theirs)
    for name, (values, signed) in ours.items():
        expected, their_signed = theirs[torchs_name(name)]
        expected = np.broadcast_to(expected.numpy(), values.shape)
        if name.startswith("translate"):
            # As is done where it is applied; but a step of 15.999999 there is 16 pixels here.
            expected = np.trunc(expected + 1e-4)
        if name == "solarize":
            expected = expected / 255
        np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=name)
        assert signed == their_signed


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_are_torchvisions(policy):
    theirs = autoaugment.AutoAugment(autoaugment.AutoAugmentPolicy(policy)).policies
    ours = [[(torchs_name(name), *rest) for name, *rest in pair] for pair in POLICIES[policy]]
    assert ours == [[tuple(part) for part in pair] for pair in theirs]
    assert len(ours) == 25


def evenly(values):
    """No sign against all kinds being equally likely."""
    return scipy.stats.chisquare(np.unique(values, return_counts=True)[1]).pvalue > 0.01


def split(chain):
    """Names, magnitudes and whether they are negative."""
    operations, magnitudes = map(np.asarray, chain)
    return NAMES[operations], abs(magnitudes), magnitudes < 0


def test_rand_augment_draws_evenly_at_its_level():
    draw = partial(draw_rand_augment, shape=SHAPE, count=3, magnitude=11)
    names, magnitudes, negative = split(jax.jit(jax.vmap(draw))(KEYS))
    table = rand_augment_magnitudes(SHAPE)
    assert names.shape == (6000, 3)
    assert set(names.ravel()) == set(table)
    for place in range(3):
        assert evenly(names[:, place])
    assert evenly(names[:, 0] + names[:, 1])
    for name, (values, signed) in table.items():
        here = names == name
        np.testing.assert_allclose(magnitudes[here], values[11], rtol=1e-6)
        assert evenly(negative[here]) if signed else not negative[here].any()


def test_trivial_augment_draws_operations_and_levels_evenly():
    names, magnitudes, negative = split(jax.jit(jax.vmap(draw_trivial_augment))(KEYS))
    table = trivial_augment_magnitudes()
    assert evenly(names)
    for name, (values, signed) in table.items():
        here = names == name
        kinds, counts = np.unique(magnitudes[here].round(4), return_counts=True)
        their_kinds, repeats = np.unique(values.round(4), return_counts=True)
        np.testing.assert_allclose(kinds, their_kinds, atol=2e-4)
        if len(kinds) > 1:
            assert scipy.stats.chisquare(counts, repeats / 31 * here.sum()).pvalue > 0.002
        visible = here & (magnitudes > 0)
        assert evenly(negative[visible]) if signed else not negative[here].any()


@pytest.mark.parametrize("policy", POLICIES)
def test_auto_augment_draws_its_pairs(policy):
    draw = partial(draw_auto_augment, shape=SHAPE, policy=policy)
    names, magnitudes, negative = split(jax.jit(jax.vmap(draw))(KEYS))
    table = auto_augment_magnitudes(SHAPE)
    expected = {}
    for pair in POLICIES[policy]:
        choices = []
        for name, chance, level in pair:
            strength = round(float(table[name][0][level or 0]), 3)
            choices.append([((name, strength), chance), (("identity", strength), 1 - chance)])
        for first, first_chance in choices[0]:
            for second, second_chance in choices[1]:
                chance = first_chance * second_chance / 25
                if chance:
                    expected[first, second] = expected.get((first, second), 0) + chance
    drawn = {}
    for row, strengths in zip(names.tolist(), magnitudes.tolist(), strict=True):
        kind = tuple((name, round(each, 3)) for name, each in zip(row, strengths, strict=True))
        drawn[kind] = drawn.get(kind, 0) + 1
    assert set(drawn) <= set(expected)
    counts = np.array([[drawn.get(kind, 0), 6000 * each] for kind, each in expected.items()])
    rare = counts[:, 1] < 5
    counts = np.vstack([counts[~rare], counts[rare].sum(0) + 1e-9])
    assert scipy.stats.chisquare(*counts.T).pvalue > 0.01
    signed = np.isin(names, [name for name, (_, sign) in table.items() if sign]) & (magnitudes > 0)
    assert evenly(negative[signed])
    assert not negative[(names != "identity") & ~signed].any()


def test_augmix_draws_as_the_paper_says():
    draw = partial(draw_augmix, shape=SHAPE, severity=4, width=3, alpha=2.0)
    chains, weights = jax.jit(jax.vmap(draw))(KEYS[:1500])
    names, magnitudes, _ = split(chains)
    weights = np.asarray(weights)
    assert names.shape == (1500, 3, 3)
    depths = (names != "identity").sum(2)
    assert ((names == "identity") == (np.arange(3) >= depths[:, :, None])).all()
    assert set(depths.ravel()) == {1, 2, 3}
    assert evenly(depths)
    assert evenly(names[names != "identity"])
    for name, (values, _) in augmix_magnitudes(SHAPE).items():
        assert set(magnitudes[names == name].round(4)) == set(np.float32(values[:4]).round(4))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    assert scipy.stats.kstest(weights[:, 0], "beta", (2, 2)).pvalue > 0.01
    shares = weights[:, 1:] / weights[:, 1:].sum(1, keepdims=True)
    for share in shares.T:  # of Dirichlet(2, 2, 2)
        assert scipy.stats.kstest(share, "beta", (2, 4)).pvalue > 0.01


def test_a_policy_is_what_it_draws():
    image = photograph(16, 17)

    @jax.jit
    def both_ways(key):
        options = {"width": 2, "depth": 1}
        chains, weights = draw_augmix(key, image.shape, **options)
        bilinear = partial(apply_chain, interpolation="bilinear")
        each = [Chain(*links) for links in zip(*chains, strict=True)]
        mixed = [image, *(bilinear(image, chain) for chain in each)]
        return {
            "rand": (
                augment.rand_augment(key, image, magnitude=20),
                apply_chain(image, draw_rand_augment(key, image.shape, magnitude=20)),
            ),
            "trivial": (
                augment.trivial_augment(key, image),
                apply_chain(image, draw_trivial_augment(key)),
            ),
            "auto": (
                augment.auto_augment(key, image, policy="cifar10"),
                apply_chain(image, draw_auto_augment(key, image.shape, policy="cifar10")),
            ),
            "augmix": (
                augment.augmix(key, image, **options),
                sum(weight * part for weight, part in zip(weights, mixed, strict=True)),
            ),
        }

    for name, (ours, expected) in both_ways(KEYS[3]).items():
        np.testing.assert_allclose(ours, expected, atol=1e-6, err_msg=name)
        assert abs(ours - image).max() > 0.05, name


IMAGE = jnp.zeros((6, 6, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(augment.rand_augment, count=-1), r"`count` \(=-1\) must be a whole number of at"),
        (partial(augment.rand_augment, magnitude=31), r"`magnitude` \(=31\) must be at most 30: 9"),
        (partial(augment.rand_augment, magnitude=0.5), r"`magnitude` \(=0.5\) must be a whole num"),
        (
            partial(augment.auto_augment, policy="mnist"),
            r"`policy` \(=mnist\) must be cifar10 or imagenet or svhn: choose one",
        ),
        (partial(augment.augmix, severity=11), r"`severity` \(=11\) must be at most 10: 3 is us"),
        (partial(augment.augmix, width=0), r"`width` \(=0\) must be a whole number of at least 1"),
        (partial(augment.augmix, depth=0), r"`depth` \(=0\) must be .* None draws 1 to 3"),
        (partial(augment.augmix, alpha=0), r"`alpha` \(=0\) must be positive: 1 is usual"),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call(KEYS[0], IMAGE)
