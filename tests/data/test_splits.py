"""Stratified, seeded splits, for random label counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn_jax import data
from cnn_jax.errors import InputError
from tests.conftest import scans


def labelled(counts) -> data.ArraySource:
    labels = np.repeat(np.arange(len(counts)), counts)
    return data.array_source(np.zeros((len(labels), 2, 2), np.uint8), labels, name="blank")


@given(
    counts=st.lists(st.integers(4, 60), min_size=2, max_size=6),
    size=st.floats(0.1, 0.9),
    seed=st.integers(0, 99),
)
def test_a_split_is_a_partition_in_proportion(counts, size, seed):
    source = labelled(counts)
    count = int(np.ceil(size * len(source)))
    if min(count, len(source) - count) < len(counts):
        return
    rest, held = data.hold_out(source, size, seed=seed)
    assert len(held) == count
    assert sorted([*rest.indices, *held.indices]) == list(range(len(source)))
    assert (np.diff(held.indices) > 0).all()
    shares = np.bincount(held.labels, minlength=len(counts)) / count
    np.testing.assert_array_less(abs(shares - np.array(counts) / len(source)), 1.01 / count)


def test_the_seed_decides():
    source = data.array_source(*scans(200), name="a")
    first, again, other = (data.hold_out(source, 40, seed=seed)[1].indices for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


def test_validation_and_test_have_nothing_in_common():
    loaded = data.load("digits")
    test = set(loaded.test.indices)
    rest = loaded.train.source.indices
    train, validation = (set(rest[part.indices]) for part in (loaded.train, loaded.validation))
    assert len(test | train | validation) == len(test) + len(train) + len(validation) == 1797
    # A fifth of all for the test, a tenth of the rest for validation.
    assert (len(test), len(validation)) == (360, 144)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1.5, r"`validation` \(=1.5\) must be a fraction between 0 and 1 or a number of images"),
        (30, r"below the 30 that there are"),
        (-2, r"`validation` \(=-2\) must be"),
        (2, r"takes 2 of 30 images, which leaves one part with fewer images than the 3 classes"),
        (0.95, r"leaves one part with fewer images than the 3 classes"),
    ],
)
def test_impossible_sizes(size, words):
    with pytest.raises(InputError, match=words):
        data.hold_out(data.array_source(*scans(30), name="a"), size, seed=0)


def test_a_class_with_one_image():
    with pytest.raises(InputError, match="class 1 has one image only"):
        data.hold_out(labelled([20, 1]), 5, seed=0)
