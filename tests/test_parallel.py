"""Every mode computes what one device does, and continues what another has begun."""

import json
import signal

import jax
import numpy as np
import pytest

from cnn_jax import parallel
from cnn_jax.errors import InputError
from cnn_jax.train import run
from experiments import equivalence, pmap_by_hand
from tests.conftest import ROOT, python

MODES = ("jit", "fsdp", "pmap", "pmap_local_norm")


@pytest.fixture(scope="module")
def on_eight(tmp_path_factory):
    """What each mode makes of 50 steps on eight devices, and pmap by hand of 30."""
    directory = tmp_path_factory.mktemp("eight")
    program = f"""
import sys, numpy as np, jax
from experiments import equivalence, pmap_by_hand
assert jax.device_count() == 8
for mode in {MODES}:
    np.savez(f"{{sys.argv[1]}}/{{mode}}.npz", **equivalence.losses_of(mode, steps=50))
pmap_by_hand.STEPS = 30
np.save(f"{{sys.argv[1]}}/by_hand.npy", pmap_by_hand.main())
"""
    flags = "--xla_force_host_platform_device_count=8"
    done = python("-c", program, directory, cwd=ROOT, xla_flags=flags, JAX_PLATFORMS="cpu")
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture(scope="module")
def on_one():
    assert jax.device_count() == 1
    return equivalence.losses_of("jit", steps=50)


@pytest.mark.parametrize("mode", MODES)
def test_eight_devices_compute_what_one_does(mode, on_eight, on_one):
    found = np.load(on_eight / f"{mode}.npz")
    np.testing.assert_array_equal(found["ids"], on_one["ids"])
    assert found["count"] == on_one["count"] == 1003
    differences = np.abs(found["losses"] / on_one["losses"] - 1)
    if mode == "pmap_local_norm":  # other statistics, other losses
        assert differences.min() > 1e-5
    else:
        assert differences.max() < 1e-5
        assert found["correct"] == on_one["correct"]
    if mode == "fsdp":
        assert found["largest"] < on_one["largest"] / 4
    else:
        assert found["largest"] == on_one["largest"]


def test_pmap_by_hand_computes_what_one_device_does(on_eight, monkeypatch):
    monkeypatch.setattr(pmap_by_hand, "STEPS", 30)
    alone = pmap_by_hand.main()
    np.testing.assert_allclose(np.load(on_eight / "by_hand.npy"), alone, rtol=1e-5)
    assert alone[-1] < 0.8 * alone[0]


ELASTIC = """
import os, signal, sys
from cnn_jax import journal, train
from tests.test_parallel import elastic_recipe
note = journal.Journal.note
def stop_at_4(self, step, metrics):
    note(self, step, metrics)
    if step == 4:
        os.kill(os.getpid(), signal.SIGTERM)
journal.Journal.note = stop_at_4
train.run(elastic_recipe(), sys.argv[1], quiet=True, mode=sys.argv[2])
"""


def elastic_recipe():
    from functools import partial

    from cnn_jax import Recipe, augment, create_model, load_data, optim, schedules

    return Recipe(
        model=create_model(
            "three_block_cnn", num_classes=10, in_channels=1, widths=(8, 8, 16), hidden=32
        ),
        data=load_data("digits", validation=0, test=1400),
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.constant, learning_rate=0.01),
        augment=(augment.random_flip,),
        epochs=1,
        batch_size=64,
        log_every=1,
    )


@pytest.mark.parametrize("mode", ["fsdp", "pmap"])
def test_a_run_of_eight_devices_is_continued_by_one(mode, tmp_path):
    """Stopped after 4 of 7 steps on eight devices; the whole run alone is the truth."""
    done = python(
        "-c",
        ELASTIC,
        tmp_path / "run",
        mode,
        cwd=ROOT,
        xla_flags="--xla_force_host_platform_device_count=8",
        JAX_PLATFORMS="cpu",
    )
    assert "Interrupted" in done.stderr, done.stderr
    assert signal.SIGTERM.name in done.stderr
    continued = run(elastic_recipe(), tmp_path / "run", resume=True, quiet=True)
    alone = run(elastic_recipe(), tmp_path / "alone", quiet=True)
    assert continued.figures["step"] == alone.figures["step"] == 7

    def losses(workdir):
        lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
        return [line["loss"] for line in lines if "epoch" not in line]

    assert len(losses(tmp_path / "alone")) == 7
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(tmp_path / "alone"), rtol=1e-5)
    assert continued.test.tally.correct == alone.test.tally.correct


def test_an_unknown_mode_is_told():
    words = r"`mode` \(='pmapp'\) is unknown: .*'pmap'"
    with pytest.raises(InputError, match=words):
        parallel.make_layout(8, "pmapp")
