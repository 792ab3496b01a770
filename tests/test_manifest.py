"""The manifest: nothing can be changed in a folder without its being told."""

import errno
import json
import os

import pytest

from cnn_jax import manifest
from cnn_jax.manifest import NAME, damage, write_manifest


@pytest.fixture
def folder(tmp_path):
    """Two files at two depths, with their manifest."""
    (tmp_path / "state" / "d").mkdir(parents=True)
    (tmp_path / "state" / "d" / "abc").write_bytes(b"abc")
    (tmp_path / "record").write_bytes(b"12345")
    write_manifest(tmp_path)
    return tmp_path


def test_the_digests_are_those_of_coreutils(folder):
    """Made by `printf abc | b2sum --length 128`."""
    described = json.loads((folder / NAME).read_text())
    assert described["state/d/abc"] == {"bytes": 3, "blake2b": "cf4ab791c62b8d2b2109c90275287816"}
    assert list(described) == ["record", "state/d/abc"]
    assert damage(folder) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: (f / "record").write_bytes(b"1234"), "record has 4 bytes instead of 5"),
        (lambda f: (f / "record").write_bytes(b"12344"), "record has other bytes than were"),
        (lambda f: (f / "record").write_bytes(bytes(5)), "record has other bytes than were"),
        (lambda f: (f / "record").unlink(), "record is missing"),
        (lambda f: (f / "new").touch(), "new was not there when it was written"),
        (lambda f: (f / "new").symlink_to("nowhere"), "new cannot be read: No such file"),
        (lambda f: (f / NAME).unlink(), "it has no manifest.json"),
        (lambda f: (f / NAME).write_bytes(b""), "its manifest.json cannot be read"),
        (lambda f: (f / NAME).write_bytes(b"\xff"), "its manifest.json cannot be read"),
        (lambda f: (f / NAME).write_text("[]"), "its manifest.json cannot be read"),
        (lambda f: (f / NAME).write_text('{"record": "x"}'), "record has other bytes than were"),
    ],
    ids=range(11),
)
def test_every_change_is_told(folder, change, told):
    change(folder)
    assert told in damage(folder)


def test_no_byte_of_the_manifest_can_be_flipped(folder):
    content = (folder / NAME).read_bytes()
    for position in range(len(content)):
        for flipped in (content[position] ^ 0xFF, content[position] ^ 1):
            (folder / NAME).write_bytes(
                content[:position] + bytes([flipped]) + content[position + 1 :]
            )
            assert damage(folder), (position, flipped)


def test_the_disk_is_asked_to_keep_what_is_written_and_not_what_is_read(folder, monkeypatch):
    """Some file systems, such as those of images that are only read, cannot keep anything."""
    kept = set()
    monkeypatch.setattr(os, "fsync", lambda file: kept.add(os.fstat(file).st_ino))
    write_manifest(folder)
    assert kept == {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}

    def refuse(*_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    assert damage(folder) is None
    monkeypatch.setattr(manifest.hashlib, "file_digest", refuse)
    assert damage(folder) == f"{folder / 'record'} cannot be read: Invalid argument"
