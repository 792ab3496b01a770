"""Arrays as sources, and datasets made of them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from cnn_jax import data
from cnn_jax.errors import InputError
from tests.conftest import scans


def with_pixel(value, dtype=np.float32):
    images = np.zeros((6, 8, 8, 1), dtype)
    images[4, 2, 3, 0] = value
    return images


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (with_pixel(np.nan), np.arange(6), r"1 of 6 images of made up hold NaN .* at position 4"),
        (with_pixel(np.inf), np.arange(6), r"hold NaN or infinite pixels"),
        (with_pixel(255.0), np.arange(6), r"floating point from 0 to 255: they must lie in 0 to 1"),
        (with_pixel(-1.0), np.arange(6), r"from -1 to 0: they must lie in 0 to 1"),
        (with_pixel(3, np.int32), np.arange(6), r"are int32: they must be uint8"),
        (with_pixel(3, np.uint8), np.arange(5), r"has 6 images but 5 labels"),
        (with_pixel(3, np.uint8), np.arange(6) * 0.5, r"labels of made up are float64"),
        (
            with_pixel(3, np.uint8),
            np.eye(6, 3),
            r"\(6, 3\): .* take the argmax\(-1\) of one-hot ones",
        ),
        (np.zeros((6, 3, 32, 32), np.uint8), np.arange(6), r"32 channels: the channels come last"),
        (
            np.zeros((6, 64), np.uint8),
            np.arange(6),
            r"have shape \(6, 64\): they must be \[N, H, W",
        ),
        (np.zeros((0, 8, 8), np.uint8), np.arange(0), r"with none of these zero"),
    ],
)
def test_wrong_arrays(images, labels, words):
    with pytest.raises(InputError, match=words):
        data.array_source(images, labels, name="made up")


@pytest.mark.parametrize("wrong", [3, -1])
def test_labels_out_of_range(wrong):
    images, labels = scans(30)
    labels[[7, 9]] = wrong
    source = data.array_source(images, labels, name="made up")
    with pytest.raises(
        InputError,
        match=rf"label out of range in the train split of arrays: image 7 has label {wrong}, and 1",
    ):
        data.make_dataset(source, class_names=("a", "b", "c"))


def test_a_gap_in_numbered_labels_is_told():
    """Labels 0, 1, 3 without names: either 3 is wrong, or class 2 has no images."""
    images, labels = scans(30)
    labels[labels == 2] = 3
    with pytest.raises(InputError, match=r"has label 3.*labels must be 0 to 2"):
        data.make_dataset(data.array_source(images, labels, name="made up"))


def test_fingerprints_tell_contents_apart():
    images, labels = scans(30)

    def fingerprint(images, labels):
        return data.array_source(images, labels, name="a").fingerprint

    own = fingerprint(images, labels)
    assert own == fingerprint(images.copy(), labels.astype(np.int32))
    for index in ((3, 0, 0, 0), (29, 7, 7, 0)):
        changed = images.copy()
        changed[index] ^= 1
        assert fingerprint(changed, labels) != own
    assert fingerprint(images, np.roll(labels, 1)) != own
    subset = data.Subset(data.array_source(images, labels, name="a"), np.arange(29))
    assert subset.fingerprint != own


def test_a_subset_reads_its_own_images():
    source = data.array_source(*scans(30), name="a")
    subset = data.Subset(source, np.array([4, 9, 11]))
    np.testing.assert_array_equal(subset.read(np.array([2, 0])), source.images[[11, 4]])
    np.testing.assert_array_equal(subset.labels, source.labels[[4, 9, 11]])


def test_splits_of_different_shapes():
    train = data.array_source(*scans(30), name="a")
    test = data.array_source(*scans(30, size=9), name="b")
    with pytest.raises(InputError, match=r"test split of arrays has images of \(9, 9, 1\)"):
        data.make_dataset(train, test)


def test_one_class_is_not_enough():
    source = data.array_source(scans(30)[0], np.zeros(30, int), name="a")
    with pytest.raises(InputError, match="has one class only"):
        data.make_dataset(source)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("digit", r"does not exist, and 'digit' is no dataset: did you mean 'digits'\?"),
        ("/no/such/folder", r"`data` \(=/no/such/folder\) does not exist"),
    ],
)
def test_unknown_names(name, words):
    with pytest.raises(InputError, match=words):
        data.load(name)


def test_folders_and_files_of_another_kind(tmp_path):
    with pytest.raises(InputError, match="is an empty folder: it must hold four IDX files"):
        data.load(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="holds no images in class folders: it must hold CLASS/IM"):
        data.load(tmp_path)
    with pytest.raises(InputError, match=r"is a \.txt file: it must be \.zip, \.csv or \.npz"):
        data.load(tmp_path / "notes.txt")


def test_digits_are_scikit_learn_s():
    """1,797 scans of 8x8 pixels; 178 zeros, 180 eights (scikit-learn's description)."""
    loaded = data.load("digits", validation=0)
    assert len(loaded.train) + len(loaded.test) == 1797
    assert loaded.validation is None
    labels = np.concatenate([loaded.train.labels, loaded.test.labels])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    source = loaded.train.source
    assert source.images.shape == (1797, 8, 8, 1)
    bunch = load_digits()
    np.testing.assert_array_equal(source.labels, bunch.target)
    np.testing.assert_array_equal(source.images[..., 0], np.round(bunch.images * 255 / 16))
    # The first scan, a zero, begins "0 0 5 13 9 1 0 0" in 16ths of white.
    assert source.images[0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
