"""What can be wrong with image files: each is named, refused, and left out when told to."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_jax import data
from cnn_jax.data.bad_files import equal_files
from cnn_jax.data.inspection import inspect_data
from cnn_jax.data_command import inspect_images
from cnn_jax.errors import InputError
from tests.data.images import encoded, folder, picture, save, zipped


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 black pixels in 50 kB, written out from the format's description."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows, packed = bytes(2501 * 200), zlib.compressobj(1)
    pixels = b"".join([packed.compress(rows) for _ in range(100)]) + packed.flush()
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def corrupt() -> bytes:
    content = bytearray(encoded(picture(0, size=(64, 64))))
    content[200] ^= 0xFF
    return bytes(content)


# Each makes something bad in a folder of 40 good pictures; with the words that name it.
BAD = {
    "corrupt": (
        lambda root: (root / "cat/bad.png").write_bytes(corrupt()),
        "cat/bad.png cannot be read as an image (",
    ),
    "truncated": (
        lambda root: (root / "cat/bad.jpg").write_bytes(encoded(picture(0), "jpeg")[:-40]),
        "cat/bad.jpg cannot be read as an image (",
    ),
    "zero bytes": (
        lambda root: (root / "cat/bad.jpg").touch(),
        "cat/bad.jpg is no image of a known format",
    ),
    "text": (
        lambda root: (root / "cat/bad.jpg").write_text("<html>"),
        "cat/bad.jpg is no image of a known format",
    ),
    "1x1": (
        lambda root: save(root / "cat/bad.png", np.zeros((1, 1, 3), np.uint8)),
        "cat/bad.png cannot be read as an image (it is 1x1, in which nothing can be seen)",
    ),
    "bomb": (
        lambda root: (root / "cat/bad.png").write_bytes(bomb()),
        "cat/bad.png has more than 89,478,485 pixels",
    ),
    "loop": (
        lambda root: (root / "cat/loop").symlink_to(root),
        "cat/loop is a link back to a folder that it lies in",
    ),
    "link to itself": (
        lambda root: (root / "cat/bad.png").symlink_to(root / "cat/bad.png"),
        "cat/bad.png cannot be reached (Too many levels of symbolic links)",
    ),
    "name": (
        lambda root: save(root / os.fsdecode(b"cat/\xe9.png"), picture(1)),
        r"cat/\xe9.png has a name that is not UTF-8",
    ),
    "empty class": (
        lambda root: (root / "mouse").mkdir(),
        "mouse is a class folder without images",
    ),
    "two classes": (
        lambda root: (root / "cat/same.png").write_bytes((root / "dog/0003.png").read_bytes()),
        "cat/same.png is the same file as dog/0003.png, of another class",
    ),
    "pipe": (lambda root: os.mkfifo(root / "cat/bad.png"), "cat/bad.png is no regular file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_listed_refused_and_skipped_when_told_to(tmp_path, capsys, case):
    make, words = BAD[case]
    root = folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    make(root)
    faults = [str(fault) for fault in inspect_data(root).faults]
    assert any(words in fault for fault in faults), faults
    with pytest.raises(InputError) as caught:
        data.load(root)
    message = str(caught.value)
    count = f"{len(faults)} file or folder that" if len(faults) == 1 else f"{len(faults)} files or"
    assert words in message
    assert f"`data` (={root}) holds {count}" in message
    assert "(`skip_bad=True`, --skip-bad)" in message
    assert "\n" not in message
    capsys.readouterr()

    loaded = data.load(root, skip_bad=True)
    good = 39 if case == "two classes" else 40
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == good
    assert loaded.class_names == ("cat", "dog")
    assert loaded.image_shape == (8, 10, 3)
    assert [str(fault) for fault in loaded.skipped] == faults
    assert f"left out of {root}: {len(faults)} (" in capsys.readouterr().err.replace("\n", "")
    seen = {image.tobytes() for part in (loaded.train, loaded.validation, loaded.test)
            for image in part.read(np.arange(len(part)))}  # fmt: skip
    pictures = [picture(k) for k in range(20)] + [picture(1000 + k) for k in range(20)]
    assert seen == {each.tobytes() for each in pictures if good == 40 or each is not pictures[23]}


def test_many_are_counted(tmp_path):
    root = folder(tmp_path, {"cat": 20, "dog": 20})
    for number in range(9):
        (root / f"cat/bad{number}.jpg").touch()
    with pytest.raises(InputError, match=r"holds 9 files .*bad4\.jpg is no .*; and 4 more\): mend"):
        data.load(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    root = folder(tmp_path, {"cat": 20, "dog": 20, "dog/more": 1})
    (root / "cat/0000.png").chmod(0)
    (root / "dog/more").chmod(0)
    try:
        names = [str(fault) for fault in inspect_data(root).faults]
    finally:
        (root / "dog/more").chmod(0o700)
    assert names == [
        "dog/more cannot be reached (Permission denied)",
        "cat/0000.png cannot be read (permission denied): allow it, or remove it",
    ]


def test_files_that_the_system_does_not_hand_out(tmp_path, monkeypatch):
    """As above, where the tests run as root."""
    root = folder(tmp_path, {"cat": 20, "dog": 20})

    def read(name):
        if name == "cat/0000.png":
            raise PermissionError(13, "Permission denied")
        return (root / name).read_bytes()

    monkeypatch.setattr("cnn_jax.data.blocks.reader", lambda _: read)
    with pytest.raises(InputError, match=r"\(cat/0000.png cannot be read \(permission denied\)"):
        data.load(root)


def test_one_class_is_refused_whatever_is_told(tmp_path):
    root = folder(tmp_path, {"cat": 5})
    assert inspect_data(root).listing.class_names == ("cat",)
    for skip in (False, True):
        with pytest.raises(InputError, match="has one class only"):
            data.load(root, skip_bad=skip)


def test_a_class_of_which_nothing_is_left_is_refused(tmp_path):
    root = folder(tmp_path, {"cat": 5, "dog": 5})
    (root / "mouse").mkdir()
    (root / "mouse" / "1.jpg").touch()
    with pytest.raises(InputError, match=r"no training image of the class mouse of .* can be"):
        data.load(root, skip_bad=True)


def test_nothing_at_all_can_be_read(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").touch()
    with pytest.raises(InputError, match=r"none of the 2 files .* cat/1\.jpg, can be read"):
        data.load(tmp_path)
    assert len(inspect_data(tmp_path).faults) == 2


def test_damage_within_an_archive(tmp_path):
    root = folder(tmp_path / "pets", {"cat": 20, "dog": 20})
    archive = zipped(root, tmp_path / "pets.zip")
    content = bytearray(archive.read_bytes())
    place = content.index(b"IDAT") + 10
    content[place] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(
        InputError, match=r"pets/cat/0000\.png cannot be read as an image \(Bad CRC"
    ):
        data.load(archive)


def test_equal_files_and_their_order():
    contents = np.array([4, 9, 4, 1, 9, 9, 1], np.uint64)
    groups = equal_files(contents, {3: "broken"})
    assert [group.tolist() for group in groups] == [[0, 2], [1, 4, 5]]


@pytest.fixture
def pets(tmp_path):
    """Three cats twice, one of them in the test split; a dog in two sizes; a broken file."""
    root = folder(tmp_path / "pets", {"train/cat": 8, "train/dog": 4, "test/cat": 2, "test/dog": 2})
    for copy in ("train/cat/copy.png", "test/cat/copy.png"):
        (root / copy).write_bytes((root / "train/cat/0003.png").read_bytes())
    big = Image.fromarray(picture(1001)).resize((40, 32), Image.Resampling.BICUBIC)
    save(root / "test/dog/big.png", np.asarray(big))
    (root / "train/dog/broken.png").write_bytes(b"broken")
    (root / "train/dog/notes.txt").write_text("good dogs")
    return root


def test_an_inspection_finds_what_was_put_there(pets):
    found = inspect_data(pets)
    assert {split: counts.tolist() for split, counts in found.counts.items()} == {
        "train": [9, 4],
        "test": [3, 3],
    }
    assert found.imbalance == 9 / 4
    assert found.sizes == {(8, 10): 18, (32, 40): 1}
    assert found.channels == {3: 19}
    record = json.loads(json.dumps(found.as_json()))
    assert record["unusable"] == [
        {
            "name": "train/dog/broken.png",
            "reason": "is no image of a known format: convert it to PNG",
        }
    ]
    copies = ["train/cat/0003.png", "train/cat/copy.png", "test/cat/copy.png"]
    assert record["equal"] == record["equal_across_splits"] == [copies]
    assert record["alike"] == [copies, ["train/dog/0001.png", "test/dog/big.png"]]
    assert record["ignored"] == ["train/dog/notes.txt"]
    train = [picture(k) for k in range(8)] + [picture(3)] + [picture(1000 + k) for k in range(4)]
    pixels = np.stack(train).reshape(-1, 3) / 255
    np.testing.assert_allclose(record["mean"], pixels.mean(0), atol=1e-5)
    np.testing.assert_allclose(record["std"], pixels.std(0), atol=1e-5)


def test_what_was_seen_is_kept_until_a_file_changes(pets, monkeypatch):
    first = inspect_data(pets)
    monkeypatch.setattr("cnn_jax.data.survey.surveyor", None)
    again = inspect_data(pets)
    assert again.as_json() == first.as_json()
    (pets / "train/dog/broken.png").unlink()
    with pytest.raises(TypeError):
        inspect_data(pets)


def test_the_command(pets, tmp_path):
    sheet = tmp_path / "sheet.png"
    done = CliRunner().invoke(inspect_images, [str(pets), "--sheet", str(sheet)])
    assert isinstance(done.exception, InputError)
    assert "holds 1 file or folder that cannot be used" in str(done.exception)
    for words in (
        "19 of 20 images can be used; the largest class has 2.2 times",
        "2 sizes: 10x8 (18), 40x32 (1)",
        "equal files: 1 groups of 3 in all, 1 across splits",
        "  train/cat/0003.png, train/cat/copy.png, test/cat/copy.png",
        "  train/dog/broken.png is no image of a known format",
        "1 other files, which are ignored: 'train/dog/notes.txt'",
    ):
        assert words in done.output, words
    with Image.open(sheet) as drawn:
        pixels = np.asarray(drawn)
    # The first row begins with the first cat, cut to a square.
    expected = Image.fromarray(picture(0)).resize((80, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels[4:68, 150:214], np.asarray(expected)[:, 8:72])
    assert not list(tmp_path.glob(".*"))


def test_the_command_in_json(tmp_path):
    root = folder(tmp_path / "grey", {"a": 3, "b": 3}, channels=1)
    done = CliRunner().invoke(inspect_images, [str(root), "--json"])
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    assert record["counts"] == {"train": [3, 3]}
    assert record["channels"] == {"1": 6}
    assert len(record["mean"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits"], "names no image files: it must be a folder of class folders"),
        (["{folder}", "--sheet", "{folder}/none/sheet.png"], "lies in no folder that is there"),
    ],
)
def test_wrong_commands(tmp_path, arguments, words):
    folder(tmp_path, {"a": 1})
    arguments = [argument.format(folder=tmp_path) for argument in arguments]
    done = CliRunner().invoke(inspect_images, arguments)
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception)
