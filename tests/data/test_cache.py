"""The cache of decoded images: filled once, whatever happens, and never wrong."""

import errno
import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import data
from cnn_jax.data import blocks, cache, cached_images
from cnn_jax.data.cached_images import CachedImages
from cnn_jax.data.listing import list_files
from cnn_jax.errors import InputError
from tests.conftest import ROOT, python
from tests.data.images import folder, picture, save, zipped


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """30 images, cached in blocks of four."""
    monkeypatch.setattr(cache, "_BLOCK_IMAGES", 4)
    return folder(tmp_path / "pets", {"cat": 18, "dog": 12})


def fill(root, **options) -> CachedImages:
    listing = list_files(root)
    return CachedImages(
        *cache.fill_cache(listing, size=None, **options), listing.labels, listing.paths
    )


def whole(source) -> np.ndarray:
    return source.read(np.arange(len(source)))


def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names, make = [], blocks.block_writer

    def recording(target):
        write = make(target)
        return lambda task: names.extend(task[1]) or write(task)

    monkeypatch.setattr(cache, "block_writer", recording)
    return names


def test_images_are_decoded_once(pets, monkeypatch):
    names = decoded(monkeypatch)
    first = fill(pets)
    assert sorted(names) == list(list_files(pets).paths)
    names.clear()
    again = fill(pets)
    assert not names
    expected = np.stack([picture(k) for k in range(18)] + [picture(1000 + k) for k in range(12)])
    np.testing.assert_array_equal(whole(first), expected)
    np.testing.assert_array_equal(whole(again), expected)
    assert first.fingerprint == again.fingerprint
    np.testing.assert_array_equal(first.read(np.array([29, 3, 3])), expected[[29, 3, 3]])


def add(root):
    save(root / "cat" / "new.png", picture(77))


def remove(root):
    (root / "dog" / "0003.png").unlink()


def rewrite(root):
    save(root / "dog" / "0003.png", picture(78))


def rename(root):
    (root / "dog" / "0003.png").rename(root / "dog" / "0003b.png")


@pytest.mark.parametrize("change", [add, remove, rewrite, rename])
def test_changed_inputs_are_decoded_anew(pets, monkeypatch, change):
    before = fill(pets)
    pixels = whole(before)
    names = decoded(monkeypatch)
    change(pets)
    after = fill(pets)
    assert sorted(names) == list(list_files(pets).paths)
    assert len(after) == len(list_files(pets))
    assert after.fingerprint != before.fingerprint or change is rename
    np.testing.assert_array_equal(whole(before), pixels)  # a run that goes on keeps its images


def test_each_size_has_its_own_cache(pets, cache_folder):
    assert data.load(pets).image_shape == (8, 10, 3)
    assert data.load(pets, image_size=4).image_shape == (4, 4, 3)
    assert data.load(pets).image_shape == (8, 10, 3)
    assert len(list(cache_folder.iterdir())) == 2


KILLING = """
import os, random, signal, sys, time
import rich.console, rich.progress
from pathlib import Path
from cnn_jax.data import cache
from cnn_jax.data.listing import list_files

cache._BLOCK_IMAGES = 4
cache.say = lambda text: None
listing = list_files(Path(sys.argv[1]))

def build(where):
    child = os.fork()
    if not child:
        cache.fill_cache(listing, size=None, cache_dir=where)
        os._exit(0)
    return child

os.waitpid(build(sys.argv[2]), 0)

def size(name):
    try:
        return (place / name).stat().st_size
    except FileNotFoundError:
        return 0

random.seed(0)
unfinished = resumed = 0
place = cache.place_of(listing, None, sys.argv[3])
while unfinished < 20:
    child = build(sys.argv[3])
    # At a random point of the work, whatever else the machine does; and a little later.
    written = random.uniform(0, 30 * 150)
    while size(cache.JOURNAL) < written and not size(cache.INDEX):
        time.sleep(0.0002)
    time.sleep(random.uniform(0, 0.002))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if (place / cache.INDEX).exists():
        (place / cache.INDEX).unlink()
        (place / cache.PIXELS).unlink()
    else:
        unfinished += 1
        resumed += (place / cache.JOURNAL).exists()
os.waitpid(build(sys.argv[3]), 0)
print(unfinished, resumed)
"""


def test_twenty_kills_leave_no_trace(tmp_path):
    root = folder(tmp_path / "pets", {"cat": 70, "dog": 50})
    done = python("-c", KILLING, root, tmp_path / "whole", tmp_path / "killed", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    unfinished, resumed = map(int, done.stdout.split())
    assert unfinished == 20
    assert resumed >= 5
    (one,), (other,) = (list((tmp_path / name).iterdir()) for name in ("whole", "killed"))
    for name in (cache.PIXELS, cache.INDEX):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert {path.name for path in other.iterdir()} == {cache.PIXELS, cache.INDEX, cache.LOCK}


def stop_after(monkeypatch, count):
    """Have the decoding end, as by a kill, after some blocks."""
    share_out = cache.share_out

    def stopped(*arguments, **options):
        for number, result in enumerate(share_out(*arguments, **options)):
            if number == count:
                raise KeyboardInterrupt
            yield result

    monkeypatch.setattr(cache, "share_out", stopped)
    return lambda: monkeypatch.setattr(cache, "share_out", share_out)


def interrupted(pets, monkeypatch, cache_folder):
    go_on = stop_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        fill(pets)
    go_on()
    (place,) = cache_folder.iterdir()
    assert not (place / cache.INDEX).exists()
    return place


def test_what_is_written_is_not_decoded_again(pets, monkeypatch, cache_folder):
    place = interrupted(pets, monkeypatch, cache_folder)
    with (place / cache.JOURNAL).open("a") as journal:
        journal.write('{"start": 16, "checks')  # as a kill leaves a line
    names = decoded(monkeypatch)
    resumed = fill(pets)
    assert names == list(list_files(pets).paths)[16:]
    np.testing.assert_array_equal(whole(resumed)[:18], [picture(k) for k in range(18)])


def test_what_the_disk_has_lost_is_decoded_again(pets, monkeypatch, cache_folder):
    place = interrupted(pets, monkeypatch, cache_folder)
    with (place / cache.PIXELS).open("r+b") as file:
        file.seek(5 * 240)
        file.write(bytes(240))
    names = decoded(monkeypatch)
    resumed = fill(pets)
    paths = list(list_files(pets).paths)
    assert names == paths[4:8] + paths[16:]
    np.testing.assert_array_equal(whole(resumed)[:18], [picture(k) for k in range(18)])


def test_work_on_files_that_have_changed_since_is_not_gone_on_with(pets, monkeypatch, cache_folder):
    interrupted(pets, monkeypatch, cache_folder)
    rewrite(pets)
    names = decoded(monkeypatch)
    fill(pets)
    assert names == list(list_files(pets).paths)


def flip_a_bit(place):
    with (place / cache.PIXELS).open("r+b") as file:
        file.seek(7 * 240 + 3)
        byte = file.read(1)[0]
        file.seek(7 * 240 + 3)
        file.write(bytes([byte ^ 1]))


def cut(place):
    os.truncate(place / cache.PIXELS, 100)


def garble(place):
    (place / cache.INDEX).write_text("{")


def shorten(place):
    record = json.loads((place / cache.INDEX).read_text())
    record["contents"] = record["contents"][:-16]
    (place / cache.INDEX).write_text(json.dumps(record))


@pytest.mark.parametrize("damage", [flip_a_bit, cut, garble, shorten])
def test_a_damaged_cache_is_made_anew(pets, cache_folder, damage):
    pixels = whole(fill(pets))
    (place,) = cache_folder.iterdir()
    damage(place)
    np.testing.assert_array_equal(whole(fill(pets)), pixels)


def test_damage_of_a_large_cache_is_told_when_it_is_read(pets, cache_folder, monkeypatch):
    monkeypatch.setattr("cnn_jax.data.cache.VERIFIED_AT_ONCE", 0)
    monkeypatch.setattr("cnn_jax.data.cached_images.VERIFIED_AT_ONCE", 0)
    fill(pets)
    (place,) = cache_folder.iterdir()
    flip_a_bit(place)
    images = fill(pets)
    for _ in range(2):
        images.read(np.array([6, 8]))
    with pytest.raises(InputError, match="image 7 of the cache and 0 more have changed since"):
        images.read(np.array([6, 7]))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="no /proc, as on Linux")
def test_what_was_read_does_not_stay_in_memory(tmp_path, cache_folder, monkeypatch):
    """8 MB of images are read, of which the process keeps less than 4."""
    monkeypatch.setattr(cached_images, "_MOST_MAPPED", 1 << 20)
    monkeypatch.setattr(cached_images, "_LOOK_SECONDS", 0.0)
    images = fill(folder(tmp_path, {"a": 20, "b": 20}, size=(256, 256)))
    for index in np.random.default_rng(0).permutation(40):
        images.read(np.array([index]))
    lines = Path("/proc/self/smaps").read_text().splitlines()
    (start,) = (k for k, line in enumerate(lines) if str(cache_folder) in line)
    (resident,) = (line for line in lines[start : start + 6] if line.startswith("Rss:"))
    assert int(resident.split()[1]) < 4000


def no_space(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_told_at_once_and_nothing_is_left(pets, cache_folder, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", no_space)
        names = decoded(full)
        with pytest.raises(
            InputError, match=r"cannot be written \(No space left on device; [\d,]+ "
        ):
            data.load(pets)
        assert not names
    (place,) = cache_folder.iterdir()
    assert [path.name for path in place.iterdir()] == [cache.LOCK]
    assert len(fill(pets)) == 30


@pytest.mark.parametrize("module", [blocks, cache])
def test_a_disk_that_fills_up_leaves_no_half_cache(pets, cache_folder, monkeypatch, module):
    """On file systems where space cannot be taken beforehand; in the middle, or at the end."""

    def not_supported(*arguments):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", not_supported)
        calls, write_all = [], blocks.write_all

        def write(*arguments):
            calls.append(arguments)
            (no_space if len(calls) == (3 if module is blocks else 1) else write_all)(*arguments)

        full.setattr(module, "write_all", write)
        with pytest.raises(InputError, match="No space left on device"):
            fill(pets)
    (place,) = cache_folder.iterdir()
    assert [path.name for path in place.iterdir()] == [cache.LOCK]
    np.testing.assert_array_equal(whole(fill(pets))[0], picture(0))


def test_a_folder_that_is_no_folder(pets, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"another folder \(`cache_dir`, or the variable CNN_JAX"):
        data.load(pets, cache_dir=tmp_path / "file")


def test_an_archive_that_vanishes(pets, tmp_path, monkeypatch):
    archive = zipped(pets, tmp_path / "pets.zip")
    listing = list_files(archive)
    archive.unlink()
    with pytest.raises(InputError, match=r"`data` \(=.*pets\.zip\) cannot be read: No such file"):
        cache.fill_cache(listing, size=None)


AT_ONCE = """
import os, sys
import rich.console, rich.progress
from pathlib import Path
from cnn_jax.data import cache
from cnn_jax.data.listing import list_files
import numpy as np

cache._BLOCK_IMAGES = 4
listing = list_files(Path(sys.argv[1]))
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        mapping, index = cache.fill_cache(listing, size=None, cache_dir=sys.argv[2])
        os._exit(0 if np.frombuffer(mapping, np.uint8).all() else 1)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


def test_of_several_processes_one_fills_the_cache(tmp_path):
    root = tmp_path / "grey"
    for number in range(60):
        save(root / "ab"[number % 2] / f"{number}.png", np.full((8, 8, 3), 1 + number, np.uint8))
    done = python("-c", AT_ONCE, root, tmp_path / "cache", cwd=ROOT)
    assert done.stdout.strip() == "[0, 0, 0, 0]", done.stderr
    assert done.stderr.count("images of grey decoded") == 1


def test_a_lock_waits_for_its_holder(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    from cnn_jax.locks import locked

    seen = []

    def wait(shared):
        with locked(tmp_path / "lock", shared=shared, waiting=lambda: seen.append("waits")):
            seen.append("has it")

    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / "lock"):
            waiter = pool.submit(wait, shared=True)
            while not seen:
                time.sleep(0.001)
            seen.append("lifts it")
        waiter.result()
        assert seen == ["waits", "lifts it", "has it"]
        with locked(tmp_path / "lock", shared=True):
            pool.submit(wait, shared=True).result()
        assert seen[3:] == ["has it"]
