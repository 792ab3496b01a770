"""The benchmark, shrunk: it runs, tells and writes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from experiments import benchmark
from experiments.bench import cases, flax_peers, memory, report, timing

CASE = cases.Case("tiny", "pool", "", (2, 16, 16, 4), bars={"flax.linen": 0.0, "PyTorch": 1e9})


def test_a_case_beside_its_peers(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "CASES", (CASE,))
    monkeypatch.setitem(benchmark.PEERS, "keras", "not_there")
    out = tmp_path / "found.json"
    outcome = CliRunner().invoke(
        benchmark.main, ["--only", "t?ny", "--quick", "--out", str(out)], catch_exceptions=False
    )
    assert outcome.exit_code == 0, outcome.output
    assert "tiny: keras left out (No module named 'experiments.bench.not_there')" in outcome.output
    assert "(bar 1e+09: missed)" in outcome.output and "(bar 0)" in outcome.output
    assert (tmp_path / "figures" / "found.png").stat().st_size > 1000
    record = json.loads(out.read_text())
    assert record["environment"]["packages"]["jax"] and record["environment"]["cores"]
    (found,) = record["cases"]
    programs = {figure["program"]: figure for figure in found["figures"]}
    assert list(programs) == [
        "cnn_jax", "PyTorch eager contiguous", "PyTorch eager channels_last", "flax.linen",
    ]  # fmt: skip
    ours, theirs = programs["cnn_jax"], programs["flax.linen"]
    assert found["ours_by_peer"]["flax.linen"] == pytest.approx(theirs["median"] / ours["median"])
    assert ours["images_per_second"] == pytest.approx(2 / ours["median"])


def test_only_a_round_of_all_replaces_the_shipped_file():
    assert benchmark.default_out(None, quick=False) == Path("experiments/benchmark.json")
    for only, quick in (("", False), ("resnet*", False), (None, True)):
        assert benchmark.default_out(only, quick=quick) == Path("runs/benchmark.json")


def test_turns_alternate_and_the_best_of_a_peer_counts():
    order = []

    def program(name):
        return cases.Program(lambda: order.append(name), 0.0)

    figures = timing.in_turns(
        CASE, {name: program(name) for name in ("cnn_jax", "PyTorch a", "PyTorch b")}, turns=2,
        seconds=0.0,
    )  # fmt: skip
    names = ["cnn_jax", "PyTorch a", "PyTorch b"]
    # Once each to see how long it takes; then twice a turn, once for nothing.
    assert order == [*names, *(name for name in names + names[::-1] for _ in range(2))]
    best = timing.best_peers(figures)
    assert list(best) == ["PyTorch"]
    assert best["PyTorch"].median == min(figure.median for figure in figures[1:])
    assert report.ratios(CASE, figures[1:]) == {}


def test_stock_networks_are_ours():
    """By the number of parameters: the same layers of the same widths."""
    import jax
    import numpy as np

    from cnn_jax import create_model

    for name, stock in flax_peers._NETWORKS.items():
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
        counts = []
        for model in (create_model(name, num_classes=10), stock(classes=10)):
            variables = jax.eval_shape(model.init, jax.random.key(0), images)
            counts.append(sum(leaf.size for leaf in jax.tree.leaves(variables)))
        assert counts[0] == counts[1], name


def test_memory_is_that_of_another_process(monkeypatch):
    case = cases.Case("no such case", "pool", "", (1, 8, 8, 1))
    assert "StopIteration" in memory.measured(case, "cnn_jax")
