"""Looking into a model: what it consists of and what it costs."""

from cnn_jax.inspect.summary import Layer, Summary, summary
from cnn_jax.inspect.table import table

__all__ = ["Layer", "Summary", "summary", "table"]
