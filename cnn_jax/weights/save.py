"""Weights for PyTorch: timm's or torchvision's names and layouts in a safetensors file."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from cnn_jax.errors import InputError
from cnn_jax.weights.flattening import to_torch_order
from cnn_jax.weights.naming import COUNTER, to_name, to_torch_layout
from cnn_jax.weights.safetensors_file import DTYPES, write_safetensors

_COLLECTIONS = {"params", "batch_stats"}


def state_dict(variables: Mapping) -> dict[str, np.ndarray]:
    """Give variables PyTorch's names and layouts.

    Dense layers on flattened maps take their inputs in the order [C, H, W] there. That of `mlp`,
    which flattens the image itself, keeps the order [H, W, C]: its variables do not tell the number
    of channels. For one channel both are the same; of a colour image PyTorch must flatten
    `images.permute(0, 2, 3, 1)`.

    Args:
        variables: `params`, and `batch_stats` where the model has them.

    Returns:
        Name -> array, of the variables' own types.

    Raises:
        InputError: there are no parameters, other collections, or two variables of one name.
    """
    if not variables.get("params") or set(variables) - _COLLECTIONS:
        raise InputError(
            f"`variables` (with {', '.join(sorted(variables)) or 'nothing'}) must have `params`, "
            "and besides them only `batch_stats`: pass what `model.apply` takes"
        )
    state: dict[str, np.ndarray] = {}
    for path, leaf in flatten_dict(jax.device_get(dict(variables))).items():
        name = to_name(path)
        if name in state:
            raise InputError(f"two variables would be saved as `{name}`: rename one's module")
        state[name] = to_torch_layout(path, np.asarray(leaf))
    return to_torch_order(state)


def save_weights(variables: Mapping, path: str | Path) -> None:
    """Write variables so that PyTorch, timm and torchvision load them with `strict=True`.

    `safetensors.torch.load_file(path)` gives the `state_dict`; BatchNorm's `num_batches_tracked`,
    which we do without, is 0. A file that is there is replaced once the new one is complete. Names
    and layouts are those of `state_dict`, which says what an `mlp` of colour images needs besides.

    Args:
        variables: `params`, and `batch_stats` where the model has them; as `load_weights` and
            `model.init` return them.
        path: of the file, which must end in `.safetensors`.

    Raises:
        InputError: the name ends otherwise, the folder is missing or cannot be written to, or the
            variables are not those of a model.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"`path` (={path}) must end in .safetensors")
    state = state_dict(variables)
    for name, array in state.items():
        if array.dtype not in DTYPES.values():
            raise InputError(f"`{name}` is of type {array.dtype}, which safetensors lacks")
    counters = {
        f"{name.removesuffix('running_mean')}{COUNTER}": np.zeros((), np.int64)
        for name in state
        if name.endswith(".running_mean")
    }
    header, arrays = write_safetensors({**state, **counters})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(header)
            for array in arrays:
                file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"`path` (={path}) cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
