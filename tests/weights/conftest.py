"""Where the published weights are, for the tests that need them."""

from pathlib import Path

import pytest


@pytest.fixture
def shared_weights() -> Path:
    """The folder of published weights beside the repository; skips where there is none."""
    root = Path(__file__).parents[2]
    for folder in (root / "shared" / "weights", root.parent / "shared" / "weights"):
        if folder.is_dir():
            return folder
    pytest.skip("no folder shared/weights beside the repository")
