"""What a run's time goes to: every moment is counted once."""

import json
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.bench.whole_run import shares
from tests.conftest import ROOT, python

PHASES = ("imports", "data", "steps", "compilation", "checkpoints", "pictures", "report", "rest")


@st.composite
def nested(draw, begin=0, end=100, depth=3):
    """Intervals within each other or apart."""
    cuts = sorted(draw(st.lists(st.integers(begin, end), max_size=6)))
    intervals = []
    for first, last in zip(cuts[::2], cuts[1::2], strict=False):
        intervals.append((draw(st.sampled_from("abc")), first, last))
        if depth and last - first > 1:
            intervals += draw(nested(first, last, depth - 1))
    return draw(st.permutations(intervals))


@settings(max_examples=50)
@given(nested())
def test_each_moment_is_the_innermost_phase_s(intervals):
    found = shares(intervals, began=0, ended=100)
    owners = []
    for moment in range(100):  # of those around it, the shortest
        around = [(end - begin, name) for name, begin, end in intervals if begin <= moment < end]
        owners.append(min(around, key=lambda each: each[0])[1] if around else "rest")
        same = {name for length, name in around if length == min(around)[0]}
        if len(same) > 1:  # two of one length: either is within the other
            return
    assert sum(found.values()) == 100
    for name in "abc":
        assert found.get(name, 0) == owners.count(name)


def test_of_a_command_they_add_up(tmp_path):
    options = ("--data", "digits", "--model", "mlp", "--epochs", 1, "--workdir", tmp_path / "run")
    began = time.perf_counter()
    done = python("-m", "experiments.bench.whole_run", *options, cwd=ROOT)
    whole = time.perf_counter() - began
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == set(PHASES)
    assert min(found.values()) > 0
    took = json.loads((tmp_path / "run" / "result.json").read_text())["seconds"]
    assert took < sum(found.values()) < whole
    assert found["steps"] + found["compilation"] < took + found["report"]
