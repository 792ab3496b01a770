"""Where the weights are in what a checkpoint holds, and what was put before their names."""

from typing import Any

import numpy as np

from cnn_jax.weights.malformed import Malformed
from cnn_jax.weights.tensors import Tensor

# In the order of preference, which is timm's: the averaged weights are the ones to evaluate.
_WRAPPERS = (
    "state_dict_ema",
    "model_ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
)

# Of DataParallel, `torch.compile` and Lightning. None of the zoo's models has such a child.
_PREFIXES = ("module.", "_orig_mod.", "model.")

# Wrappers in wrappers that are looked into: a pickle's dictionary may lie in itself.
_DEEPEST = 8


def find_tensors(root: Any) -> list[tuple[str, Tensor]]:
    """Find the `state_dict` in a checkpoint.

    Args:
        root: what the pickle holds: the `state_dict` itself, or a dictionary that has one under
            a usual name.

    Returns:
        (name, tensor) of each entry.

    Raises:
        Malformed: there is none, or it holds something else than tensors, or itself.
    """
    if not isinstance(root, dict):
        raise Malformed(f"it holds a {type(root).__name__} and no dictionary of tensors")
    for _ in range(_DEEPEST):
        inner = next((root[name] for name in _WRAPPERS if _has_tensors(root.get(name))), None)
        if inner is None:
            break
        root = inner
    else:
        raise Malformed(f"more than {_DEEPEST} of its dictionaries lie in each other")
    if not _has_tensors(root):
        names = ", ".join(f"`{str(name)[:40]}`" for name in list(root)[:8])
        raise Malformed(
            f"it holds {names or 'nothing'}, and tensors neither there nor under "
            + ", ".join(f"`{name}`" for name in _WRAPPERS)
        )
    for name, value in root.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise Malformed(
                f"its entry `{str(name)[:100]}` is no tensor: keep the `state_dict` apart from "
                "what else is saved"
            )
    return list(root.items())


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, Tensor) for inner in value.values())


def without_prefixes(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take off what wrappers put before all names.

    Args:
        state: name -> array.

    Returns:
        The same arrays; `module.conv1.weight` is now `conv1.weight`.
    """
    for prefix in (*_PREFIXES, *_PREFIXES):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): array for name, array in state.items()}
    return state
