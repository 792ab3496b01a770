"""Image classification with convolutional networks in JAX."""

__version__ = "0.1.0"
