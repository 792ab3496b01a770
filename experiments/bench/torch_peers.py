"""PyTorch: the same networks, eager and compiled, in both layouts of memory."""

import functools
import shutil
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from experiments.bench.cases import Case, Program, example

# What timm calls the networks that have another name there.
_TIMM_NAMES = {"mobilenet_v2": "mobilenetv2_100"}


class ThreeBlocks(nn.Module):
    """`three_block_cnn`."""

    def __init__(self, classes: int, side: int):
        super().__init__()
        layers, channels = [], 3
        for width in (32, 64, 128):
            for _ in range(2):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers += [nn.ReLU()]
                channels = width
            layers += [nn.MaxPool2d(2), nn.Dropout2d(0.25)]
        self.features = nn.Sequential(*layers)
        self.fc1 = nn.Linear(128 * (side // 8) ** 2, 512)
        self.bn, self.fc2 = nn.BatchNorm1d(512), nn.Linear(512, classes)

    def forward(self, x):
        """Map [N, C, H, W] to [N, classes]."""
        x = F.relu(self.bn(self.fc1(self.features(x).flatten(1))))
        return self.fc2(F.dropout(x, 0.5, self.training))


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.added = stride, (width - channels) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.added, self.added))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    """`resnet20_cifar`."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        blocks, channels = [], 16
        for width in (16, 32, 64):
            for index in range(3):
                stride = 2 if width > 16 and index == 0 else 1
                blocks.append(_Block(channels, width, stride))
                channels = width
        self.blocks, self.linear = nn.Sequential(*blocks), nn.Linear(64, classes)

    def forward(self, x):
        """Map [N, C, H, W] to [N, classes]."""
        return self.linear(self.blocks(self.stem(x)).mean((2, 3)))


def build(case: Case) -> nn.Module:
    """Make the network of a case."""
    if case.model == "three_block_cnn":
        return ThreeBlocks(case.classes, case.shape[1])
    if case.model == "resnet20_cifar":
        return CifarResNet(case.classes)
    options = {"img_size": case.shape[1]} if case.model.startswith("vit") else {}
    return _timm().create_model(
        _TIMM_NAMES.get(case.model, case.model), num_classes=case.classes, **options
    )


@functools.cache
def _timm():
    # torchvision's compiled operators are not needed, but its Python asks for these two at import.
    if not hasattr(torch.ops.torchvision, "nms"):
        _timm.library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _timm.library.define(
                f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
    import timm

    return timm


def programs(case: Case, *, compiled: bool = True, only_layout: str | None = None) -> Iterator:
    """Make what is measured, one after the other.

    Args:
        case: what to measure.
        compiled: whether to try `torch.compile` too, which needs a C++ compiler on a CPU.
        only_layout: contiguous or channels_last; None for both.

    Yields:
        Names and programs.
    """
    torch.manual_seed(0)
    device = torch.device(case.device if case.device == "cpu" else "cuda")
    # Tries cuDNN's algorithms out at the first step, as XLA does when it compiles.
    torch.backends.cudnn.benchmark = device.type == "cuda"
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    compiled = compiled and case.work != "pool"
    compiled = compiled and (device.type == "cuda" or shutil.which("g++") is not None)
    for layout, memory_format in layouts.items():
        if only_layout in (None, layout):
            for how in ("eager", "compiled") if compiled else ("eager",):
                run = _runner(case, device, memory_format, compiled=how == "compiled")
                yield f"PyTorch {how} {layout}", _started(run, device)


def _runner(case: Case, device, memory_format, *, compiled: bool) -> Callable[[], object]:
    images, labels = map(torch.from_numpy, example(case))
    images = images.permute(0, 3, 1, 2).contiguous().to(device, memory_format=memory_format)
    if case.work == "pool":
        return functools.partial(_pool, images.requires_grad_())
    labels = labels.long().to(device)
    model = build(case).to(device, memory_format=memory_format).train(case.work == "train")
    call = torch.compile(model) if compiled else model
    cast = functools.partial(
        torch.autocast, device.type, torch.bfloat16, enabled=case.precision == "bfloat16"
    )
    if case.work == "infer":

        def infer():
            with torch.inference_mode(), cast():
                return call(images)

        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with cast():
            loss = F.cross_entropy(call(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _pool(images):
    images.grad = None
    output = F.max_pool2d(images, 3, 2, 1)
    output.backward(output.detach())


def _started(run: Callable, device) -> Program:
    def synchronised() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()

    began = time.perf_counter()
    synchronised()
    return Program(synchronised, time.perf_counter() - began)
