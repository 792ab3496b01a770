"""Reports of runs: one HTML file that needs nothing else."""

from cnn_jax.report.comparison import write_comparison
from cnn_jax.report.run_report import write_report

__all__ = ["write_comparison", "write_report"]
