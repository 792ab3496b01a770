"""A run that cannot be broken: killed, damaged, signalled, met by another, or out of space."""

import json
import shutil
import signal
import subprocess
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from cnn_jax import data, journal, rundir, schedules, train
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.errors import InputError
from cnn_jax.interrupts import Interrupted
from cnn_jax.locks import locked
from cnn_jax.train import make_engine, run
from cnn_jax.trained import load_run
from experiments import kill_runs
from tests.conftest import ROOT, python


def metrics_of(workdir):
    """The metrics file but for the times."""
    times = ("seconds", "images_per_second")
    return [
        {name: value for name, value in record.items() if name not in times}
        for record in rundir.read_metrics(workdir)
    ]


def flip(path):
    """Flip the last bit of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.long
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    """Four kills: at the start, twice in the training, at the end. All arrays, all records."""
    program = ROOT / "experiments" / "kill_runs.py"
    arguments = ("--kills", 4, "--epochs", 3, "--workdir", tmp_path)
    done = python("-W", "ignore", program, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal to the bit" in done.stdout
    assert "training" in done.stdout

    recipe = kill_runs.make_recipe(data.load("digits"), epochs=3)
    fresh, states, records = make_engine(recipe).fresh_state(), [], []
    for workdir in (tmp_path / "straight", tmp_path / "killed"):
        checkpoints = Checkpoints(workdir / "checkpoints")
        state, record = checkpoints.restore(checkpoints.latest_step, fresh)
        states.append(state.replace(key=jax.random.key_data(state.key)))
        records.append({name: value for name, value in record.items() if name != "seconds"})
    chex.assert_trees_all_equal(*states)
    assert records[0] == records[1]
    assert records[0]["plateau"]["scale"] == pytest.approx(0.9**2)
    assert records[0]["stopping"]["waited"] == 2
    assert states[0].loss_scale.scale < 2**16  # it has overflown
    metrics = metrics_of(tmp_path / "killed")
    assert metrics == metrics_of(tmp_path / "straight")
    steps = [record["step"] for record in metrics if "epoch" not in record]
    assert steps == list(range(1, 123))  # 3 x 1293 / 32 = 121.2, so 122 steps
    assert [record["epoch"] for record in metrics if "epoch" in record] == [1, 2, 3]


def test_a_run_goes_on_from_the_step_before_a_damaged_one(recipe, tmp_path, capsys):
    workdir, folder = tmp_path / "run", tmp_path / "run" / "checkpoints"
    first = run(recipe, workdir, quiet=True)
    metrics = metrics_of(workdir)
    flip(max((folder / "12" / "state" / "d").iterdir()))
    with pytest.raises(InputError, match=r"step 12 in .* is damaged \(state/d/.*--resume"):
        load_run(workdir)
    again = run(recipe, workdir, resume=True)
    said = capsys.readouterr().out
    assert "the checkpoint of step 12 is damaged (state/d/" in said
    assert f"): it is now {folder}/damaged/12" in said
    assert "resuming at step 6 of 12" in said
    assert metrics_of(workdir) == metrics
    jax.tree.map(np.testing.assert_array_equal, first.state.params, again.state.params)
    assert again.figures["best"] == first.figures["best"]
    assert {path.name for path in folder.iterdir()} == {"6", "12", "damaged"}
    assert load_run(workdir).step == first.figures["step"]

    for step in ("6", "12"):
        (folder / step / "manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    with pytest.raises(InputError, match=rf"every checkpoint in {folder} is damaged"):
        run(recipe, workdir, resume=True, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_where_the_best_is_damaged_it_is_the_best_of_those_left(recipe, tmp_path, capsys):
    rising = partial(schedules.linear, learning_rate=0.1, end=100.0)
    recipe = replace(recipe, epochs=6, schedule=rising, monitor="train_loss")
    workdir, folder = tmp_path / "run", tmp_path / "run" / "checkpoints"
    first = run(recipe, workdir, quiet=True)
    best, last = first.figures["step"], first.figures["total_steps"]
    assert best != last
    shutil.rmtree(folder / str(best) / "record")
    again = run(recipe, workdir, resume=True)
    left = {
        record["step"]: record["train_loss"]
        for record in first.history
        if (folder / str(record["step"])).is_dir()
    }
    expected = min(left, key=left.get)
    assert best not in left
    assert last in left
    said = capsys.readouterr().out
    assert f"of those left the best is step {expected}" in said
    assert (again.figures["step"], again.figures["best"]) == (expected, left[expected])


def test_no_more_than_some_minutes_without_a_checkpoint(recipe, tmp_path, monkeypatch):
    """By a clock that a step takes 20 seconds of: after three steps, and after each epoch."""
    clock, saved, save, note = [0.0], [], Checkpoints.save, journal.Journal.note
    timed = replace(recipe, checkpoint_minutes=1)

    def slow_note(self, step, metrics):
        clock[0] += 20
        note(self, step, metrics)

    def noted_save(self, state, *args, **options):
        saved.append(int(state.step))
        save(self, state, *args, **options)

    monkeypatch.setattr(journal.Journal, "note", slow_note)
    monkeypatch.setattr(Checkpoints, "save", noted_save)
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    run(timed, tmp_path / "run", quiet=True)
    assert saved == [3, 6, 9, 12]
    with pytest.raises(InputError, match=r"`checkpoint_minutes` \(=0\) must be"):
        run(replace(recipe, checkpoint_minutes=0), tmp_path / "other", quiet=True)


def test_two_runs_never_share_a_directory(recipe, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with locked(workdir / "lock"):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(InputError) as refused:
                run(recipe, workdir, quiet=True, **options)
            assert str(refused.value) == (
                f"`workdir` (={workdir}) is in use by another process, which trains there: wait "
                "for it, stop it, or choose another directory"
            )
    assert [path.name for path in workdir.iterdir()] == ["lock"]


@pytest.mark.parametrize("during", ["note", "record", "end_epoch"])
def test_a_signal_is_obeyed_within_two_steps_and_a_save(recipe, tmp_path, monkeypatch, during):
    """Whether it comes in a step, in a save, or in an evaluation."""
    original, counted = getattr(journal.Journal, during), {"step": 0, "signal": None, "saves": 0}
    note, save = journal.Journal.note, Checkpoints.save

    def counting_note(self, step, metrics):
        counted["step"] = step
        note(self, step, metrics)

    def counting_save(self, *args, **options):
        counted["saves"] += counted["signal"] is not None
        save(self, *args, **options)

    def signalling(self, *args):
        result = counting_note(self, *args) if during == "note" else original(self, *args)
        if counted["signal"] is None and counted["step"] >= 5:
            counted["signal"] = counted["step"]
            signal.raise_signal(signal.SIGTERM)
        return result

    monkeypatch.setattr(journal.Journal, "note", counting_note)
    monkeypatch.setattr(journal.Journal, during, signalling)
    monkeypatch.setattr(Checkpoints, "save", counting_save)
    with pytest.raises(Interrupted) as stopped:
        run(replace(recipe, checkpoint_every=5), tmp_path / "run", quiet=True)
    assert stopped.value.step == counted["step"] <= counted["signal"] + 2
    assert counted["saves"] <= 2  # the one that was about to begin, and the last
    assert Checkpoints(tmp_path / "run" / "checkpoints").latest_step == counted["step"]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk of its own cannot be mounted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


FILLED = """
import sys
from functools import partial
from pathlib import Path
from cnn_jax import data, journal, models, optim
from cnn_jax.recipe import Recipe
from cnn_jax.train_command import train_or_exit
from tests.conftest import scans

straight, workdir = map(Path, sys.argv[1:])
ballast, noted = workdir.parent / "ballast", journal.Journal.note
recipe = Recipe(
    model=models.create_model("mlp", num_classes=3, widths=(16,)),
    data=data.make_dataset(
        data.array_source(*scans(100), name="a"), data.array_source(*scans(37, seed=1), name="b"),
        validation=10,
    ),
    optimizer=partial(optim.sgd, momentum=0.9), epochs=2, batch_size=16, log_every=2,
)

def note_and_fill(self, step, metrics):
    noted(self, step, metrics)
    if step == 8:  # the checkpoint of step 6 is on its way, if not there
        while not (workdir / "checkpoints" / "6").exists():
            pass
        try:
            with ballast.open("wb", 0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError:
            pass

train_or_exit(recipe, straight, resume=False, overwrite=False)
journal.Journal.note = note_and_fill
try:
    train_or_exit(recipe, workdir, resume=False, overwrite=False)
except SystemExit as left:
    kept = [path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    print("left with", left.code, "and", *kept)
journal.Journal.note = noted
ballast.unlink()
train_or_exit(recipe, workdir, resume=True, overwrite=False)
"""


def test_a_full_disk_ends_the_run_and_keeps_its_checkpoints(tmp_path, small_disk):
    """In a process of its own: from a full disk, Orbax's threads end with exceptions of theirs."""
    straight, workdir = tmp_path / "straight", small_disk / "run"
    done = python("-c", FILLED, straight, workdir, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "left with 4 and 6\n" in done.stdout
    assert "resuming at step 6 of 12" in done.stdout
    assert f"error: the disk of {workdir} is full (" in done.stderr
    assert "make room, and continue the run (--resume) from its latest" in done.stderr
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {"6", "12"}
    assert metrics_of(workdir) == metrics_of(straight)
    results = [json.loads((path / "result.json").read_text()) for path in (straight, workdir)]
    assert results[0]["test_loss"] == results[1]["test_loss"]
    assert "cnn_jax/" not in done.stderr  # no traceback of ours beside theirs
