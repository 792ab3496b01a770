"""IDX files: the format, and everything that can be wrong with one."""

import gzip
import struct

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data.idx import read_idx
from cnn_jax.errors import InputError
from tests.conftest import scans


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file of uint8, written out from the format's description."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_folder(folder, *, compressed=True, name="made-up"):
    """A folder in MNIST's layout, of 60 training and 30 test images."""
    folder = folder / name
    folder.mkdir()
    for split, count in (("train", 60), ("t10k", 30)):
        images, labels = scans(count)
        for kind, array in (
            ("images-idx3-ubyte", images[..., 0]),
            ("labels-idx1-ubyte", labels.astype(np.uint8)),
        ):
            if compressed:
                (folder / f"{split}-{kind}.gz").write_bytes(gzip.compress(idx(array), mtime=0))
            else:
                (folder / f"{split}-{kind}").write_bytes(idx(array))
    return folder


def test_a_file_written_by_hand(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 250, 251, 252]))
    np.testing.assert_array_equal(read_idx(path), [[1, 2, 3], [250, 251, 252]])


def test_values_are_big_endian(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(bytes([0, 0, 0x0C, 1, 0, 0, 0, 1, 0, 0, 1, 2]))
    assert read_idx(path).tolist() == [258]


@pytest.mark.parametrize("compressed", [True, False])
def test_a_folder(tmp_path, compressed):
    loaded = data.load(write_folder(tmp_path, compressed=compressed), validation=6)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (54, 6, 30)
    assert loaded.image_shape == (8, 8, 1)
    assert loaded.class_names == ("0", "1", "2")
    images, labels = scans(30)
    np.testing.assert_array_equal(loaded.test.read(np.arange(30)), images)
    np.testing.assert_array_equal(loaded.test.labels, labels)


def test_debian_s_folder_names_its_classes(tmp_path):
    path = write_folder(tmp_path, name="fashion-mnist")
    assert data.load(path).class_names[:3] == ("T-shirt/top", "Trouser", "Pullover")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            idx(np.zeros((2, 3), np.uint8))[:-1],
            r"is truncated: its header announces 18 bytes .* 17",
        ),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", r"is too long: its header announces 18 bytes"),
        (b"\0\0\x08\x03\0\0", r"is truncated: its header needs 16 bytes and has 6"),
        (b"<html>", r"is not an IDX file: .* begins with 3c 68 74 6d"),
        (b"", r"is not an IDX file: .* begins with nothing"),
        (
            gzip.compress(idx(np.zeros((2, 3), np.uint8)), mtime=0)[:-9],
            r"truncated or damaged gzip file",
        ),
        (b"\x1f\x8bno gzip at all", r"truncated or damaged gzip file"),
    ],
    ids=["short", "long", "header", "html", "empty", "short gzip", "no gzip"],
)
def test_damaged_files(tmp_path, content, words):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_idx(path)


def test_counts_that_differ(tmp_path):
    folder = write_folder(tmp_path, compressed=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(59, np.uint8)))
    with pytest.raises(InputError, match="has 60 images but 59 labels: there must be one label"):
        data.load(folder)


def test_a_missing_file(tmp_path):
    folder = write_folder(tmp_path)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="has no file t10k-labels-idx1-ubyte or"):
        data.load(folder)
