"""Which files of a folder are which class and split, in which order."""

import zipfile

import numpy as np
import pytest

from cnn_jax.data.listing import list_files
from cnn_jax.errors import InputError
from tests.data.images import zipped


def touch(root, *names):
    """Files that are images by their names; a name that ends in "/" makes a folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
    return root


def rows(listing):
    names = ("train", "validation", "test")
    return [
        (names[split], listing.class_names[label], path)
        for split, label, path in zip(listing.splits, listing.labels, listing.paths, strict=True)
    ]


def test_class_folders_alone(tmp_path):
    listing = list_files(touch(tmp_path, "b/2.png", "b/10.png", "a/x.JPG", "a/deep/1.webp"))
    assert listing.class_names == ("a", "b")
    assert rows(listing) == [
        ("train", "a", "a/deep/1.webp"),
        ("train", "a", "a/x.JPG"),
        ("train", "b", "b/10.png"),
        ("train", "b", "b/2.png"),
    ]
    assert listing.sizes.tolist() == [len(path) for path in listing.paths]
    assert not listing.faults
    assert not listing.ignored


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_folders_of_splits(tmp_path, name):
    root = touch(tmp_path, "train/a/1.png", "train/b/1.png", f"{name}/b/2.png", "test/a/3.png")
    assert rows(list_files(root)) == [
        ("train", "a", "train/a/1.png"),
        ("train", "b", "train/b/1.png"),
        ("validation", "b", f"{name}/b/2.png"),
        ("test", "a", "test/a/3.png"),
    ]
    assert list_files(root).names == ("a/1.png", "b/1.png", "b/2.png", "a/3.png")


def test_a_class_may_be_called_train(tmp_path):
    root = touch(tmp_path, "train/1.png", "bus/1.png")
    assert list_files(root).class_names == ("bus", "train")


def test_the_root_of_an_archive_is_passed_through(tmp_path):
    root = touch(tmp_path / "photos", "train/a/1.png", "train/b/1.png", "test/a/1.png")
    archive = zipped(root, tmp_path / "photos.zip")
    folder, packed = list_files(root), list_files(archive)
    assert packed.paths == tuple(f"photos/{path}" for path in folder.paths)
    assert packed.names == folder.names
    np.testing.assert_array_equal(packed.labels, folder.labels)
    np.testing.assert_array_equal(packed.splits, folder.splits)
    assert list_files(tmp_path).paths == packed.paths


def test_what_systems_leave_is_no_data(tmp_path):
    root = touch(
        tmp_path, "a/1.png", "b/1.png", "a/.DS_Store", "b/._1.png", ".git/x.png", "__MACOSX/a/1.png"
    )
    listing = list_files(root)
    assert listing.paths == ("a/1.png", "b/1.png")
    assert not listing.ignored


def test_what_is_no_image_is_named(tmp_path):
    listing = list_files(touch(tmp_path, "train/a/1.png", "train/a/notes.txt", "README", "x/1.png"))
    assert sorted(listing.ignored) == ["README", "train/a/notes.txt", "x/1.png"]


def test_images_without_a_class_and_classes_without_images_are_faults(tmp_path):
    root = touch(
        tmp_path, "train/a/1.png", "train/b/1.png", "train/lost.png", "train/none/", "test/c/1.png"
    )
    listing = list_files(root)
    assert listing.class_names == ("a", "b")
    assert sorted(map(str, listing.faults)) == [
        "test/c is a class that has no training images (1 images)",
        "train/lost.png lies in no class folder",
        "train/none is a class folder without images",
    ]


def test_test_images_without_classes_are_no_split(tmp_path):
    listing = list_files(touch(tmp_path, "train/a/1.png", "train/b/1.png", "test/1.png"))
    assert set(listing.splits) == {0}
    assert listing.ignored == ("test/1.png",)


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    root = touch(tmp_path / "root", "a/1.png", "b/1.png")
    touch(tmp_path / "elsewhere", "2.png")
    (root / "c").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "back").symlink_to(root)
    (root / "b" / "itself.png").symlink_to(root / "b" / "itself.png")
    (root / "b" / "gone.png").symlink_to(root / "nowhere.png")
    listing = list_files(root)
    assert listing.paths == ("a/1.png", "b/1.png", "c/2.png")
    assert sorted(map(str, listing.faults)) == [
        "a/back is a link back to a folder that it lies in",
        "b/gone.png cannot be reached (No such file or directory)",
        "b/itself.png cannot be reached (Too many levels of symbolic links)",
    ]


def test_names_that_are_not_utf8(tmp_path):
    touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a" / b"caf\xe9.png".decode(errors="surrogateescape")).touch()
    listing = list_files(tmp_path)
    assert len(listing) == 2
    assert [str(fault) for fault in listing.faults] == [
        r"a/caf\xe9.png has a name that is not UTF-8: rename it"
    ]


def test_the_digest_follows_names_sizes_and_times(tmp_path):
    root = touch(tmp_path, "a/1.png", "b/1.png")
    digest = list_files(root).digest
    assert list_files(root).digest == digest
    (root / "a/1.png").touch()
    touched = list_files(root).digest
    touch(root, "a/2.png")
    assert len({digest, touched, list_files(root).digest}) == 3


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "is an empty folder: it must hold four IDX files, or images in class folders"),
        (("notes.txt",), "holds no images in class folders: it must hold CLASS/IMAGE, or train/"),
        (("1.png",), "holds no images in class folders"),
        (
            ("train/a/1.png", "val/a/1.png", "valid/a/1.png"),
            "has the folders val and valid, which both name the validation split: keep one",
        ),
        (
            ("Train/a/", "Train/b/", "test/a/1.png"),
            "holds no training images: it must hold them as Train/CLASS/IMAGE",
        ),
    ],
)
def test_other_layouts_are_refused(tmp_path, names, words):
    with pytest.raises(InputError, match=words):
        list_files(touch(tmp_path, *names))


def test_archives_that_are_none(tmp_path):
    path = tmp_path / "photos.zip"
    path.write_bytes(b"<html>")
    with pytest.raises(InputError, match="is no readable zip archive"):
        list_files(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(InputError, match="is an empty folder"):
        list_files(path)
