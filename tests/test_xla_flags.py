"""What XLA is told: that it takes effect, and that it gives way."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import xla_flags
from cnn_jax.parallel import make_layout
from cnn_jax.xla_flags import FLAGS, Flag, compile_options

(SCHEDULER,) = (flag for flag in FLAGS if flag.name == "xla_cpu_scheduler_type")


@pytest.fixture(autouse=True)
def _no_flags_of_the_session(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")


def test_this_version_knows_the_rows_of_a_cpu():
    assert set(compile_options()) == {flag.name for flag in FLAGS if flag.backend == "cpu"}


def test_each_row_has_a_reason_and_a_backend():
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    for flag in FLAGS:
        assert flag.reason.endswith(".") and flag.backend in ("cpu", "gpu", "tpu")


@pytest.mark.parametrize("name", ["name", "formerly"])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_the_user_goes_first(monkeypatch, tmp_path, name, in_a_file):
    assert SCHEDULER.name in compile_options()
    told = f"--other=1 --{getattr(SCHEDULER, name)}=false"
    if in_a_file:
        (tmp_path / "flags").write_text(told)
        told = str(tmp_path / "flags")
    monkeypatch.setenv("XLA_FLAGS", told)
    assert SCHEDULER.name not in compile_options()


def test_what_xla_does_not_know_is_left_out(monkeypatch):
    unknown = Flag("xla_of_another_version", True, "cpu", "None.")
    wrong = dataclasses.replace(SCHEDULER, value="no such scheduler")
    monkeypatch.setattr(xla_flags, "FLAGS", (unknown, wrong))
    assert compile_options() == {}


def test_by_backend_and_number_of_devices(monkeypatch):
    one = dataclasses.replace(SCHEDULER, several_devices=True)
    monkeypatch.setattr(xla_flags, "FLAGS", (one,))
    assert compile_options() == {} and list(compile_options(devices=2)) == [SCHEDULER.name]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compile_options(devices=2) == {}


def _many_at_once(state, batch):
    """As early as they can, all products are there at once; one at a time they need not be."""
    products = [jnp.sin(state + index) @ batch for index in range(16)]
    return sum(product @ batch for product in products), {}


def test_a_step_takes_less_memory_and_computes_the_same():
    side = jnp.ones((128, 128)) / 128
    layout = make_layout(128)
    ours = layout.compile_step(_many_at_once).lower(side, side).compile()
    plain = jax.jit(_many_at_once).lower(side, side).compile()
    assert ours.memory_analysis().temp_size_in_bytes < plain.memory_analysis().temp_size_in_bytes
    np.testing.assert_array_equal(ours(jnp.copy(side), side)[0], plain(side, side)[0])
