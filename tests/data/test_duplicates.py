"""Images that look the same, against comparing every pair."""

import numpy as np
from PIL import Image, ImageEnhance

from cnn_jax.data.duplicates import difference_hash, near_duplicates, thumbnail
from tests.data.images import encoded, picture


def thumbnails(*images) -> np.ndarray:
    return np.stack([thumbnail(Image.fromarray(image)) for image in images])


def test_the_hash_of_a_picture_written_out():
    rows = np.zeros((1, 8, 9), np.uint8)
    rows[0, 0] = [1, 2, 2, 3, 1, 9, 9, 8, 9]  # brighter to the right: 1, 0, 1, 0, 1, 0, 0, 1
    rows[0, 7, 8] = 1
    assert difference_hash(rows).tolist() == [0b10101001 << 56 | 1]


def test_what_is_changed_a_little_is_found():
    image = picture(1, size=(48, 64))
    brighter = np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(0.8))
    smaller = np.asarray(Image.fromarray(image).resize((40, 30), Image.Resampling.BICUBIC))
    grey = np.asarray(Image.fromarray(image).convert("L"))
    import io

    lossy = np.asarray(Image.open(io.BytesIO(encoded(image, "jpeg", quality=30))))
    others = [picture(k, size=(48, 64)) for k in range(2, 30)]
    found = near_duplicates(thumbnails(*others, image, brighter, smaller, grey, lossy))
    assert [group.tolist() for group in found] == [[28, 29, 30, 31, 32]]


def test_flat_images_are_alike_where_equally_bright():
    levels = [10, 11, 12, 60, 61, 200]
    found = near_duplicates(thumbnails(*[np.full((8, 8), level, np.uint8) for level in levels]))
    assert [group.tolist() for group in found] == [[0, 1, 2], [3, 4]]


def test_the_same_pairs_as_by_comparing_all(monkeypatch):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (60, 8, 9))
    noisy = [base + rng.normal(0, scale, base.shape) for scale in (1, 4, 8, 16)]
    grey = np.clip(np.concatenate([base, *noisy]), 0, 255).astype(np.uint8)
    hashes = difference_hash(grey)
    flat = grey.reshape(300, 72)
    for most, bits in ((1000, 7), (10, 3)):
        monkeypatch.setattr("cnn_jax.data.duplicates._MANY", most)
        apart = np.bitwise_count(hashes[:, None] ^ hashes[None])
        pairs = (apart <= bits) & (np.corrcoef(flat) >= 0.95)
        group_of = {k: set(group.tolist()) for group in near_duplicates(grey) for k in group}
        for k in range(300):
            reached, new = set(), {k}
            while new:
                reached |= new
                new = set(np.flatnonzero(pairs[list(new)].any(0)).tolist()) - reached
            assert reached == group_of.get(k, {k})
        assert len(group_of) > 150
