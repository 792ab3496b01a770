"""Several processes train one run; whatever happens to one of them, nothing is lost."""

import json
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest

from cnn_jax import Recipe, augment, create_model, load_data, optim, schedules
from cnn_jax.errors import InputError
from cnn_jax.processes import LOST, join
from cnn_jax.train import run
from experiments.equivalence import free_port
from tests.conftest import process_environment

# In each process: train, and at a step do something to oneself.
PROGRAM = """
import os, sys
from cnn_jax import journal, processes, train
from tests.test_processes import small_recipe
workdir, mode, count, number, port, at, sent, to = sys.argv[1:]
if int(count) > 1:
    processes.join(
        coordinator=f"localhost:{port}", processes=int(count), process=int(number)
    )
note = journal.Journal.note
def sending(self, step, metrics):
    note(self, step, metrics)
    if step == int(at) and number == to:
        self.settle()
        os.kill(os.getpid(), int(sent))
journal.Journal.note = sending
train.run(small_recipe(), workdir, resume=True, quiet=True, mode=mode)
"""


def small_recipe():
    """A run of 13 steps, equal to rounding on any devices."""
    return Recipe(
        model=create_model("simple_cnn", in_channels=1, widths=(8, 8, 16), hidden=32),
        data=load_data("digits", validation=0, test=1397),
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=partial(schedules.constant, learning_rate=0.01),
        augment=(augment.random_flip,),
        epochs=2,
        batch_size=64,
        checkpoint_every=2,
        log_every=1,
    )


def started(workdir, *, mode="jit", count=1, devices=8, at=0, sent=0, to=0):
    """Start the processes of a run; process `to` sends itself the signal `sent` at step `at`."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    port = free_port()
    return [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM),
                *map(str, (workdir, mode, count, number, port, at, int(sent), to)),
            ],
            env=process_environment(xla_flags=flags, JAX_PLATFORMS="cpu"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]


def records(workdir, key):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [line[key] for line in lines if "epoch" not in line]


@pytest.mark.long
def test_a_run_that_is_handed_on_and_loses_processes_is_the_undisturbed_one(tmp_path):
    """Each part goes on from the checkpoint of the one before; alone on one device is the truth."""
    workdir = tmp_path / "run"

    # One process: eight devices with the state split over them, and then one.
    for step, devices, mode in ((1, 8, "fsdp"), (3, 1, "jit")):
        (alone,) = started(workdir, devices=devices, mode=mode, at=step, sent=signal.SIGTERM)
        assert f"stopped by SIGTERM; step {step} is saved" in alone.communicate(timeout=200)[1]

    # Two processes of four: one is told to stop, and both do, after the same step.
    pair = started(workdir, count=2, devices=4, at=4, sent=signal.SIGTERM, to=1)
    for each in pair:
        assert "stopped by SIGTERM; step 6 is saved" in each.communicate(timeout=200)[1]
    assert records(workdir, "step") == [1, 2, 3, 4, 5, 6]

    # One is killed, and then the other, by which the rest meet.
    for lost, at, mode in ((1, 8, "pmap"), (0, 11, "fsdp")):
        pair = started(workdir, mode=mode, count=2, devices=4, at=at, sent=signal.SIGKILL, to=lost)
        pair[lost].communicate(timeout=200)
        assert pair[lost].returncode == -signal.SIGKILL
        began = time.monotonic()
        errors = pair[1 - lost].communicate(timeout=60)[1]
        assert time.monotonic() - began < 15
        assert pair[1 - lost].returncode in (LOST, -signal.SIGABRT)
        assert f"error: process {1 - lost} of 2 ends, having lost another" in errors
        assert "start all of them again and continue the run (--resume)" in errors

    for each in started(workdir, count=2, devices=4):
        errors = each.communicate(timeout=200)[1]
        assert each.returncode == 0, errors

    undisturbed = run(small_recipe(), tmp_path / "alone", quiet=True)
    assert records(workdir, "step") == list(range(1, 14))
    np.testing.assert_allclose(
        records(workdir, "loss"), records(tmp_path / "alone", "loss"), rtol=1e-5
    )
    result = json.loads((workdir / "result.json").read_text())
    matrix = undisturbed.figures["assessment"]["confusion_matrix"]
    assert result["assessment"]["confusion_matrix"] == matrix
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["12", "13"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"processes": 0}, r"`processes` \(=0\) must be a whole number of at least 1"),
        (
            {"processes": 2, "process": 2},
            r"`process` \(=2\) must be one of the 2 processes: from 0",
        ),
        ({"coordinator": "localhost"}, r"`coordinator` \(=localhost\) must be an address and a p"),
        (
            {"coordinator": "localhost:1234", "processes": 2, "process": 0},
            "`join` must be called before JAX computes anything: call it first",
        ),
    ],
)
def test_processes_that_cannot_meet_are_told(options, words):
    jax.devices()
    with pytest.raises(InputError, match=words):
        join(**options)


# In each process: what does not fit, and what the first alone finds out.
REFUSALS = """
import sys
from dataclasses import replace
from cnn_jax import processes, train
from cnn_jax.errors import InputError
from tests.test_processes import small_recipe
workdir, port, number = sys.argv[1:]
try:
    processes.join()
except InputError as error:
    print(error)
processes.join(coordinator=f"localhost:{port}", processes=2, process=int(number))
def fail(error):
    raise error
for attempt in (
    lambda: train.run(replace(small_recipe(), seed=int(number)), workdir),
    lambda: train.run(replace(small_recipe(), batch_size=60), workdir),
    lambda: processes.told_by_first(lambda: fail(InputError("bad in the first"))),
    lambda: processes.told_by_first(lambda: fail(OSError(28, "full", "/disk"))),
    lambda: processes.told_by_first(lambda: fail(KeyError("defect"))),
    lambda: processes.done_by_all(lambda: number == "0" or fail(InputError("bad in the second"))),
):
    try:
        attempt()
    except (InputError, OSError, KeyError, RuntimeError) as error:
        print(type(error).__name__, error)
print(processes.told_by_first(lambda: [processes.own_part(), None]))
"""


def test_what_does_not_fit_is_told_by_every_process(tmp_path):
    port = free_port()
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", REFUSALS, *map(str, (tmp_path / "run", port, number))],
            env=process_environment(
                xla_flags="--xla_force_host_platform_device_count=4", JAX_PLATFORMS="cpu"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for number, each in enumerate(pair):
        output, errors = each.communicate(timeout=200)
        assert each.returncode == 0, errors
        lines = [line for line in output.splitlines() if "Gloo" not in line]
        assert lines == [
            "`coordinator`, `processes` or `process` is missing (coordinator_address should be "
            "defined.): nothing in the environment says how the processes meet, so give all three",
            "InputError `recipe` differs between the processes (0 from 1): start all with the same "
            "command and the same files",
            "InputError `batch_size` (=60) must be divisible by the 8 devices of the 2 processes: "
            "choose 64",
            "InputError bad in the first",
            "OSError [Errno 28] full: '/disk'",
            "KeyError 'defect'" if number == 0 else "RuntimeError 'defect'",
            "InputError bad in the second"
            if number
            else "InputError `process` (=1) cannot begin, and says why: none does without it",
            "[[0, 2], None]",
        ]
