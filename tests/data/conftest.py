"""Caches of the tests go where their other files do."""

import pytest


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    """A folder of its own for each test's caches."""
    folder = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("CNN_JAX_CACHE", str(folder))
    return folder
