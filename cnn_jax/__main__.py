"""`python -m cnn_jax` is `cnn-jax`."""

from cnn_jax.cli import main

if __name__ == "__main__":
    main()
