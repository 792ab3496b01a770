"""The strict merge: what a file has and what a model expects must be the same, name by name."""

from collections.abc import Mapping

import numpy as np

from cnn_jax.errors import InputError
from cnn_jax.weights.naming import Path, to_name, to_our_layout, to_path, torch_shape

_SHOWN = 20


class WeightsMismatch(InputError):
    """Weights that are not those of the model; nothing was loaded.

    Attributes:
        missing: names that the model has and the file lacks.
        unexpected: names that the file has and the model lacks.
        mis_shaped: name -> what is wrong with its shape or type.
    """

    def __init__(
        self,
        source: str,
        model: str,
        *,
        missing: list[str],
        unexpected: list[str],
        mis_shaped: dict[str, str],
        remedy: str,
        shown: int = _SHOWN,
    ):
        """Say what differs; the lists are whole in the attributes, and shortened in the message."""
        self.missing, self.unexpected, self.mis_shaped = missing, unexpected, mis_shaped
        described = [f"`{name}` {reason}" for name, reason in mis_shaped.items()]
        parts = [
            f"{len(names)} {kind}: {_shortened(names, shown)}"
            for kind, names in (
                ("missing", [f"`{name}`" for name in missing]),
                ("unexpected", [f"`{name}`" for name in unexpected]),
                ("mis-shaped", described),
            )
            if names
        ]
        super().__init__(f"{source} does not fit {model} ({'; '.join(parts)}): {remedy}")


def place(state: Mapping[str, np.ndarray]) -> dict[Path, tuple[str, np.ndarray]]:
    """Give each entry of a `state_dict` its place among our variables.

    Args:
        state: name -> array in PyTorch's layout.

    Returns:
        Path -> (name, array in our layout); BatchNorm's counters are left out.

    Raises:
        InputError: two entries have the same place.
    """
    placed: dict[Path, tuple[str, np.ndarray]] = {}
    for name, array in state.items():
        path = to_path(name, array.ndim)
        if path is None:
            continue
        if path in placed:
            raise InputError(
                f"`{placed[path][0]}` and `{name}` have the same place in the model: keep one"
            )
        placed[path] = (name, to_our_layout(path, array))
    return placed


def differences(
    placed: Mapping[Path, tuple[str, np.ndarray]], shapes: Mapping[Path, tuple[int, ...]]
) -> dict:
    """Compare what is there with what is expected.

    Args:
        placed: path -> (name, array in our layout).
        shapes: path -> expected shape.

    Returns:
        `missing`, `unexpected` and `mis_shaped`, as in `WeightsMismatch`.
    """
    mis_shaped = {}
    for path, (name, array) in placed.items():
        if path in shapes and array.shape != shapes[path]:
            there, wanted = torch_shape(path, array.shape), torch_shape(path, shapes[path])
            mis_shaped[name] = f"{there} for {wanted}"
        elif path in shapes and not _is_float(array):
            mis_shaped[name] = f"of type {array.dtype}, not floating-point"
    return {
        "missing": [to_name(path) for path in shapes if path not in placed],
        "unexpected": [name for path, (name, _) in placed.items() if path not in shapes],
        "mis_shaped": mis_shaped,
    }


def _is_float(array: np.ndarray) -> bool:
    # NumPy counts bfloat16, which it does not know, among the void types.
    return array.dtype.name in ("float64", "float32", "float16", "bfloat16")


def _shortened(names: list[str], shown: int) -> str:
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
