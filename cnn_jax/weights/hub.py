"""Weights from the Hugging Face hub."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnn_jax.errors import InputError

PREFIX = "hf:"
_FILES = ("model.safetensors", "pytorch_model.bin")
_CONFIGURATION = "config.json"
_LOGGER = "huggingface_hub"


class _NotInCache(InputError):
    """The hub does not answer, and the cache has no copy."""


def download(repository: str) -> Path:
    """Fetch the weights of a repository, or find them in the cache.

    Args:
        repository: "OWNER/REPO".

    Returns:
        The path of `model.safetensors`, or of `pytorch_model.bin` where there is none.

    Raises:
        InputError: `huggingface_hub` is not installed, the hub cannot be reached and the cache
            has no copy, there is no such repository, or it has neither file.
    """
    for name in _FILES:
        path = _fetch(repository, name)
        if path is not None:
            return path
    raise InputError(
        f"{PREFIX}{repository} has neither {' nor '.join(_FILES)}: choose another repository"
    )


def configuration(repository: str) -> dict:
    """Read what a repository says of its weights: timm's `config.json`.

    Args:
        repository: "OWNER/REPO".

    Returns:
        The `pretrained_cfg`, with `input_size`, `mean`, `std`, `crop_pct` and `interpolation`, and
        the `architecture` beside it; empty where there is no such file, and, with a warning, where
        the hub cannot be reached and the cache has the weights alone.

    Raises:
        InputError: the repository cannot be fetched, as for `download`, or the file is no JSON
            object.
    """
    try:
        path = _fetch(repository, _CONFIGURATION)
    except _NotInCache:
        download(repository)  # raises where the weights are not there either
        warnings.warn(
            f"{_CONFIGURATION} of {PREFIX}{repository} cannot be fetched and is not in the cache: "
            "the usual is taken for what it says, until you connect to the network once or say how "
            "images are prepared (--mean, --std)",
            stacklevel=2,
        )
        return {}
    if path is None:
        return {}
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        # Until 2023 the fields stood beside the architecture.
        return {**whole, **whole.get("pretrained_cfg", {})}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{_CONFIGURATION} of {PREFIX}{repository} is not as timm writes it: download the "
            "weights, and say how images are prepared for them (--mean, --std)"
        ) from error


def _fetch(repository: str, name: str) -> Path | None:
    """Fetch a file, or find it in the cache; None where the repository has none of that name."""
    source = f"{PREFIX}{repository}"
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(f"`source` (={source!r}) must be {PREFIX}OWNER/REPO")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise InputError(
            f"`source` (={source!r}) needs the package huggingface_hub: "
            "run `pip install huggingface_hub`, or give the path of a downloaded file"
        ) from error
    try:
        with _quiet():
            return Path(hf_hub_download(repository, name))
    except LocalEntryNotFoundError as error:
        raise _NotInCache(
            f"{source} cannot be fetched and is not in the cache: connect to the network, or "
            "give the path of a downloaded file"
        ) from error
    except EntryNotFoundError:
        return None
    # Whatever the network library raises: it is none of our dependencies.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source} cannot be fetched ({reason}): check the name and the network"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from printing each attempt at a network that is not there."""
    logger = logging.getLogger(_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
