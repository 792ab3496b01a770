"""Every mode computes what one device does, in one process and in two."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from cnn_jax import parallel, processes
from cnn_jax.errors import InputError
from cnn_jax.layers.mapped import joined_over_devices
from cnn_jax.many_steps import many_steps
from experiments import equivalence, pmap_by_hand
from tests.conftest import ROOT, process_environment, python

# What each mode of eight devices takes, and two processes, whose other modes test_processes has.
STEPS = {"jit": 50, "fsdp": 50, "pmap": 50, "pmap_local_norm": 8}
ON_PAIR = {"jit": 50}


pytestmark = pytest.mark.long


def seen_together(mode):
    """What three steps in one dispatch see of the numbers of 3 x 16 images, and in which order."""
    layout = parallel.make_layout(16, mode)

    def step(taken, batch):
        return taken + 1, joined_over_devices({"seen": 100 * taken + batch["id"]})

    numbers = np.arange(48, dtype=np.int32).reshape(3, 16)
    own, parts = processes.own_part()
    batches = layout.place_batch({"id": np.split(numbers, parts, axis=1)[own]}, axis=1)
    taken, metrics = layout.compile_step(many_steps(step))(np.int32(0), batches)
    assert int(taken) == 3
    return np.asarray(metrics["seen"])


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """What each mode makes of 50 steps on eight devices, and pmap by hand of 30."""
    directory = tmp_path_factory.mktemp("eight")
    program = f"""
import sys, numpy as np, jax
from experiments import equivalence, pmap_by_hand
from tests.test_parallel import seen_together
assert jax.device_count() == 8
for mode, steps in {list(STEPS.items())}:
    found = equivalence.losses_of(mode, steps=steps)
    np.savez(f"{{sys.argv[1]}}/{{mode}}.npz", **found, together=seen_together(mode))
pmap_by_hand.STEPS, pmap_by_hand.BATCH_SIZE = 30, 32
np.save(f"{{sys.argv[1]}}/by_hand.npy", pmap_by_hand.main())
"""
    flags = "--xla_force_host_platform_device_count=8"
    done = python("-c", program, directory, cwd=ROOT, xla_flags=flags, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def on_pair(tmp_path_factory):
    """What two processes of four devices make of them, with the images of whole batches."""
    directory = tmp_path_factory.mktemp("pair")
    program = f"""
import sys, numpy as np
from cnn_jax import parallel
from cnn_jax.processes import join
from experiments import equivalence
from tests.test_parallel import seen_together
directory, port, number = sys.argv[1:]
join(coordinator=f"localhost:{{port}}", processes=2, process=int(number))
for mode, steps in {list(ON_PAIR.items())}:
    found = equivalence.losses_of(mode, steps=steps)
    np.savez(f"{{directory}}/{{mode}}-{{number}}.npz", **found)
for mode in parallel.MODES:
    np.save(f"{{directory}}/{{mode}}-{{number}}-together.npy", seen_together(mode))
"""
    port = equivalence.free_port()
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", program, directory, str(port), str(number)],
            env=process_environment(
                xla_flags="--xla_force_host_platform_device_count=4", JAX_PLATFORMS="cpu"
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for each in pair:
        errors = each.communicate(timeout=300)[1]
        assert each.returncode == 0, errors
    return directory


@pytest.fixture(scope="module")
def on_one():
    assert jax.device_count() == 1
    return equivalence.losses_of("jit", steps=50)


@pytest.mark.parametrize("mode", STEPS)
def test_eight_devices_compute_what_one_does(mode, on_eight, on_one):
    found = np.load(on_eight / f"{mode}.npz")
    np.testing.assert_array_equal(found["ids"], on_one["ids"][: STEPS[mode]])
    assert found["count"] == on_one["count"] == 1003
    differences = np.abs(found["losses"] / on_one["losses"][: STEPS[mode]] - 1)
    if mode == "pmap_local_norm":  # other statistics, other losses
        assert differences.min() > 1e-5
    else:
        assert differences.max() < 1e-5
        assert found["correct"] == on_one["correct"]
    if mode == "fsdp":
        assert found["largest"] < on_one["largest"] / 4
    else:
        assert found["largest"] == on_one["largest"]


@pytest.mark.parametrize("mode", parallel.MODES)
def test_steps_in_one_dispatch_see_their_own_batches(mode, on_eight, on_pair):
    expected = np.arange(48).reshape(3, 16) + 100 * np.arange(3)[:, None]
    np.testing.assert_array_equal(np.load(on_eight / f"{mode}.npz")["together"], expected)
    for number in range(2):
        found = np.load(on_pair / f"{mode}-{number}-together.npy")
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ON_PAIR)
def test_two_processes_compute_what_one_device_does(mode, on_pair, on_one):
    steps = ON_PAIR[mode]
    parts = [np.load(on_pair / f"{mode}-{number}.npz") for number in range(2)]
    ids = np.concatenate([part["ids"] for part in parts], axis=1)
    np.testing.assert_array_equal(ids, on_one["ids"][:steps])
    for part in parts:
        np.testing.assert_allclose(part["losses"], on_one["losses"][:steps], rtol=1e-5)
        assert part["count"] == on_one["count"] == 1003
        assert part["correct"] == on_one["correct"]
        assert (part["largest"] < on_one["largest"] / 4) == (mode == "fsdp")


def test_pmap_by_hand_computes_what_one_device_does(on_eight, monkeypatch):
    monkeypatch.setattr(pmap_by_hand, "STEPS", 30)
    monkeypatch.setattr(pmap_by_hand, "BATCH_SIZE", 32)
    alone = pmap_by_hand.main()
    np.testing.assert_allclose(np.load(on_eight / "by_hand.npy"), alone, rtol=1e-5)
    assert alone[-1] < 0.8 * alone[0]


def test_an_unknown_mode_is_told():
    words = r"`mode` \(='pmapp'\) is unknown: .*'pmap'"
    with pytest.raises(InputError, match=words):
        parallel.make_layout(8, "pmapp")
