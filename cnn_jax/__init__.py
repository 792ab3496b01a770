"""Image classification with convolutional networks in JAX.

Names are imported when first used: `import cnn_jax` costs nothing that the caller does not need.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnn_jax.data import load as load_data
    from cnn_jax.errors import InputError
    from cnn_jax.inspect import summary
    from cnn_jax.models import create_model, list_models
    from cnn_jax.models.features import extract_features
    from cnn_jax.recipe import Recipe
    from cnn_jax.state import TrainState
    from cnn_jax.steps import make_eval_step, make_train_step
    from cnn_jax.train import Result, run
    from cnn_jax.trained import load_run
    from cnn_jax.weights import load_weights, save_weights

__version__ = "0.1.0"

# Public name -> where it is defined, and under which name.
_PUBLIC = {
    "InputError": ("cnn_jax.errors", "InputError"),
    "Recipe": ("cnn_jax.recipe", "Recipe"),
    "Result": ("cnn_jax.train", "Result"),
    "TrainState": ("cnn_jax.state", "TrainState"),
    "create_model": ("cnn_jax.models", "create_model"),
    "extract_features": ("cnn_jax.models.features", "extract_features"),
    "list_models": ("cnn_jax.models", "list_models"),
    "load_data": ("cnn_jax.data", "load"),
    "load_run": ("cnn_jax.trained", "load_run"),
    "load_weights": ("cnn_jax.weights", "load_weights"),
    "make_eval_step": ("cnn_jax.steps", "make_eval_step"),
    "make_train_step": ("cnn_jax.steps", "make_train_step"),
    "run": ("cnn_jax.train", "run"),
    "save_weights": ("cnn_jax.weights", "save_weights"),
    "summary": ("cnn_jax.inspect", "summary"),
}

__all__ = [
    "InputError",
    "Recipe",
    "Result",
    "TrainState",
    "create_model",
    "extract_features",
    "list_models",
    "load_data",
    "load_run",
    "load_weights",
    "make_eval_step",
    "make_train_step",
    "run",
    "save_weights",
    "summary",
]


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
