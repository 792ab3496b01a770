"""How many random cases a property is tried on.

50 by default, the same ones each time; CNN_JAX_CASES=2000 tries that many fresh ones:

    CNN_JAX_CASES=2000 python -m pytest tests/layers
"""

import os

import jax
import pytest
from hypothesis import HealthCheck, settings

_SLOW = {
    "deadline": None,  # compiling takes longer than any deadline that would find something
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("ci", max_examples=50, derandomize=True, database=None, **_SLOW)
settings.register_profile(
    "long", max_examples=int(os.environ.get("CNN_JAX_CASES", 2000)), print_blob=True, **_SLOW
)
# On import: the number of cases is read where a test is written down, not where it runs.
settings.load_profile("long" if "CNN_JAX_CASES" in os.environ else "ci")


@pytest.fixture(autouse=True)
def _forget_programs():
    """Drop the programs that random shapes have filled the cache with: thousands in a long run."""
    yield
    if "CNN_JAX_CASES" in os.environ:
        jax.clear_caches()
