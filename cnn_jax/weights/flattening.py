"""Dense layers on flattened maps: PyTorch flattens [C, H, W], we flatten [H, W, C].

The rows of such a kernel are the same numbers in another order. The number of channels alone
tells the order; height and width need not be known apart. Where no convolution precedes, as in a
multilayer perceptron, nothing in the file tells the channels, and the order is left as it is.
"""

import re

import numpy as np

# (the convolutions, the dense layers): the first dense layer takes the maps of the last one.
_PAIRS = (
    (r"features\.(\d+)\.weight", r"classifier\.(1)\.weight"),  # AlexNet
    (r"aux1\.conv\.conv\.weight", r"aux1\.fc(1)\.weight"),  # GoogLeNet
    (r"aux2\.conv\.conv\.weight", r"aux2\.fc(1)\.weight"),
    (r"conv(\d+)(?:\.(\d+))?\.weight", r"fc(\d+)\.weight"),  # LeNet-5 and the course models
)


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
    for conv_pattern, dense_pattern in _PAIRS:
        convs = _numbered(state, conv_pattern, ranks=(3, 4))
        denses = _numbered(state, dense_pattern, ranks=(2,))
        if not convs or not denses:
            continue
        name = denses[0]
        kernel, channels = state[name], state[convs[-1]].shape[0]
        if not kernel.size or kernel.shape[1] % channels:
            continue
        split = (channels, -1) if channels_first else (-1, channels)
        grouped = kernel.reshape(kernel.shape[0], *split)
        changed[name] = grouped.swapaxes(1, 2).reshape(kernel.shape)
    return changed


def _numbered(state: dict[str, np.ndarray], pattern: str, ranks: tuple[int, ...]) -> list[str]:
    """Find kernels by their name, in the order of the numbers in it."""
    found = [
        (tuple(int(number or 0) for number in match.groups()), name)
        for name, match in ((name, re.fullmatch(pattern, name)) for name in state)
        if match and state[name].ndim in ranks and state[name].size
    ]
    return [name for _, name in sorted(found)]
