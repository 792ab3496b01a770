"""NPZ archives."""

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.errors import InputError
from tests.conftest import scans


@pytest.mark.parametrize("keys", [("x_train", "y_train"), ("train_images", "train_labels")])
def test_training_images_alone_are_split(tmp_path, keys):
    path = tmp_path / "scans.npz"
    images, labels = scans(100)
    np.savez(path, **{keys[0]: images, keys[1]: labels})
    loaded = data.load(path, test=0.3, validation=10)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (60, 10, 30)
    assert loaded.name == "scans"


def test_all_three_splits_are_kept(tmp_path):
    path = tmp_path / "scans.npz"
    arrays = {}
    for seed, (split, count) in enumerate({"train": 60, "val": 9, "test": 30}.items()):
        arrays[f"x_{split}"], arrays[f"y_{split}"] = scans(count, seed=seed)
    np.savez(path, **arrays)
    loaded = data.load(path, validation=0.5)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (60, 9, 30)
    np.testing.assert_array_equal(loaded.validation.read(np.arange(9)), arrays["x_val"])


def test_labels_in_a_column_are_taken(tmp_path):
    path = tmp_path / "scans.npz"
    images, labels = scans(60)
    np.savez(path, x_train=images, y_train=labels[:, None])
    assert data.load(path).num_classes == 3


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": scans(9)[0]}, r"has x: it must have `x_train` and `y_train`"),
        ({"x_train": scans(9)[0]}, r"lacks `y_train`: images and labels of a split go together"),
        ({"x_train": np.array([object()]), "y_train": np.zeros(1)}, r"`x_train` .* cannot be read"),
    ],
)
def test_wrong_archives(tmp_path, arrays, words):
    path = tmp_path / "wrong.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=words):
        data.load(path)


def test_truncated_archives(tmp_path):
    path = tmp_path / "torn.npz"
    images, labels = scans(60)
    np.savez(path, x_train=images, y_train=labels)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"is not a readable \.npz archive"):
        data.load(path)


def test_a_single_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(InputError, match="holds a single array"):
        data.load(tmp_path / "a.npz")
