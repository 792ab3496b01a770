"""Stock `flax.linen`: the same networks of its own layers, in the same training step."""

from collections.abc import Iterator
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from experiments.bench.cases import Case, Program
from experiments.bench.ours import network, pooling


class _Net(nn.Module):
    """What the networks share: stock layers, by the names that the code below is short of."""

    classes: int = 10

    def conv(self, x, features, size=3, stride=1, groups=1, bias=False):
        pad = size // 2
        return nn.Conv(
            features, (size, size), stride, ((pad, pad), (pad, pad)),
            feature_group_count=groups, use_bias=bias,
        )(x)  # fmt: skip

    def norm(self, x, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)


class ThreeBlocks(_Net):
    """`three_block_cnn`."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Map [N, H, W, C] to [N, classes]."""
        for width in (32, 64, 128):
            for _ in range(2):
                x = nn.relu(self.norm(self.conv(x, width, bias=True), train))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.Dropout(0.25, broadcast_dims=(1, 2), deterministic=not train)(x)
        x = nn.relu(self.norm(nn.Dense(512)(x.reshape(len(x), -1)), train))
        return nn.Dense(self.classes)(nn.Dropout(0.5, deterministic=not train)(x))


class CifarResNet(_Net):
    """`resnet20_cifar`."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Map [N, H, W, C] to [N, classes]."""
        x = nn.relu(self.norm(self.conv(x, 16), train))
        for width in (16, 32, 64):
            for block in range(3):
                stride = 2 if width > 16 and block == 0 else 1
                y = nn.relu(self.norm(self.conv(x, width, stride=stride), train))
                y = self.norm(self.conv(y, width), train)
                x, added = x[:, ::stride, ::stride], (width - x.shape[-1]) // 2
                x = nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (added, added))))
        return nn.Dense(self.classes)(x.mean((1, 2)))


class ResNet(_Net):
    """`resnet18`, and with bottlenecks `resnet50`."""

    depths: tuple[int, ...] = (2, 2, 2, 2)
    expansion: int = 1

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Map [N, H, W, C] to [N, classes]."""
        x = nn.relu(self.norm(self.conv(x, 64, 7, 2), train))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, depth in enumerate(self.depths):
            for block in range(depth):
                stride = 2 if stage and block == 0 else 1
                x = self.block(x, 64 * 2**stage, stride, train)
        return nn.Dense(self.classes)(x.mean((1, 2)))

    def block(self, x, width, stride, train):
        out = self.expansion * width
        if self.expansion == 1:
            y = nn.relu(self.norm(self.conv(x, width, stride=stride), train))
        else:
            y = nn.relu(self.norm(self.conv(x, width, 1), train))
            y = nn.relu(self.norm(self.conv(y, width, stride=stride), train))
        y = self.norm(self.conv(y, out, 3 if self.expansion == 1 else 1), train)
        if x.shape[-1] != out or stride > 1:
            x = self.norm(self.conv(x, out, 1, stride), train)
        return nn.relu(x + y)


class MobileNetV2(_Net):
    """`mobilenet_v2`."""

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        """Map [N, H, W, C] to [N, classes]."""
        x = nn.relu6(self.norm(self.conv(x, 32, stride=2), train))
        rows = (
            (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
            (6, 160, 3, 2), (6, 320, 1, 1),
        )  # fmt: skip
        for expansion, width, depth, first in rows:
            for block in range(depth):
                stride, inside = (first if block == 0 else 1), expansion * x.shape[-1]
                y = x
                if expansion > 1:
                    y = nn.relu6(self.norm(self.conv(y, inside, 1), train))
                y = nn.relu6(self.norm(self.conv(y, inside, stride=stride, groups=inside), train))
                y = self.norm(self.conv(y, width, 1), train)
                x = x + y if x.shape == y.shape else y
        x = nn.relu6(self.norm(self.conv(x, 1280, 1), train)).mean((1, 2))
        return nn.Dense(self.classes)(nn.Dropout(0.2, deterministic=not train)(x))


_NETWORKS = {
    "three_block_cnn": ThreeBlocks,
    "resnet20_cifar": CifarResNet,
    "resnet18": ResNet,
    "resnet50": partial(ResNet, depths=(3, 4, 6, 3), expansion=4),
    "mobilenet_v2": MobileNetV2,
}


def programs(case: Case, **_) -> Iterator[tuple[str, Program]]:
    """Make what is measured, where stock layers make such a network here, in float32.

    Args:
        case: what to measure.

    Yields:
        The one name, and the program.
    """
    if case.work == "pool":
        pads = ((1, 1), (1, 1))
        yield "flax.linen", pooling(case, lambda x: nn.max_pool(x, (3, 3), (2, 2), pads))
    elif case.model in _NETWORKS and case.precision == "float32":
        yield "flax.linen", network(case, _NETWORKS[case.model](classes=case.classes))
