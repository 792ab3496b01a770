"""What the package adds to the time of importing JAX and Flax."""

from tests.conftest import ROOT, python

_PROGRAM = """
import sys, time
import jax, flax.linen
start = time.process_time()
import cnn_jax
cnn_jax.create_model, cnn_jax.list_models
print(time.process_time() - start)
cnn_jax.load_data("digits")
assert "sklearn" not in sys.modules
"""


def test_importing_the_package_and_its_models_takes_less_than_half_a_second():
    """Of CPU time, so that what else the machine does is left out; 0.1 s when this was written."""
    done = python("-c", _PROGRAM, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.5


def test_what_draws_is_imported_only_to_draw():
    """Matplotlib takes as long to import as JAX; every process of a run would wait for it."""
    program = "import sys, cnn_jax.train; print({'matplotlib', 'scipy.special'} & {*sys.modules})"
    done = python("-c", program, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "set()\n"
