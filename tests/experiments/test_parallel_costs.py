"""What training on several devices costs: counted in the compiled program, and timed, shrunk."""

import math
import re

import jax
import pytest
from click.testing import CliRunner

from cnn_jax import create_model
from cnn_jax.inspect import summary
from cnn_jax.weights.shapes import variable_shapes
from experiments import parallel_costs


def test_two_devices_send_each_other_the_gradients_once():
    """And the metrics: the loss, and 64 times right or wrong and finite or not."""
    model = create_model("simple_cnn", num_classes=1000, in_channels=3)
    parameters = sum(map(math.prod, variable_shapes(model, (32, 32, 3)).values()))
    macs = summary(model, 32).macs
    options = {"model": "simple_cnn", "image_size": 32}
    flops, sizes = parallel_costs.compiled_for(2, "pmap_local_norm", **options)
    assert 4 * parameters < sum(sizes) < 4 * parameters + 1000
    # 32 images; two operations a multiply-add; the forward pass, and gradients of inputs (but for
    # the first layer's) and of kernels.
    assert 4 * 32 * macs < flops < 6.6 * 32 * macs


def test_the_bytes_of_collectives_are_read_from_a_program():
    program = """
      %a = f32[2,3]{1,0} all-reduce(%x), replica_groups={{0,1}}, to_apply=%add
      %b = (bf16[5]{0}, pred[7]{0}) all-gather-start(%y), dimensions={0}
      %c = f32[] add(f32[] %all-reduce, f32[] %d)
    """
    assert parallel_costs.collectives(program) == [("all-reduce", 24), ("all-gather", 17)]


def test_the_projection_is_the_formula():
    """Twice (n - 1) / n of the bytes over a ring, and 2 log2(n) hops of a message."""
    assert parallel_costs.projected([50_000_000_000], 4) == pytest.approx(1.5 + 4e-5)
    assert parallel_costs.projected([0, 0], 256) == pytest.approx(2 * 16 * 1e-5)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sharding", r"a plain step [\d.]+ ms, laid out [\d.]+ ms \([+-][\d.]+%\)"),
        ("saving", r"state of \d+ MB: 3 steps [\d.]+ s, with a checkpoint [\d.]+ s \([+-]"),
    ],
)
def test_costs_are_told(command, words):
    assert jax.device_count() == 1
    arguments = [command, "--model", "simple_cnn", "--batch-size", "4", "--times", "1"]
    if command == "saving":
        arguments += ["--steps", "3", "--image-size", "32"]
    outcome = CliRunner().invoke(parallel_costs.main, arguments)
    assert outcome.exit_code == 0, outcome.output + repr(outcome.exception)
    assert re.search(words, outcome.output)
