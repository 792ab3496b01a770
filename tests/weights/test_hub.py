"""hf:OWNER/REPO, with the hub's library absent, offline, or answering."""

import logging
import sys
import types

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.weights import hub, load_weights
from tests.weights.random_weights import differing, small_model, small_state


class _EntryNotFound(Exception):
    pass


class _LocalEntryNotFound(_EntryNotFound):
    pass


@pytest.fixture
def answer(monkeypatch):
    """Puts a library in the place of huggingface_hub that answers with a function."""

    def install(function):
        library = types.ModuleType("huggingface_hub")
        library.hf_hub_download = function
        errors = types.ModuleType("huggingface_hub.errors")
        errors.EntryNotFoundError = _EntryNotFound
        errors.LocalEntryNotFoundError = _LocalEntryNotFound
        monkeypatch.setitem(sys.modules, "huggingface_hub", library)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    return install


@pytest.mark.parametrize("there", ["model.safetensors", "pytorch_model.bin"])
def test_the_file_of_a_repository(answer, tmp_path, there):
    np.savez(tmp_path / "w.npz", **small_state())
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        if name != there:
            raise _EntryNotFound
        return str(tmp_path / "w.npz")

    answer(download)
    variables = load_weights(small_model(), "hf:timm/lenet5.a1")
    assert differing(variables, load_weights(small_model(), tmp_path / "w.npz")) == []
    assert asked[0] == ("timm/lenet5.a1", "model.safetensors") and asked[-1][1] == there


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_LocalEntryNotFound("offline"), "cannot be fetched and is not in the cache"),
        (_EntryNotFound("404"), r"neither model\.safetensors nor pytorch_model\.bin"),
        (
            RuntimeError("Repository Not Found\nfor url"),
            r"\(Repository Not Found\): check the name",
        ),
    ],
)
def test_what_goes_wrong(answer, error, words):
    def download(repository, name):
        raise error

    answer(download)
    with pytest.raises(InputError, match=words):
        hub.download("timm/none")


def test_attempts_at_the_network_are_not_printed(answer, caplog):
    """The library warns of each on its logger, and one sentence is enough."""

    def download(repository, name):
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
        raise _LocalEntryNotFound

    answer(download)
    with pytest.raises(InputError, match="cannot be fetched"):
        hub.download("timm/none")
    assert not caplog.records
    logging.getLogger("huggingface_hub.utils").warning("another's")
    assert [record.message for record in caplog.records] == ["another's"]


@pytest.mark.parametrize("source", ["hf:resnet50", "hf:", "hf:a/b/c", "hf:/b"])
def test_the_name_of_a_repository(source):
    with pytest.raises(InputError, match="must be hf:OWNER/REPO"):
        load_weights(small_model(), source)


def test_the_library_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        load_weights(small_model(), "hf:timm/resnet50.a1_in1k")


def test_the_real_library_offline(monkeypatch, tmp_path):
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"hf:timm/none cannot be fetched"):
        hub.download("timm/none")
