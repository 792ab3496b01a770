"""Mixup and CutMix: by hand, and how their shares, rectangles and choices are drawn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from cnn_jax import augment
from cnn_jax.augment.mixing import draw_boxes, draw_shares
from cnn_jax.errors import InputError

KEY = jax.random.key(6)
N = 4
IMAGES = np.random.default_rng(0).uniform(size=(N, 6, 9, 3)).astype(np.float32)
LABELS = np.eye(5, dtype=np.float32)[[0, 2, 2, 4]]


def test_blending_by_hand():
    shares = np.array([1.0, 0.25, 0.5, 0.0], np.float32)
    images, labels = jax.jit(augment.blend_pairs)(IMAGES, LABELS, shares)
    for i, share in enumerate(shares):
        image = share * IMAGES[i] + (1 - share) * IMAGES[i - 1]
        np.testing.assert_allclose(images[i], image, atol=1e-6)
        label = share * LABELS[i] + (1 - share) * LABELS[i - 1]
        np.testing.assert_allclose(labels[i], label, atol=1e-6)


def test_pasting_by_hand():
    boxes = np.array([[0, 0, 0, 0], [1, 2, 3, 4], [0, 0, 6, 9], [5, 8, 1, 1]])
    images, labels = jax.jit(augment.paste_boxes)(IMAGES, LABELS, boxes)
    for i, (top, left, height, width) in enumerate(boxes):
        expected = IMAGES[i].copy()
        inside = slice(top, top + height), slice(left, left + width)
        expected[inside] = IMAGES[i - 1][inside]
        np.testing.assert_array_equal(images[i], expected)
        share = 1 - height * width / 54
        label = share * LABELS[i] + (1 - share) * LABELS[i - 1]
        np.testing.assert_allclose(labels[i], label, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_are_of_the_beta_distribution(alpha):
    shares = draw_shares(KEY, 2000, alpha=alpha)
    assert scipy.stats.kstest(np.asarray(shares), "beta", (alpha, alpha)).pvalue > 0.01


def test_rectangles_are_around_an_even_pixel_and_within_the_image():
    shares = jnp.full(4000, 1 - 0.25)
    boxes = np.asarray(draw_boxes(KEY, (16, 24, 3), shares))
    for start, length, size in ((boxes[:, 0], boxes[:, 2], 16), (boxes[:, 1], boxes[:, 3], 24)):
        assert (start >= 0).all()
        assert (start + length <= size).all()
        full = size // 2
        middles = np.arange(size)
        starts = np.clip(middles - full // 2, 0, size)
        lengths = np.clip(middles - full // 2 + full, 0, size) - starts
        expected = np.zeros((size + 1, size + 1))
        np.add.at(expected, (starts, lengths), 4000 / size)
        found = np.zeros((size + 1, size + 1))
        np.add.at(found, (start, length), 1)
        assert not found[expected == 0].any()
        likely = expected > 0
        assert scipy.stats.chisquare(found[likely], expected[likely]).pvalue > 0.01
    np.testing.assert_array_equal(draw_boxes(KEY, (16, 24), jnp.zeros(50))[:, 2:].max(0), [16, 24])


def test_a_mixer_is_what_it_draws_and_has_a_share_for_each_image():
    @jax.jit
    def all_ways(images, labels):
        share_key, box_key = jax.random.split(KEY)
        boxes = draw_boxes(box_key, images.shape[1:], draw_shares(share_key, N, alpha=1.0))
        return (
            augment.mixup(KEY, images, labels, alpha=1.0),
            augment.blend_pairs(images, labels, draw_shares(KEY, N, alpha=1.0)),
            augment.cutmix(KEY, images, labels),
            augment.paste_boxes(images, labels, boxes),
        )

    blended, expected_blend, pasted, expected_paste = all_ways(IMAGES, LABELS)
    for ours, expected in ((blended, expected_blend), (pasted, expected_paste)):
        np.testing.assert_allclose(ours[0], expected[0], atol=1e-6)
        np.testing.assert_allclose(ours[1], expected[1], atol=1e-6)
    assert len(np.unique(blended[1].max(1))) == N  # 1 where the neighbour has the same label


@pytest.mark.parametrize("mixer", [augment.mixup, augment.cutmix])
def test_alpha_zero_changes_nothing(mixer):
    images, labels = jax.jit(partial(mixer, alpha=0))(KEY, IMAGES, LABELS)
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_one_of_several_is_chosen_as_often_as_asked():
    def mark(value):
        return lambda key, images, labels: (jnp.full_like(images, value), labels)

    def choose(key, chances):
        mixers = (mark(1.0), mark(2.0))
        small = IMAGES[:1, :1, :1]
        chosen = augment.mix_one_of(key, small, LABELS[:1], mixers=mixers, chances=chances)[0]
        return jnp.where((chosen == small).all(), 0, chosen[0, 0, 0, 0])

    keys = jax.random.split(KEY, 3000)
    found = jax.jit(jax.vmap(choose, (0, None)))(keys, np.array([0.5, 0.3], np.float32))
    counts = np.unique(found, return_counts=True)[1]
    assert scipy.stats.chisquare(counts, [600, 1500, 900]).pvalue > 0.01


def test_the_schedule_ends():
    schedule = augment.chances_until(200, chances=(0.5, 0.25), fraction=0.85)
    chances = [schedule(step).tolist() for step in (0, 169, 170, 199)]
    assert chances == [[0.5, 0.25]] * 2 + [[0.0, 0.0]] * 2

    @jax.jit
    def mix(step):
        return augment.mix_one_of(
            KEY,
            IMAGES,
            LABELS,
            mixers=(augment.mixup, augment.cutmix),
            chances=augment.chances_until(10, chances=(0.5, 0.5), fraction=0.5)(step),
        )

    assert (mix(4)[0] != IMAGES).any()
    np.testing.assert_array_equal(mix(5)[0], IMAGES)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: augment.mixup(KEY, IMAGES, LABELS, alpha=-1), r"`alpha` \(=-1\) must not be neg"),
        (lambda: augment.cutmix(KEY, IMAGES, LABELS, alpha=-1), r"`alpha` \(=-1\) must not be ne"),
        (
            lambda: augment.mixup(KEY, IMAGES[0], LABELS),
            r"`images` \(of shape \(6, 9, 3\), float32\) must be floats \[N, height, width, chan",
        ),
        (
            lambda: augment.mixup(KEY, np.uint8(IMAGES), LABELS),
            r"`images` \(of shape \(4, 6, 9, 3\), uint8\) must be floats .* bytes divided by 255",
        ),
        (
            lambda: augment.cutmix(KEY, IMAGES, np.arange(4)),
            r"`labels` \(of shape \(4,\)\) must be \[4, classes\]: .* jax.nn.one_hot",
        ),
        (
            lambda: augment.cutmix(KEY, IMAGES, np.int32(LABELS)),
            r"`labels` \(of int32\) must be floats, to be blended: make them with jax.nn.one_hot",
        ),
        (
            lambda: augment.mix_one_of(
                KEY, IMAGES, LABELS, mixers=(augment.mixup,), chances=(0.5, 0.5)
            ),
            r"`chances` \(=\(0.5, 0.5\)\) must be 1 numbers, one for each of `mixers`",
        ),
        (
            lambda: augment.chances_until(10, chances=(0.8, 0.8)),
            r"`chances` \(=\(0.8, 0.8\)\) must be at least 0 and sum to at most 1: divide them",
        ),
        (
            lambda: augment.chances_until(10, chances=(1.0,), fraction=2),
            r"`fraction` \(=2\) must be at least 0 and at most 1: 1 is to the end",
        ),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
