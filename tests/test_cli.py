"""The command line as a user meets it: output, errors, exit codes."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cnn_jax import cli, models, rundir
from tests.conftest import process_environment, python, scans
from tests.data.test_idx import idx, write_folder

QUICK = ["--model", "mlp_512_256", "--epochs", "1", "--batch-size", "16"]


def command(*arguments, cwd, **environment):
    """Run `cnn-jax` in a fresh process."""
    return python("-m", "cnn_jax", *arguments, cwd=cwd, **environment)


def call(monkeypatch, *arguments) -> int:
    """Run `cnn-jax` in this process: the exit code."""
    monkeypatch.setattr(sys, "argv", ["cnn-jax", *map(str, arguments)])
    return cli.call(cli.cnn_jax)


def write_npz(path, *, count=60, **changes):
    images, labels = scans(count)
    np.savez(path, **{"x_train": images, "y_train": labels, **changes})
    return path


def without_colour(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


def test_training_evaluating_and_listing(tmp_path):
    data = write_npz(tmp_path / "scans.npz")
    done = command("train", "--data", data, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout  # no terminal, no control codes
    lines = done.stdout.splitlines()
    assert re.search(r"│ fc1/kernel +│ +64x512 │ +x 1 │ +0.01 │", done.stdout)
    first = next(k for k, line in enumerate(lines) if line.startswith("first loss"))
    assert re.fullmatch(r"first loss \d\.\d{4}; a uniform guess has 1\.0986", lines[first])
    assert re.fullmatch(
        r"epoch 1/1  train loss \d\.\d{4}, accuracy \d+\.\d\d %  validation loss \d\.\d{4}, "
        r"accuracy \d+\.\d\d %  [\d,]+ images/s",
        lines[first + 1],
    )
    assert re.search(r"test accuracy \d+\.\d\d % \(\d+ of 12 images\)", done.stdout)
    for file in ("learning_curves.png", "confusion_matrix.png", "predictions.png"):
        assert file in done.stdout
        assert (tmp_path / "runs" / "scans-mlp_512_256" / file).read_bytes()[:4] == b"\x89PNG"
    assert lines[-1] == "next: cnn-jax evaluate runs/scans-mlp_512_256"

    figures = re.search(r"test accuracy (\d+\.\d\d %) \((\d+) of", done.stdout)
    again = command("evaluate", "runs/scans-mlp_512_256", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"accuracy {figures[1]} ({figures[2]} of 12)" in again.stdout


def test_listing_models(monkeypatch, capsys):
    assert call(monkeypatch, "models", "lenet5*") == 0
    assert capsys.readouterr().out.split() == models.list_models("lenet5*")
    assert call(monkeypatch, "models", "lenet6") == cli.BAD_INPUT
    assert "did you mean 'lenet5'" in capsys.readouterr().err


def truncated_gz(tmp_path):
    folder = write_folder(tmp_path)
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    return folder


def truncated_idx(tmp_path):
    folder = write_folder(tmp_path, compressed=False)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-20])
    return folder


def unequal_counts(tmp_path):
    folder = write_folder(tmp_path, compressed=False)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(59, np.uint8)))
    return folder


def label_out_of_range(tmp_path):
    folder = write_folder(tmp_path, compressed=False)
    labels = (np.arange(30) % 3).astype(np.uint8)
    labels[4] = 9
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(labels))
    return folder


def empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def nan_pixels(tmp_path):
    images = scans(60)[0] / np.float32(255)
    images[3, 2, 1] = np.nan
    return write_npz(tmp_path / "scans.npz", x_train=images)


def small_images(tmp_path):
    images, labels = scans(60, size=4)
    return write_npz(tmp_path / "scans.npz", x_train=images, y_train=labels)


BAD_INPUT = {
    "unknown model": (None, ["--model", "lenet"], "`model` (='lenet') is not a known model: did"),
    "unknown dataset": (None, ["--data", "digit"], "is no dataset: did you mean 'digits'?"),
    "unknown TFDS name": (None, ["--data", "tfds:mnits"], "did you mean 'mnist'"),
    "missing folder": (None, ["--data", "no/such/folder"], "no/such/folder) does not exist"),
    "empty folder": (empty_folder, [], "is an empty folder: it must hold four IDX files"),
    "truncated gz": (truncated_gz, [], "is a truncated or damaged gzip file"),
    "truncated IDX": (truncated_idx, [], "is truncated: its header announces 3856 bytes"),
    "counts unlike": (unequal_counts, [], "has 60 images but 59 labels"),
    "label out of range": (
        label_out_of_range,
        [],
        "image 4 has label 9, and 0 more are so; labels",
    ),
    "NaN pixels": (nan_pixels, [], "1 of 60 images of the train split of"),
    "image too small": (
        small_images,
        ["--model", "simple_cnn"],
        "too small for `model` (=simple_cnn",
    ),
    "signals": (write_npz, ["--model", "cnn1d"], "`model` (=cnn1d) classifies signals, and scans"),
    "patches": (write_npz, ["--model", "vit_tiny_patch16"], "of 8x8 pixels must have sides that"),
    "batch too large": (
        write_npz,
        ["--batch-size", "61"],
        "must not exceed the 43 training images",
    ),
    "validation": (write_npz, ["--validation", "2.5"], "`validation` (=2.5) must be a fraction"),
    "learning rate": (
        write_npz,
        ["--learning-rate", "0"],
        "`learning_rate` (=0.0) must be positive",
    ),
    "momentum of adam": (
        write_npz,
        ["--optimizer", "adam", "--momentum", "0.5"],
        "`momentum` (=0.5) is not an option of adam: leave it out",
    ),
    "unknown option": (None, ["--epoch", "3"], "Did you mean one of: '--epochs'"),
    "workdir is a file": (write_npz, ["--workdir", "{data}"], "is a file: choose a directory"),
    "workdir of something else": (write_npz, ["--workdir", "{folder}"], "holds no recipe.json"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    """One sentence on stderr, exit code 2, and no file touched."""
    make, options, words = BAD_INPUT[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["train"]
    if make:
        path = tmp_path / "scans.npz" if make is write_npz else tmp_path
        data = make(path)
        arguments += ["--data", str(data), "--model", "mlp_512_256", "--batch-size", "8"]
        options = [option.format(data=data, folder=tmp_path) for option in options]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    code = call(monkeypatch, *arguments, *options)

    output = capsys.readouterr()
    assert code == cli.BAD_INPUT == 2
    assert words in output.err
    assert output.out == ""
    assert "Traceback" not in output.err
    if case != "unknown option":  # click adds a line of usage to its own
        assert output.err.startswith("error: ")
        assert output.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_another_recipe_s_directory_over_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = write_npz(tmp_path / "scans.npz")
    arguments = ["train", "--data", data, *QUICK, "--workdir", "run"]
    assert call(monkeypatch, *arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    capsys.readouterr()

    assert call(monkeypatch, *arguments) == 2
    assert "already holds a run of this recipe" in capsys.readouterr().err
    assert call(monkeypatch, *arguments, "--seed", "1") == 2
    error = capsys.readouterr().err
    assert "belongs to another recipe (seed: 0 there, 1 here)" in error
    assert "--overwrite" in error
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before

    assert call(monkeypatch, *arguments, "--resume") == 0
    assert call(monkeypatch, *arguments, "--seed", "1", "--overwrite") == 0


def test_no_traceback_in_a_process(tmp_path):
    done = command("train", "--data", "nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: `data`")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_saves_and_says_how_to_go_on(tmp_path, number):
    data = write_npz(tmp_path / "scans.npz")
    options = ["train", "--data", str(data), *QUICK, "--epochs", "5000", "--workdir", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cnn_jax", *options],
        cwd=tmp_path,
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not rundir.read_metrics(tmp_path / "run"):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == cli.SIGNALLED + number
    step = re.search(rf"stopped by {number.name}; step (\d+) is saved in run; to continue:", error)
    assert step
    assert "--epochs 5000 --workdir run --resume" in error
    assert "Traceback" not in error
    assert (tmp_path / "run" / "checkpoints" / step[1]).is_dir()


def on_a_terminal(arguments, cwd, **environment) -> str:
    """What a command writes to a terminal of 120 columns."""
    main, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cnn_jax", *map(str, arguments)],
        cwd=cwd,
        env=process_environment(TERM="xterm-256color", COLUMNS="120", LINES="40", **environment),
        stdout=secondary,
        stderr=secondary,
    )
    os.close(secondary)
    output = b""
    while True:
        ready, _, _ = select.select([main], [], [], 120)
        assert ready, "silent for two minutes"
        try:
            block = os.read(main, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not block:
            break
        output += block
    os.close(main)
    assert process.wait() == 0, output.decode()
    return output.decode()


@pytest.mark.parametrize("no_colour", [False, True])
def test_the_progress_bar(tmp_path, no_colour):
    data = write_npz(tmp_path / "scans.npz", count=400)
    environment = {"NO_COLOR": "1"} if no_colour else {}
    options = ["train", "--data", data, *QUICK, "--epochs", "12"]
    output = on_a_terminal(options, tmp_path, **environment)
    plain = without_colour(output)
    assert re.search(
        r"loss \d\.\d{4}  accuracy \d+\.\d\d %  [\d,]+ images/s .*\d+/216 steps .*left", plain
    )
    assert plain.count("epoch 12/12") == 1
    colours = re.findall(r"\x1b\[[0-9;]*3[0-9](?:;[0-9]+)*m", output)
    assert bool(colours) is not no_colour


def test_help_lists_every_command(monkeypatch, capsys):
    assert call(monkeypatch, "--help") == 0
    output = capsys.readouterr().out
    for name in ("train", "models", "summary", "evaluate", "predict"):
        assert re.search(rf"^  {name} ", output, re.MULTILINE)
