"""CIFAR networks in PyTorch, which neither torchvision nor timm has, to compare ours with."""

import torch.nn.functional as F
from torch import nn

from tests.parity import timm, torchvision


class PaddedShortcutBlock(nn.Module):
    """Two convolutions and an option-A shortcut."""

    def __init__(self, channels, features, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.stride, self.added = stride, features - channels

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skipped = x[:, :, :: self.stride, :: self.stride]
        half = self.added // 2
        return F.relu(y + F.pad(skipped, (0, 0, 0, 0, half, half)))


class PreactivationBlock(nn.Module):
    """Two convolutions, each after normalisation and ReLU."""

    def __init__(self, channels, features, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(features)
        self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
        if stride != 1 or channels != features:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, features, 1, stride, bias=False))

    def forward(self, x):
        first = F.relu(self.bn1(x))
        y = self.conv2(F.relu(self.bn2(self.conv1(first))))
        return y + (self.shortcut(first) if hasattr(self, "shortcut") else x)


class CifarNet(nn.Module):
    """A stem, stages of blocks and a classifier; normalised before or after the blocks."""

    def __init__(self, block, stem, widths, depth):
        super().__init__()
        self.preactivation = block is PreactivationBlock
        self.conv1 = nn.Conv2d(3, stem, 3, 1, 1, bias=False)
        if self.preactivation:
            self.bn = nn.BatchNorm2d(widths[-1])
        else:
            self.bn1 = nn.BatchNorm2d(stem)
        channels, self.stages = stem, []
        for number, width in enumerate(widths, start=1):
            blocks = []
            for index in range(depth):
                blocks.append(block(channels, width, 2 if number > 1 and index == 0 else 1))
                channels = width
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            self.stages.append(f"layer{number}")
        self.linear = nn.Linear(channels, 10)

    def forward(self, x):
        x = self.conv1(x)
        x = x if self.preactivation else F.relu(self.bn1(x))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        x = F.relu(self.bn(x)) if self.preactivation else x
        return self.linear(x.mean((2, 3)))


def resnet(depth: int) -> nn.Module:
    """A CIFAR ResNet with `depth` blocks a stage."""
    return CifarNet(PaddedShortcutBlock, 16, (16, 32, 64), depth)


def preactivation_resnet18() -> nn.Module:
    """The pre-activation ResNet-18."""
    return CifarNet(PreactivationBlock, 64, (64, 128, 256, 512), 2)


def wide_resnet(depth: int, factor: int) -> nn.Module:
    """WRN-depth-factor."""
    widths = (16 * factor, 32 * factor, 64 * factor)
    return CifarNet(PreactivationBlock, 16, widths, (depth - 4) // 6)


def resnet18_small_stem() -> nn.Module:
    """torchvision's ResNet-18 behind a 3x3 convolution without pooling."""
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model


def densenet_bc(depths: tuple[int, ...], growth: int) -> nn.Module:
    """timm's DenseNet behind a 3x3 convolution and nothing after it."""
    model = timm.models.densenet.DenseNet(growth, depths, num_classes=10)
    model.features.conv0 = nn.Conv2d(3, 2 * growth, 3, 1, 1, bias=False)
    for name in ("norm0", "pool0"):
        delattr(model.features, name)
    return model
