"""The features of images, computed once by a network that does not change."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.data.bars import counting
from cnn_jax.data.batches import eval_batches
from cnn_jax.data.cache import cache_folder
from cnn_jax.data.source import Source
from cnn_jax.errors import InputError
from cnn_jax.models.heads import embed
from cnn_jax.recipe import describe
from cnn_jax.steps import to_float

_VERSION = 1


def embeddings(
    model: nn.Module,
    variables: dict,
    source: Source,
    *,
    preprocess: Callable[[jax.Array], jax.Array],
    batch_size: int = 64,
    keep: bool = False,
    cache_dir: str | Path | None = None,
) -> np.ndarray:
    """Compute what the head of a network classifies, of every image once, in order.

    Images are not augmented. What is kept in a file is found again for the same source, network,
    parameters and preprocessing, and made anew where the file is damaged.

    Args:
        model: the network.
        variables: its parameters and statistics.
        source: the images.
        preprocess: what follows the scaling to 0..1, as for `make_eval_step`: a normalisation.
        batch_size: images that the network looks at together.
        keep: whether to keep the features in a file, beside the caches of images.
        cache_dir: where, as for `cnn_jax.data.cache.cache_folder`.

    Returns:
        float32 [N, D].

    Raises:
        InputError: `batch_size` is below 1, or a feature is not finite.

    >>> from cnn_jax import create_model, data
    >>> source = data.load("digits").test
    >>> model = create_model("mlp", widths=(16,))
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, *source.image_shape)))
    >>> embeddings(model, variables, source, preprocess=lambda images: images).shape
    (360, 16)
    """
    if batch_size < 1:
        raise InputError(f"`batch_size` (={batch_size}) must be at least 1")
    path = None
    if keep:
        path = _place(model, variables, source, preprocess, cache_dir)
        kept = _read(path, len(source))
        if kept is not None:
            return kept

    features = _compute(model, variables, source, preprocess, batch_size)
    if not np.isfinite(features).all():
        raise InputError(
            f"features of image {np.argmin(np.isfinite(features).all(1))} are not finite: use "
            "other weights, or float32"
        )
    if path is not None:
        _write(path, features)
    return features


def _compute(
    model: nn.Module, variables: dict, source: Source, preprocess: Callable, batch_size: int
) -> np.ndarray:
    @jax.jit
    def features_of(variables, images):
        return embed(model, variables, preprocess(to_float(images))).astype(jnp.float32)

    features: np.ndarray | None = None
    waiting: list[tuple[int, int, jax.Array]] = []

    def take(start: int, count: int, block: jax.Array) -> None:
        nonlocal features
        if features is None:
            features = np.empty((len(source), block.shape[1]), np.float32)
        features[start : start + count] = block[:count]

    batch_size = min(batch_size, len(source))
    batches = eval_batches(source, batch_size=batch_size)
    with counting("features", len(source)) as advance:
        for start, batch in zip(range(0, len(source), batch_size), batches, strict=True):
            block = features_of(variables, batch["image"])
            waiting.append((start, int(batch["mask"].sum()), block))
            # The host reads the next batch while the device computes this one.
            if len(waiting) > 1:
                take(*waiting.pop(0))
            advance(waiting[-1][1])
        for entry in waiting:
            take(*entry)
    return features


def _place(
    model: nn.Module,
    variables: dict,
    source: Source,
    preprocess: Callable,
    cache_dir: str | Path | None,
) -> Path:
    """Name a file by all that features depend on."""
    digest = hashlib.blake2b(digest_size=16)
    network = {"version": _VERSION, "source": source.fingerprint, "model": describe(model)}
    digest.update(json.dumps(network, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(f"{jax.tree_util.keystr(path)}{leaf.shape}{leaf.dtype}".encode())
        digest.update(np.ascontiguousarray(leaf))
    # A function has no fingerprint, but what it makes of a few colours has.
    count = int(np.prod(source.image_shape))
    probe = jnp.linspace(0, 1, 3 * count).reshape(3, *source.image_shape)
    digest.update(np.ascontiguousarray(preprocess(probe)))
    return cache_folder(cache_dir) / f"features-{digest.hexdigest()}.npz"


def _read(path: Path, count: int) -> np.ndarray | None:
    """Read features; None where there are none, or not all as they were written."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            features = archive["features"]  # the archive has a checksum
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return features if features.dtype == np.float32 and len(features) == count else None


def _write(path: Path, features: np.ndarray) -> None:
    """Write features, whole or not at all; without room for them they are computed again."""
    temporary = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, features=features)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
