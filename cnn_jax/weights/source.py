"""Where weights come from: a file, a run directory, or a repository of the hub."""

from pathlib import Path

import numpy as np

from cnn_jax.weights import hub
from cnn_jax.weights.files import read_file
from cnn_jax.weights.save import state_dict
from cnn_jax.weights.state_dict import without_prefixes


def repository(source: str | Path) -> str | None:
    """Return the OWNER/REPO of "hf:OWNER/REPO"; None for what is on the disk.

    >>> repository("hf:timm/resnet50.a1_in1k"), repository("resnet50.safetensors")
    ('timm/resnet50.a1_in1k', None)
    """
    on_the_hub = isinstance(source, str) and source.startswith(hub.PREFIX)
    return source.removeprefix(hub.PREFIX) if on_the_hub else None


def read_source(source: str | Path) -> dict[str, np.ndarray]:
    """Read a `state_dict`, without what wrappers put before its names.

    Args:
        source: a file, a run directory, or "hf:OWNER/REPO".

    Returns:
        Name -> array in PyTorch's layout.

    Raises:
        InputError: it cannot be read.
    """
    name = repository(source)
    if name is not None:
        return without_prefixes(read_file(hub.download(name)))
    path = Path(source)
    if path.is_dir():
        from cnn_jax.trained import load_run  # imports what only a run directory needs

        variables = load_run(path).variables
        return state_dict({name: tree for name, tree in variables.items() if tree})
    return without_prefixes(read_file(path))
