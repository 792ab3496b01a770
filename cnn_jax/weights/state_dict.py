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


def find_tensors(root: Any) -> list[tuple[str, Tensor]]:
    """Find the `state_dict` in a checkpoint.

    Args:
        root: what the pickle holds: the `state_dict` itself, or a dictionary that has one under
            a usual name.

    Returns:
        (name, tensor) of each entry.

    Raises:
        Malformed: there is none, or it holds something else than tensors.
    """
    if not isinstance(root, dict):
        raise Malformed(f"it holds a {type(root).__name__} and no dictionary of tensors")
    for name in _WRAPPERS:
        inner = root.get(name)
        if isinstance(inner, dict) and any(isinstance(value, Tensor) for value in inner.values()):
            return find_tensors(inner)
    if not any(isinstance(value, Tensor) for value in root.values()):
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
