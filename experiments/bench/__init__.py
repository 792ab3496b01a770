"""Parts of `experiments/benchmark.py`: what is measured, ours and the peers, and how."""
