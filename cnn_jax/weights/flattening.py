"""Dense layers on flattened maps: PyTorch flattens [C, H, W], we flatten [H, W, C].

The rows of such a kernel are the same numbers in another order. The number of channels alone
tells the order; height and width need not be known apart.
"""

import re

import numpy as np

# (the convolution whose maps are flattened, the dense layer on them).
_PAIRS = (
    ("features.10.weight", "classifier.1.weight"),  # AlexNet
    ("aux1.conv.conv.weight", "aux1.fc1.weight"),  # GoogLeNet
    ("aux2.conv.conv.weight", "aux2.fc1.weight"),
)
# The course models: the last convolution, the first dense layer.
_CONV = re.compile(r"conv(\d+)(?:\.(\d+))?\.weight")
_DENSE = re.compile(r"fc(\d+)\.weight")


def to_our_order(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reorder the inputs of the dense layers from [C, H, W] to [H, W, C].

    Args:
        state: name -> array in PyTorch's layout.

    Returns:
        The same entries, those of the dense layers reordered.
    """
    return _reordered(state, channels_first=True)


def to_torch_order(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Reorder the inputs of the dense layers from [H, W, C] to [C, H, W]: the inverse."""
    return _reordered(state, channels_first=False)


def _reordered(state: dict[str, np.ndarray], *, channels_first: bool) -> dict[str, np.ndarray]:
    changed = dict(state)
    for conv, dense in _pairs(state):
        kernel, channels = state[dense], state[conv].shape[0]
        if state[conv].ndim < 3 or kernel.ndim != 2 or not kernel.size:
            continue
        if not channels or kernel.shape[1] % channels:
            continue
        split = (channels, -1) if channels_first else (-1, channels)
        grouped = kernel.reshape(kernel.shape[0], *split)
        changed[dense] = grouped.swapaxes(1, 2).reshape(kernel.shape)
    return changed


def _pairs(state: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    pairs = [pair for pair in _PAIRS if pair[0] in state and pair[1] in state]
    convs = [match for match in map(_CONV.fullmatch, state) if match]
    denses = [match for match in map(_DENSE.fullmatch, state) if match]
    if convs and denses:
        last = max(convs, key=lambda match: (int(match[1]), int(match[2] or 0)))
        pairs.append((last[0], min(denses, key=lambda match: int(match[1]))[0]))
    return pairs
