"""Tables of image files."""

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data.csv_listing import list_csv
from cnn_jax.errors import InputError
from tests.data.images import folder, picture


@pytest.fixture
def write(tmp_path):
    """A function that writes lines to a table, beside twelve images a/0000.png, ... b/0005.png."""
    folder(tmp_path, {"a": 6, "b": 6})

    def write(*lines, encoding="utf-8"):
        (tmp_path / "table.csv").write_bytes("\n".join(lines).encode(encoding))
        return tmp_path / "table.csv"

    return write


def test_one_label(write):
    listing = list_csv(
        write("label,path", "dog,b/0001.png", '"cat, black",a/0002.png', "dog,a/0001.png", "")
    )
    assert listing.class_names == ("cat, black", "dog")
    assert listing.paths == ("a/0002.png", "a/0001.png", "b/0001.png")
    assert listing.labels.tolist() == [0, 1, 1]
    assert listing.groups is None
    assert not listing.faults


def test_numbers_as_labels_are_in_their_order(write):
    listing = list_csv(
        write("path,label", *(f"a/000{k}.png,{n}" for k, n in enumerate([10, 9, 2])))
    )
    assert listing.class_names == ("2", "9", "10")


def test_splits_and_groups(write):
    listing = list_csv(
        write(
            "path,label,group,split",
            "a/0000.png,x,anna,Val",
            "a/0001.png,x,ben,test",
            "a/0002.png,y,carl,train",
            "a/0003.png,y,carl,train",
        )
    )
    assert listing.splits.tolist() == [0, 0, 1, 2]
    assert listing.groups == ("carl", "carl", "anna", "ben")


def test_images_without_a_group_belong_to_none(write):
    listing = list_csv(
        write(
            "path,label,group,split",
            "a/0000.png,x,,train",
            "a/0001.png,x,,test",
            "a/0002.png,y,carl,train",
            "a/0003.png,y, ,train",
        )
    )
    assert listing.groups == ("a/0000.png", "carl", "a/0003.png", "a/0001.png")


@pytest.mark.parametrize(
    "lines",
    [
        ("path,labels", "a/0000.png,dog; cat", "a/0001.png,", "a/0002.png,dog"),
        ("cat,path,dog", "1,a/0000.png,1", "0,a/0001.png,0", "0,a/0002.png,1"),
    ],
)
def test_several_labels(write, lines):
    listing = list_csv(write(*lines))
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert listing.labels.dtype == np.int32


def test_loaded(write):
    rows = [f"{name}/000{k}.png,{name},{k}" for name in "ab" for k in range(6)]
    loaded = data.load(write("path,label,group", *rows), test=0.4, validation=0.3)
    assert loaded.name == "table"
    assert loaded.class_names == ("a", "b")
    groups = {}
    for split in ("train", "validation", "test"):
        part = getattr(loaded, split)
        groups[split] = {position % 6 for position in part.indices}
        assert len(part) == 2 * len(groups[split])  # a group has an image of each class
        for image, position in zip(part.read(np.arange(len(part))), part.indices, strict=True):
            seed = 1000 * (position // 6) + position % 6
            np.testing.assert_array_equal(image, picture(seed))
    assert sum(map(len, groups.values())) == 6


def test_several_labels_loaded(write):
    rows = [f"{name}/000{k}.png,{name}" for name in "ab" for k in range(6)]
    loaded = data.load(write("path,labels", *rows), test=0.3, validation=0.3)
    assert loaded.train.labels.shape[1] == 2
    assert loaded.num_classes == 2
    assert loaded.train.labels.any(0).all()


def test_other_labels_need_no_new_cache(write, cache_folder, capsys):
    rows = [f"a/000{k}.png,{'xy'[k % 2]}" for k in range(6)]
    first = data.load(write("path,label", *rows), test=2, validation=2)
    capsys.readouterr()
    rows[0], rows[1] = rows[0].replace("x", "y"), rows[1].replace("y", "x")
    second = data.load(write("path,label", *rows), test=2, validation=2)
    assert first.train.source.fingerprint != second.train.source.fingerprint


def test_what_cannot_be_used_is_named(write):
    listing = list_csv(
        write(
            "path,label",
            "a/0000.png,x",
            "a/9999.png,x",
            "a/0000.png,y",
            "a/0001.png,",
            "a/0002.png,y",
        )
    )
    assert listing.paths == ("a/0000.png", "a/0002.png")
    assert [str(fault) for fault in listing.faults] == [
        "a/9999.png cannot be reached (No such file or directory; line 3)",
        "a/0000.png is listed a second time in line 4",
        "a/0001.png has no label in line 5",
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "begins with nothing: the first row must name the columns"),
        (("a/0000.png,x",), "begins with a/0000.png, x: the first row must"),
        (("path",), "begins with path: the first row must"),
        (("path,label,label", "a/0000.png,x,x"), "begins with path, label, label: the first"),
        (("path,label", "a/0000.png,x,y"), r"line 2 of .* has 3 values, and the first 2: put"),
        (("path,label,split", "a/0000.png,x,all"), r"`split` \(=all\) in line 2 of .* must be"),
        (("path,cat,dog", "a/0000.png,1,2"), r"`dog` \(=2\) in line 2 of .* must be 0 or 1"),
        (
            ("path,label,split,group", "a/0000.png,x,train,ben", "a/0001.png,x,test,ben"),
            r"`group` \(=ben\) in line 3 of .* is in the test and the train split: a group",
        ),
        (("path,label", "a/9999.png,x"), "lists no training images that are there"),
        (("path,label,split", "a/0000.png,x,test"), "lists no training images that are there"),
        (("path,label", 'a/0000.png,"x'), "cannot be read as CSV in UTF-8: unexpected end"),
    ],
)
def test_tables_of_another_form(write, lines, words):
    with pytest.raises(InputError, match=words):
        list_csv(write(*lines))


def test_tables_in_another_encoding(write):
    assert list_csv(write("path,label", "a/0000.png,é", encoding="utf-8-sig")).class_names == ("é",)
    with pytest.raises(InputError, match="cannot be read as CSV in UTF-8"):
        list_csv(write("path,label", "a/0000.png,é", encoding="latin-1"))
