"""Images decoded as they are read, and batches made ahead."""

import threading

import numpy as np
import pytest
from PIL import Image

from cnn_jax import data
from cnn_jax.data import cache
from cnn_jax.data.batches import train_batch
from cnn_jax.data.decoding import decode
from cnn_jax.data.inspection import inspect_data
from cnn_jax.data.prefetch import prefetched
from cnn_jax.data.streamed_images import StreamedImages
from cnn_jax.errors import InputError
from tests.data.images import encoded, folder, picture, save, zipped


def whole(source) -> np.ndarray:
    return source.read(np.arange(len(source)))


@pytest.mark.parametrize("image_size", [None, 20])
@pytest.mark.parametrize("packed", [False, True])
def test_the_pixels_are_those_of_a_cache(tmp_path, image_size, packed):
    root = folder(tmp_path / "pets", {"cat": 9, "dog": 8}, ending=".jpg", size=(60, 90))
    path = zipped(root, tmp_path / "pets.zip") if packed else root
    options = {"image_size": image_size, "test": 4, "validation": 3}
    streamed, cached = (data.load(path, stream=stream, **options) for stream in (True, False))
    assert isinstance(streamed.train.source, StreamedImages)
    assert streamed.image_shape == cached.image_shape
    for split in ("train", "validation", "test"):
        one, other = getattr(streamed, split), getattr(cached, split)
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(whole(one), whole(other))
        # So a run goes on whichever of them there is room for.
        assert one.fingerprint == other.fingerprint
    batch = train_batch(streamed.train, 0, 1, batch_size=4)
    np.testing.assert_array_equal(batch["image"], streamed.train.read(batch["id"]))
    again = data.load(path, stream=True, **options)
    assert again.train.fingerprint == streamed.train.fingerprint


def test_streaming_needs_no_place_to_write(tmp_path):
    root = folder(tmp_path / "pets", {"cat": 9, "dog": 8})
    (tmp_path / "file").touch()
    loaded = data.load(root, stream=True, cache_dir=tmp_path / "file", test=4, validation=3)
    assert len(loaded.train) == 10


def test_what_cannot_be_decoded_is_known_beforehand(tmp_path):
    root = folder(tmp_path, {"cat": 9, "dog": 8}, size=(30, 40))
    save(root / "dog" / "long.png", np.zeros((2, 300, 3), np.uint8))
    (root / "cat" / "broken.jpg").write_bytes(encoded(picture(0), "jpeg")[:-40])
    messages = []
    for stream in (True, False):
        with pytest.raises(InputError, match=r"holds 2 files .*cat/broken\.jpg cannot") as caught:
            data.load(root, stream=stream, image_size=16)
        messages.append(str(caught.value))
        assert "longer side of 300x2 must be at most 100 times the shorter" in messages[-1]
        loaded = data.load(root, stream=stream, image_size=16, skip_bad=True, test=4, validation=3)
        assert sum(map(len, (loaded.train, loaded.validation, loaded.test))) == 17
    assert messages[0] == messages[1]


def test_the_shape_is_the_same_whatever_was_looked_at_before(tmp_path):
    """A damaged file of another size counts, be it by its header or by an inspection."""
    root = folder(tmp_path / "pets", {"cat": 9, "dog": 8}, ending=".jpg")
    (root / "cat" / "x.jpg").write_bytes(encoded(picture(0, size=(30, 20)), "jpeg")[:-40])
    options = {"skip_bad": True, "test": 4, "validation": 3}
    fresh = data.load(root, cache_dir=tmp_path / "fresh", **options)
    inspect_data(root)
    for stream in (False, True):
        loaded = data.load(root, stream=stream, **options)
        assert loaded.image_shape == fresh.image_shape == (224, 224, 3)


def test_a_file_that_breaks_later_is_named(tmp_path):
    root = folder(tmp_path, {"cat": 9, "dog": 8})
    loaded = data.load(root, stream=True, test=4, validation=3)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"\.png of .* is no image .*; it has changed since"):
        whole(loaded.train)


def test_a_cache_too_large_for_the_disk_is_not_begun(tmp_path, cache_folder, monkeypatch, capsys):
    root = folder(tmp_path, {"cat": 9, "dog": 8})
    usage = cache.shutil.disk_usage(tmp_path)
    needed = 17 * 8 * 10 * 3
    for free, kind in ((2 * needed - 2, StreamedImages), (2 * needed, cache.mmap.mmap)):
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage._replace(free=free))  # noqa: B023
        source = data.load(root, test=4, validation=3).train.source
        assert isinstance(source, kind) or isinstance(source.mapping, kind)
        said = (
            "would take 0.0 GB decoded, more than 50 % of what is free" in capsys.readouterr().err
        )
        assert said is (kind is StreamedImages)
    data.load(root, test=4, validation=3, stream=True)


def test_large_photographs_are_decoded_at_a_fraction(monkeypatch):
    """Nearly what decoding in full gives, and far fewer pixels."""
    pixels = picture(3, size=(600, 800))
    content = encoded(pixels, "jpeg", quality=95)
    sizes, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image,
        "resize",
        lambda self, *a, **k: sizes.append(self.size) or resize(self, *a, **k),
    )
    seen = decode(content, channels=3, size=(100, 100))
    assert sizes == [(200, 150)]
    full = Image.fromarray(pixels).resize((133, 100), Image.Resampling.BILINEAR)
    expected = np.asarray(full.crop((16, 0, 116, 100))).astype(int)
    assert abs(seen - expected).mean() < 1.5


def test_batches_come_in_order_and_ahead():
    made = []

    def make(step):
        made.append((step, threading.current_thread().name))
        return step

    batches = prefetched(make, range(10), ahead=3)
    assert next(batches) == 0
    while len(made) < 4:
        pass
    assert list(batches) == list(range(1, 10))
    assert [step for step, _ in made] == list(range(10))
    assert all(name.startswith("prefetch") for _, name in made)


def test_an_error_comes_with_its_batch_and_leaving_ends_the_thread():
    def make(step):
        return 1 // (3 - step)

    batches = prefetched(make, range(10), ahead=2)
    assert [next(batches) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)
    batches = prefetched(make, range(3))
    next(batches)
    batches.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("prefetch")]
