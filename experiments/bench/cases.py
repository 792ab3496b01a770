"""What the benchmark measures: a table of cases."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """A row of the benchmark.

    Attributes:
        name: how `--only` names it.
        work: train (a step of SGD with momentum 0.9), infer (logits), or pool (maximum pooling
            3x3 at stride 2 and its gradient).
        model: for `cnn_jax.create_model`.
        shape: of the images, [N, H, W, C].
        classes: outputs of the network.
        precision: float32, or bfloat16.
        bars: what throughput ours / peer's is to be at least, by the first word of a peer's name.
        device: "cpu", or "gpu" for what is only run there.
    """

    name: str
    work: str
    model: str
    shape: tuple[int, int, int, int]
    classes: int = 10
    precision: str = "float32"
    bars: dict[str, float] = field(default_factory=dict)
    device: str = "cpu"


@dataclass
class Program:
    """Something to time.

    Attributes:
        run: takes one step, and returns once it is done.
        compiling: seconds until the first step was done, the step included.
    """

    run: Callable[[], Any]
    compiling: float


def _both(model: str, shape: tuple, classes: int, *, train: dict, infer: dict) -> tuple[Case, ...]:
    works = {"train": train, "infer": infer}
    return tuple(
        Case(f"{model}_{work}", work, model, shape, classes, bars=bars)
        for work, bars in works.items()
    )


_GPU_MODELS = (
    "resnet18", "mobilenet_v2", "efficientnet_b0", "convnext_tiny", "vgg16", "densenet121",
)  # fmt: skip

CASES = (
    *_both("three_block_cnn", (64, 32, 32, 3), 10, train={"PyTorch": 0.8}, infer={}),
    *_both("resnet20_cifar", (128, 32, 32, 3), 10, train={"PyTorch": 0.8}, infer={}),
    *_both("resnet18", (8, 224, 224, 3), 1000, train={"PyTorch": 0.8}, infer={"PyTorch": 1.0}),
    *_both(
        "mobilenet_v2", (64, 32, 32, 3), 10, train={"PyTorch": 0.5, "flax.linen": 4.0}, infer={}
    ),
    Case("max_pool", "pool", "", (8, 112, 112, 64), bars={"flax.linen": 6.0}),
    Case("resnet50_train", "train", "resnet50", (32, 224, 224, 3), 1000),
    *(
        Case(
            f"gpu_{model}_{work}", work, model, (batch, 224, 224, 3), 1000, "bfloat16",
            {"PyTorch": 1.05 if model == "resnet50" else 1.0}, "gpu",
        )
        for model, batch in (("resnet50", 256), *((name, 128) for name in _GPU_MODELS))
        for work in ("train", "infer")
    ),
)  # fmt: skip


def example(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Draw images, float32 and normal, and labels for a case."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal(case.shape, dtype=np.float32)
    return images, rng.integers(0, case.classes, case.shape[0], dtype=np.int32)


def shrunk(case: Case) -> Case:
    """Make the images of a case few and small: to see that all runs, not how fast."""
    batch, height, _, channels = case.shape
    side = min(height, 64 if height > 64 else 32)
    shape = (min(batch, 4), side, side, channels)
    return Case(**{**vars(case), "shape": shape})
