"""The launch scripts: they are sound shell, and that of two processes trains."""

import os
import subprocess
import sys

import pytest

from experiments.equivalence import free_port
from tests.conftest import ROOT, process_environment

SCRIPTS = sorted((ROOT / "experiments" / "launch").glob("*.sh"))


@pytest.fixture
def launched(tmp_path):
    """Runs a script, with a `cnn-jax` of this checkout on the path."""
    program = tmp_path / "bin" / "cnn-jax"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cnn_jax "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"

    def launch(script, *arguments):
        return subprocess.run(
            ["sh", ROOT / "experiments" / "launch" / script, *map(str, arguments)],
            env=process_environment(PATH=path, PORT=str(free_port()), JAX_PLATFORMS="cpu"),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return launch


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_are_sound_shell(script):
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0


def test_two_processes_train_one_run(launched, tmp_path):
    options = ["--data", "digits", "--model", "mlp", "--epochs", 1, "--workdir", tmp_path / "run"]
    done = launched("two_processes.sh", "train", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    assert (tmp_path / "run" / "result.json").exists()


def test_both_end_with_what_is_wrong(launched, tmp_path):
    options = ["--data", tmp_path / "nowhere", "--workdir", tmp_path / "run"]
    done = launched("two_processes.sh", "train", *options)
    assert done.returncode == 2
    assert "error: " in done.stderr and "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_two_gpus_are_one_process(launched):
    done = launched("two_gpus.sh", "models", "resnet1?")
    assert done.stdout.split() == ["resnet18"]
