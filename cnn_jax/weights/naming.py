"""The one rule between PyTorch's names and layouts and ours; it holds for every model.

    layer1.0.conv1.weight [O, I, H, W]    params       layer1_0/conv1/kernel [H, W, I, O]
    head.fc.weight [O, I]                 params       head/fc/kernel [I, O]
    bn1.weight [C]                        params       bn1/scale [C]
    bn1.running_mean [C]                  batch_stats  bn1/mean [C]

Other leaves (bias, gamma, cls_token, pos_embed) keep their name, and nothing else is transposed.
"""

import re

import numpy as np

Path = tuple[str, ...]

_STATISTICS = {"running_mean": "mean", "running_var": "var"}
COUNTER = "num_batches_tracked"

_NUMBER = re.compile(r"\.(\d+)(?=\.)")
_JOINED = re.compile(r"_(\d+)(?=_|$)")
# Of Inception v3 (branch3x3dbl_2): the only names of timm's and torchvision's that have the
# underscore themselves.
_OWN_UNDERSCORE = re.compile(r"branch\d+x\d+(x\d+|dbl)?_\d+")


def to_path(name: str, rank: int) -> Path | None:
    """Give the place among our variables of an entry of a `state_dict`.

    Args:
        name: such as "layer1.0.conv1.weight".
        rank: number of dimensions of the entry.

    Returns:
        Collection, modules and leaf; None for BatchNorm's counter, which ours does without.

    >>> to_path("layer1.0.conv1.weight", 4)
    ('params', 'layer1_0', 'conv1', 'kernel')
    >>> to_path("bn1.running_var", 1)
    ('batch_stats', 'bn1', 'var')
    """
    *modules, leaf = _NUMBER.sub(r"_\1", name).split(".")
    if leaf == COUNTER:
        return None
    if leaf in _STATISTICS:
        return ("batch_stats", *modules, _STATISTICS[leaf])
    if leaf == "weight":
        leaf = "kernel" if rank > 1 else "scale"
    return ("params", *modules, leaf)


def to_name(path: Path) -> str:
    """Give the name in a `state_dict` of one of our variables.

    >>> to_name(("params", "layer1_0", "conv1", "kernel"))
    'layer1.0.conv1.weight'
    >>> to_name(("params", "Mixed_5b", "branch3x3dbl_2", "bn", "scale"))
    'Mixed_5b.branch3x3dbl_2.bn.weight'
    """
    collection, *modules, leaf = path
    if collection == "batch_stats":
        leaf = f"running_{leaf}"
    elif leaf in ("kernel", "scale"):
        leaf = "weight"
    split = [
        module if _OWN_UNDERSCORE.fullmatch(module) else _JOINED.sub(r".\1", module)
        for module in modules
    ]
    return ".".join([*split, leaf])


def to_our_layout(path: Path, array: np.ndarray) -> np.ndarray:
    """Turn an entry of a `state_dict`: kernels from [O, I, ...] to [..., I, O].

    Returns:
        A view.
    """
    if path[-1] != "kernel":
        return array
    return array.transpose(*range(2, array.ndim), 1, 0)


def to_torch_layout(path: Path, array: np.ndarray) -> np.ndarray:
    """Turn one of our variables: kernels from [..., I, O] to [O, I, ...].

    Returns:
        A view.
    """
    if path[-1] != "kernel":
        return array
    return array.transpose(array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))


def torch_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that one of our variables has in a `state_dict`."""
    if path[-1] != "kernel":
        return tuple(shape)
    return (shape[-1], shape[-2], *shape[:-2])
