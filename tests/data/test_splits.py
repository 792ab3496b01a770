"""Stratified, seeded splits, for random label counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

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


def test_the_split_is_scikit_learn_s():
    """Of 100 sets of labels: classes of two images and more, with equal remainders and without."""
    rng = np.random.default_rng(0)
    for seed in range(100):
        classes = int(rng.integers(2, 12))
        some = rng.integers(0, classes, rng.integers(0, 200))
        labels = rng.permutation([*np.repeat(np.arange(classes), 2), *some])
        count = int(rng.integers(classes, len(labels) - classes + 1))
        source = data.array_source(np.zeros((len(labels), 2, 2), np.uint8), labels, name="blank")
        ours = data.hold_out(source, count, seed=seed)
        theirs = train_test_split(
            np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed
        )
        for part, positions in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(part.indices, np.sort(positions))


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


def named(counts) -> tuple[data.ArraySource, list[str]]:
    source = labelled(counts)
    return source, [f"{label}/{k}" for k, label in enumerate(source.labels)]


def test_names_decide_and_the_seed_does():
    source, names = named([400, 400])
    first, again, other = (
        data.hold_out_by_name(source, names, 0.2, seed=seed)[1].indices for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    # 160 expected, with a deviation of 11.3; three classes of the same would be 480 +- 20.
    assert 120 < len(first) < 200


@given(
    counts=st.lists(st.integers(2, 60), min_size=2, max_size=5),
    size=st.floats(0.05, 0.9),
    seed=st.integers(0, 99),
)
def test_a_split_by_name_is_a_partition_with_every_class_on_both_sides(counts, size, seed):
    source, names = named(counts)
    rest, held = data.hold_out_by_name(source, names, size, seed=seed)
    assert sorted([*rest.indices, *held.indices]) == list(range(len(source)))
    assert (np.diff(held.indices) > 0).all()
    assert set(rest.labels) == set(held.labels) == set(range(len(counts)))


def test_added_files_move_none_across():
    source, names = named([300, 500])
    held = data.hold_out_by_name(source, names, 0.1, seed=3)[1]
    more, more_names = named([300, 500, 400])
    added = data.hold_out_by_name(more, more_names, 0.1, seed=3)[1]
    assert set(held.indices) == {k for k in added.indices if k < 800}
    some = np.arange(0, 800, 2)
    fewer = data.Subset(source, some)
    kept = data.hold_out_by_name(fewer, [names[k] for k in some], 0.1, seed=3)[1]
    assert set(some[kept.indices]) == set(held.indices) & set(some)


def test_a_number_is_held_out_exactly_and_in_proportion():
    source, names = named([100, 300, 600])
    held = data.hold_out_by_name(source, names, 50, seed=0)[1]
    assert np.bincount(held.labels).tolist() == [5, 15, 30]
    # Three classes of 7 images, 5 of them held out: two, two and one.
    source, names = named([7, 7, 7])
    held = data.hold_out_by_name(source, names, 5, seed=0)[1]
    assert sorted(np.bincount(held.labels)) == [1, 2, 2]


@pytest.mark.parametrize(
    ("counts", "count", "expected"),
    [
        ([30, 30, 1], 31, [31, 0]),  # the third's remainder is the largest, and it has one image
        ([5, 1, 1, 1, 1], 4, [4, 0]),
        ([9, 2, 2], 10, [8, 2]),
    ],
)
def test_a_number_never_takes_the_last_of_a_class(counts, count, expected):
    source, names = named(counts)
    rest, held = data.hold_out_by_name(source, names, count, seed=0)
    assert set(rest.labels) == set(range(len(counts)))
    large = np.isin(held.labels, np.flatnonzero(np.array(counts) == max(counts)))
    assert [large.sum(), (~large).sum()] == expected


def test_a_number_that_would_take_a_whole_class_is_told():
    source, names = named([3, 1])
    words = r"`validation` \(=3\) of 4 images would leave a class .*: hold out 2 at most"
    with pytest.raises(InputError, match=words):
        data.hold_out_by_name(source, names, 3, seed=0)


@pytest.mark.parametrize("size", [0.3, 60])
def test_no_group_is_on_both_sides(size):
    source = labelled([100, 100])
    patients = [f"patient {k % 40}" for k in range(200)]  # each has images of both classes
    rest, held = data.hold_out_by_name(source, patients, size, seed=0)
    assert not {patients[k] for k in rest.indices} & {patients[k] for k in held.indices}
    assert len(rest) + len(held) == 200
    assert 20 < len(held) < 100


def test_images_of_several_labels():
    labels = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(np.int32)
    labels[:, 2] = np.arange(200) < 2
    source = data.ArraySource(np.zeros((200, 2, 2, 1), np.uint8), labels)
    rest, held = data.hold_out_by_name(source, [str(k) for k in range(200)], 0.2, seed=0)
    assert rest.labels[:, 2].sum() == held.labels[:, 2].sum() == 1
    assert 20 < len(held) < 60


def test_a_single_image_stays_in_training():
    source, names = named([20, 1])
    rest, _ = data.hold_out_by_name(source, names, 0.5, seed=0)
    assert 1 in rest.labels


@pytest.mark.parametrize("size", [1.5, 30, -2, 0])
def test_impossible_sizes_by_name(size):
    source, names = named([10, 20])
    with pytest.raises(InputError, match=rf"`validation` \(={size}\) must be a fraction"):
        data.hold_out_by_name(source, names, size, seed=0)


def test_one_group_cannot_be_parted():
    source = labelled([10, 20])
    with pytest.raises(InputError, match="would hold out none of 30 images in 1 groups"):
        data.hold_out_by_name(source, ["a"] * 30, 0.5, seed=0)
