"""PyTorch: the recipe of the CIFAR-10 speed run, the peer of experiments/cifar10_speedrun.py.

As the record's script has it (airbench94_muon.py of Jordan's cifar10-airbench): the computation and
all parameters but BatchNorm's are in float16 unless float32 is asked for, and on a GPU the network
is compiled with "max-autotune" in channels_last.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from experiments.cifar10_speedrun import Settings

WHITENED_IMAGES = 5000
TEST_BATCH = 2000


class Block(nn.Module):
    """Two convolutions, each normalised, the first one pooled."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width, eps=1e-12, momentum=0.4)

    def forward(self, x):
        """Map [N, C, H, W] to [N, width, H // 2, W // 2]."""
        x = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.bn2(self.conv2(x)))


class Network(nn.Module):
    """`cifar10_speedrun.Network`, drawn alike."""

    def __init__(self, widths: Sequence[int], *, channels: int = 3, classes: int = 10):
        super().__init__()
        self.whiten = nn.Conv2d(channels, 8 * channels, 2)
        inputs = (8 * channels, *widths[:-1])
        self.blocks = nn.Sequential(*map(Block, inputs, widths))
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.whiten.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.requires_grad = False

    def forward(self, x, bias_trained: bool = True):
        """Map [N, C, H, W] to logits [N, classes]."""
        bias = self.whiten.bias if bias_trained else self.whiten.bias.detach()
        x = self.blocks(F.gelu(F.conv2d(x, self.whiten.weight, bias)))
        x = F.max_pool2d(x, x.shape[-1]).flatten(1)
        return self.head(x) / x.shape[1]

    @torch.no_grad()
    def redraw(self) -> None:
        """Draw the parameters anew, and forget the running statistics."""
        for module in self.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        for block in self.blocks:
            for conv in (block.conv1, block.conv2):
                nn.init.dirac_(conv.weight[: conv.in_channels])
        self.head.weight.div_(self.head.weight.float().std())

    @torch.no_grad()
    def whiten_patches(self, images, *, epsilon: float = 5e-4) -> None:
        """Have the first layer whiten the patches of images [N, C, H, W]."""
        seen = F.unfold(images.float(), 2).transpose(1, 2).flatten(0, 1)
        strengths, directions = torch.linalg.eigh(seen.T @ seen / len(seen))
        filters = (directions / (strengths + epsilon).sqrt()).T
        filters = torch.cat([filters, -filters]).view_as(self.whiten.weight)
        self.whiten.weight.copy_(filters)


class FixedNormMuon:
    """`cnn_jax.muon.muon_of_fixed_norm`, on the parameters in place."""

    def __init__(self, filters: list, *, dtype: torch.dtype, compiled: bool, momentum: float = 0.6):
        self.filters, self.momentum, self.dtype = filters, momentum, dtype
        self.sums = [torch.zeros_like(parameter) for parameter in filters]
        self.orthogonalized = torch.compile(_orthogonalized) if compiled else _orthogonalized

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take a step at a rate."""
        for parameter, total in zip(self.filters, self.sums, strict=True):
            total.mul_(self.momentum).add_(parameter.grad)
            gradient = parameter.grad.add(total, alpha=self.momentum)
            matrix = gradient.reshape(len(gradient), -1).to(self.dtype)
            parameter.mul_(math.sqrt(len(parameter)) / parameter.norm())
            update = self.orthogonalized(matrix).view_as(parameter)
            parameter.add_(update.to(parameter.dtype), alpha=-rate)


def _orthogonalized(matrix, iterations: int = 3):
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


class Training:
    """The optimizers, and how many steps they have taken."""

    def __init__(self, net: Network, settings: "Settings", *, per_epoch: int, compiled: bool):
        self.net, self.settings, self.taken = net, settings, 0
        self.steps = settings.epochs * per_epoch
        self.bias_steps = min(settings.bias_epochs, settings.epochs) * per_epoch
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        decay = settings.decay * settings.batch_size
        groups = (
            ([net.whiten.bias], settings.bias_rate),
            ([norm.bias for norm in norms], settings.bias_rate),
            ([net.head.weight], settings.head_rate),
        )
        self.rates = [rate for _, rate in groups]
        self.sgd = torch.optim.SGD(
            [{"params": params, "lr": r, "weight_decay": decay / r} for params, r in groups],
            momentum=0.85,
            nesterov=True,
            fused=next(net.parameters()).is_cuda,
        )
        self.muon = FixedNormMuon(
            [p for p in net.parameters() if p.ndim == 4 and p.requires_grad],
            dtype=torch.float32 if settings.precision == "float32" else torch.bfloat16,
            compiled=compiled,
        )

    def step(self, images, labels) -> None:
        """Take a step on normalised images [N, C, H, W]."""
        bias_trained = self.taken < self.bias_steps
        logits = self.net(images, bias_trained)
        smoothing = self.settings.smoothing
        F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="sum").backward()
        left = 1 - self.taken / self.steps
        first_left = 1 - self.taken / self.bias_steps  # not asked once there is no gradient
        for group, rate, part in zip(
            self.sgd.param_groups, self.rates, (first_left, left, left), strict=True
        ):
            group["lr"] = rate * max(part, 0)
        self.sgd.step()
        self.muon.step(self.settings.filter_rate * left)
        self.net.zero_grad(set_to_none=True)
        self.taken += 1


def batches(images, labels, settings: "Settings") -> Iterator[tuple]:
    """Yield the batches of all epochs, of normalised images [N, C, H, W]."""
    size, device, side = len(images), images.device, images.shape[-1]
    mirrored = torch.rand(size, device=device) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    padded = F.pad(images, (2, 2, 2, 2), "reflect")
    places = padded.unfold(2, side, 1).unfold(3, side, 1)  # a view: [N, C, 5, 5, H, W]
    whole = size // settings.batch_size * settings.batch_size
    for epoch in range(settings.epochs):
        down, right = torch.randint(0, 5, (2, size), device=device)
        order = torch.randperm(size, device=device)[:whole]
        for chosen in order.split(settings.batch_size):
            shown = places[chosen, :, down[chosen], right[chosen]]
            shown = shown.flip(-1) if epoch % 2 else shown
            yield _last(shown), labels[chosen]


@torch.no_grad()
def count_right(net, images, labels) -> int:
    """Count what is right of test images, by the mean over six views."""
    side = images.shape[-1]

    def both_sides(x):
        return (net(_last(x)).float() + net(_last(x.flip(-1))).float()) / 2

    right = 0
    for x, truth in zip(images.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True):
        padded = F.pad(x, (1, 1, 1, 1), "reflect")
        moved = both_sides(padded[..., :side, :side]) + both_sides(padded[..., 2:, 2:])
        logits = both_sides(x) / 2 + moved / 4
        right += (logits.argmax(1) == truth).sum()
    return int(right)


def start(
    settings: "Settings", train: dict, test: dict, *, mean: Sequence[float], std: Sequence[float]
) -> Callable[[int], tuple[float, float]]:
    """Bring network and images to the device.

    Args:
        settings: the recipe's.
        train: `image`, uint8 [N, H, W, C], and `label`, int32 [N].
        test: the same.
        mean: of each channel.
        std: of each channel.

    Returns:
        seed -> (accuracy, seconds).
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    # The record's short type, whichever ours is: parameters in bfloat16 would lose small steps.
    dtype = torch.float32 if settings.precision == "float32" else torch.float16

    def given(arrays: dict):
        pixels = torch.from_numpy(np.ascontiguousarray(arrays["image"])).to(device)
        pixels = _last((pixels.to(dtype) / 255).permute(0, 3, 1, 2))
        return pixels, torch.from_numpy(arrays["label"]).long().to(device)

    def normalised(pixels):
        centre, spread = (
            torch.tensor(v, device=device, dtype=dtype).view(-1, 1, 1) for v in (mean, std)
        )
        return (pixels - centre) / spread

    (pixels, labels), (test_pixels, test_labels) = given(train), given(test)
    net = Network(settings.widths, channels=pixels.shape[1]).to(device, dtype)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.float()
    net = net.to(memory_format=torch.channels_last)
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        net.compile(mode="max-autotune")

    def run(seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        net.redraw()
        net.train()
        per_epoch = len(pixels) // settings.batch_size
        training = Training(net, settings, per_epoch=per_epoch, compiled=on_gpu)
        _wait(device)
        began = time.perf_counter()
        net.whiten_patches(normalised(pixels[:WHITENED_IMAGES]))
        for batch in batches(normalised(pixels), labels, settings):
            training.step(*batch)
        net.eval()
        right = count_right(net, normalised(test_pixels), test_labels)
        _wait(device)
        return right / len(test_labels), time.perf_counter() - began

    return run


def _last(images):
    return images.contiguous(memory_format=torch.channels_last)


def _wait(device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
