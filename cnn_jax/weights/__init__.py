"""Weights from and to PyTorch's world, without PyTorch."""

from cnn_jax.weights.load import load_weights
from cnn_jax.weights.merge import WeightsMismatch
from cnn_jax.weights.save import save_weights, state_dict

__all__ = ["WeightsMismatch", "load_weights", "save_weights", "state_dict"]
