"""What a training step of a ResNet must read and write at the least, stage by stage.

    python -m experiments.resnet50_bytes --batch 256 --precision bfloat16 --device h200
    python -m experiments.resnet50_bytes --batch 8 --precision float32 --measure

The floor is that of a program of fused passes over memory, in which each pass reads what it needs
and writes what it makes once, at the published bandwidth and peak of an accelerator:

convolution        forward: input, kernel, output; likewise for either gradient (images need none)
batch statistics   forward: the maps once. backward, the two sums: the maps and their gradient
normalisation      forward, with the ReLU and the addition: maps in, maps out. backward: maps and
                   gradient in, gradient out; where the ReLU was open is computed again
shortcut           forward: the other branch once more, a normalised one without being written.
                   backward: two gradients and the sum in, to see where it was positive, one out
pooling            forward: maps in, maps out. backward: maps and gradient in, gradient out; a mean
                   does not need the maps
optimizer          parameter, momentum and gradient in, parameter and momentum out, in float32;
                   below float32 the kernels are written once more

With `--remat` what a convolution takes is not kept but normalised again from what the one before it
put out. The logits, the loss and the statistics themselves are left out, as they are small. With
`--measure` each stage is timed where JAX runs: the step up to its end, less that up to its start.

ResNet-50 in bfloat16 at batch 256 moves 93.4 GB by the first command and takes 6.2 TFLOP: 21.6 ms
and 11,865 images a second on an H200 at the most. Measured it was on no GPU.
"""

import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click
import flax.linen as nn
import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from cnn_jax import create_model, layers, make_train_step, optim
from cnn_jax.cli import call
from cnn_jax.models.resnet import ResidualBlock
from cnn_jax.precision import TYPES, with_precision
from cnn_jax.state import init_state
from cnn_jax.xla_flags import compile_options

# Bytes a second, and operations a second at float32 (as TF32) and at 16 bits, without sparsity:
# NVIDIA's data sheets of the SXM modules.
DEVICES = {
    "h200": (4.8e12, 494.7e12, 989.4e12),
    "h100": (3.35e12, 494.7e12, 989.4e12),
    "a100": (2.039e12, 156e12, 312e12),
}
_MARKS = {"stem": "act1"} | {f"layer{index}": f"layer{index}" for index in (1, 2, 3, 4)}
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class Pass:
    """Something that goes over memory once.

    Attributes:
        stage: "stem", "layer1" to "layer4", "head" or "optimizer".
        layer: path of the module.
        what: row of the table above.
        forward: whether it is of the forward pass.
        bytes: read and written.
        flops: of products, an addition and a multiplication each.
    """

    stage: str
    layer: str
    what: str
    forward: bool
    bytes: int
    flops: int = 0

    def seconds(self, bandwidth: float, peak: float) -> float:
        """Return the time it takes where either bytes or products are all that counts."""
        return max(self.bytes / bandwidth, self.flops / peak)


@dataclass(frozen=True)
class Called:
    """A module that was called, and the sizes of what it was given and returned.

    Attributes:
        name: path from the model.
        module: itself.
        given: shape of its input.
        returned: shape of its output.
    """

    name: str
    module: nn.Module
    given: tuple[int, ...]
    returned: tuple[int, ...]

    @property
    def stage(self) -> str:
        """The stage that it belongs to."""
        first = self.name.split("_")[0].split("/")[0]
        return first if first.startswith("layer") else "head" if first == "fc" else "stem"


def called_modules(model: nn.Module, images: tuple[int, ...]) -> tuple[list[Called], dict]:
    """Run a model on shapes, and write down what is called in training.

    Args:
        model: a ResNet of the zoo.
        images: shape [N, H, W, C].

    Returns:
        Its convolutions, normalisations, dense layers and blocks, in the order in which they end;
        and the shapes of the parameters.
    """
    calls: list[Called] = []

    def record(call, args, kwargs, context):
        output, module = call(*args, **kwargs), context.module
        kinds = (layers.Conv, layers.BatchNorm, layers.Dense, ResidualBlock)
        if context.method_name == "__call__" and isinstance(module, kinds):
            calls.append(Called("/".join(module.path), module, args[0].shape, output.shape))
        return output

    array = jax.ShapeDtypeStruct(images, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), array)
    with nn.intercept_methods(record):
        jax.eval_shape(
            lambda *given: model.apply(*given, train=True, mutable=["batch_stats"]),
            variables,
            array,
        )
    return calls, variables["params"]


def passes(
    model: nn.Module, images: tuple[int, ...], *, width: int, remat: bool = False
) -> list[Pass]:
    """List the passes of a training step with SGD and momentum.

    Args:
        model: a ResNet of the zoo.
        images: shape [N, H, W, C].
        width: bytes of a number in the maps, 4 or 2.
        remat: whether normalised maps are computed again for the gradients.

    Returns:
        The passes.
    """
    calls, params = called_modules(model, images)
    found, seen, last = [], {images}, images
    for called in calls:
        if called.given not in seen:
            mean = len(called.given) == 2
            found += _pooling(called, math.prod(last), mean=mean, width=width)
        found += _of_module(called, width, first=called.given == images, remat=remat)
        last = called.returned
        seen.add(last)
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    casts = 0 if width == _FLOAT32_BYTES else numbers * (_FLOAT32_BYTES + width)
    floats = 4 * _FLOAT32_BYTES + width  # the gradient is as wide as the maps
    return [*found, Pass("optimizer", "", "optimizer", False, numbers * floats + casts)]


def _of_module(called: Called, width: int, *, first: bool, remat: bool) -> Iterator[Pass]:
    given, returned = (width * math.prod(shape) for shape in (called.given, called.returned))
    at = (called.stage, called.name)
    if isinstance(called.module, ResidualBlock):
        projected = called.given != called.returned
        yield Pass(*at, "shortcut", True, 0 if projected else returned)
        yield Pass(*at, "shortcut", False, 4 * returned)
    elif isinstance(called.module, layers.BatchNorm):
        of_shortcut = called.name.endswith("downsample_1")
        normalising = returned if of_shortcut else 2 * returned
        yield Pass(*at, "batch statistics", True, returned)
        yield Pass(*at, "normalisation", True, normalising)
        yield Pass(*at, "batch statistics", False, 2 * returned)
        yield Pass(*at, "normalisation", False, 3 * returned)
        if remat and not of_shortcut:
            yield Pass(*at, "normalisation again", False, normalising)
    else:
        kernel = _kernel(called)
        moved = given + returned + width * kernel
        flops = 2 * kernel * math.prod(called.returned[:-1])
        yield Pass(*at, "convolution", True, moved, flops)
        yield Pass(*at, "gradient of the kernel", False, moved, flops)
        if not first:
            yield Pass(*at, "gradient of the input", False, moved, flops)


def _kernel(called: Called) -> int:
    """Count the numbers of a kernel."""
    channels, features = called.given[-1], called.returned[-1]
    if isinstance(called.module, layers.Dense):
        return channels * features
    size = called.module.kernel_size
    area = size**2 if isinstance(size, int) else math.prod(size)
    return area * channels // called.module.groups * features


def _pooling(called: Called, pooled: int, *, mean: bool, width: int) -> Iterator[Pass]:
    """Count the pooling that lies between what a module is given and what was returned before."""
    at, small = (called.stage if mean else "stem", "pooling"), math.prod(called.given)
    yield Pass(*at, "pooling", True, width * (pooled + small))
    yield Pass(*at, "pooling", False, width * ((1 if mean else 2) * pooled + small))


def kept_bytes(
    model: nn.Module, images: tuple[int, ...], *, width: int, remat: bool = False
) -> int:
    """Count what the gradients need of the maps: what convolutions and the ReLUs take and put out.

    Args:
        model: a ResNet of the zoo.
        images: shape [N, H, W, C].
        width: bytes of a number in the maps.
        remat: as of `passes`: normalised maps inside of blocks are not kept.

    Returns:
        Bytes.
    """
    kept, seen, last = 0, {images}, images
    for called in called_modules(model, images)[0]:
        name = called.name.rsplit("/", 1)[-1]
        if called.given not in seen:  # pooled: a maximum is found again, a mean ends a ReLU
            kept += math.prod(last) if len(called.given) == 2 or not remat else 0
        if isinstance(called.module, layers.Conv):
            kept += math.prod(called.returned)
            begins = name == "conv1"  # of the stem or of a block, whose input is no normalisation
            if name != "downsample_0" and (begins or not remat):
                kept += math.prod(called.given)
        last = called.returned
        seen.add(last)
    return width * kept


def measured(model: nn.Module, images: tuple[int, ...], *, steps: int) -> dict[str, float]:
    """Time the stages where JAX runs: forward and backward, the median of some steps.

    Args:
        model: a ResNet of the zoo.
        images: shape [N, H, W, C].
        steps: of each program.

    Returns:
        Stage -> seconds; "head" is the rest of the step, the optimizer with it.
    """
    tx = optim.sgd(0.1, momentum=0.9)
    init = jax.jit(lambda key: init_state(model, tx, key, image_shape=images[1:]))
    state = init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), images)
    seconds, before = {}, 0.0
    for stage, mark in _MARKS.items():
        until = _time(_up_to(model, mark), state.variables, x, steps=steps)
        seconds[stage], before = until - before, until
    batch = {"image": x, "label": jnp.zeros(images[0], jnp.int32)}
    whole = _time(make_train_step(model, tx), state, batch, steps=steps)
    return {**seconds, "head": whole - before}


def _up_to(model: nn.Module, mark: str):
    """Make the step up to the end of a stage; what comes after it is not computed."""

    def mean(params: Any, variables: dict, images: jax.Array):
        _, updates = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["features", "batch_stats"]
        )
        return updates["features"][mark].astype(jnp.float32).mean()

    return lambda variables, images: jax.grad(mean)(variables["params"], variables, images)


def _time(function, *arguments: Any, steps: int) -> float:
    program = jax.jit(function, compiler_options=compile_options())
    jax.block_until_ready(program(*arguments))
    taken = []
    for _ in range(steps):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def floor_table(
    found: list[Pass], bandwidth: float, peak: float, times: dict[str, float]
) -> tuple[Table, float]:
    """Lay the floor out, and what was measured beside it.

    Args:
        found: of `passes`.
        bandwidth: bytes a second.
        peak: operations a second.
        times: of `measured`; may be empty.

    Returns:
        For `rich.console.Console.print`; and the seconds of the step at the floor.
    """
    table = Table(box=None)
    for heading in ("stage", "GFLOP", "GB forward", "GB backward", "ms", "bytes alone", "measured"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    stages = list(dict.fromkeys(one.stage for one in found))
    for stage in [*stages, None]:
        of = [one for one in found if stage in (one.stage, None)]
        to_and_fro = [sum(one.bytes for one in of if one.forward is way) for way in (True, False)]
        told = sum(times.values()) if stage is None else times.get(stage)
        table.add_row(
            stage or "all",
            f"{sum(one.flops for one in of) / 1e9:,.1f}",
            *(f"{count / 1e9:,.3f}" for count in to_and_fro),
            f"{1e3 * sum(one.seconds(bandwidth, peak) for one in of):,.3f}",
            f"{1e3 * sum(to_and_fro) / bandwidth:,.3f}",
            f"{1e3 * told:,.3f}" if told else "",
        )
    return table, sum(one.seconds(bandwidth, peak) for one in found)


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.option("--model", default="resnet50", help="A ResNet of the zoo.")
@click.option("--batch", default=256, help="Images.")
@click.option("--image-size", default=224, help="Pixels.")
@click.option("--precision", type=click.Choice(list(TYPES)), default="bfloat16")
@click.option("--device", type=click.Choice(list(DEVICES)), default="h200")
@click.option("--remat", is_flag=True, help="Normalise again for the gradients.")
@click.option("--measure", is_flag=True, help="Time the stages where JAX runs.")
@click.option("--steps", default=10, help="Of each program to time.")
def main(model, batch, image_size, precision, device, remat, measure, steps) -> None:
    """Print the floor, and what was measured beside it."""
    width = jnp.dtype(TYPES[precision]).itemsize
    made = with_precision(create_model(model), precision)
    images = (batch, image_size, image_size, 3)
    found = passes(made, images, width=width, remat=remat)
    bandwidth, of_float32, of_16_bits = DEVICES[device]
    peak = of_float32 if width == _FLOAT32_BYTES else of_16_bits
    times = measured(made, images, steps=steps) if measure else {}
    table, seconds = floor_table(found, bandwidth, peak, times)
    console = Console(highlight=False, width=100)
    console.print(f"{model}, {batch} images of {image_size}x{image_size}, {precision}, {device}")
    console.print(table)
    by_kind: dict[str, int] = {}
    for one in found:
        name = f"{one.what}, {'forward' if one.forward else 'backward'}"
        by_kind[name] = by_kind.get(name, 0) + one.bytes
    for name, count in sorted(by_kind.items(), key=lambda item: -item[1]):
        console.print(f"  {name:<34} {count / 1e9:8.3f} GB")
    kept = kept_bytes(made, images, width=width, remat=remat)
    console.print(f"kept for the gradients: {kept / 1e9:.2f} GB")
    console.print(f"at most {batch / seconds:,.0f} images a second")


if __name__ == "__main__":
    sys.exit(call(main))
