"""The training state: an immutable record of arrays."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes, and the key that it does not.

    Attributes:
        step: int32 [], steps taken.
        params: tree of float32 arrays.
        batch_stats: tree of float32 arrays, the running statistics of BatchNorm; may be empty.
        opt_state: state of the optimizer.
        key: the run's random key; a step uses `fold_in(key, step)` of it.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    key: jax.Array

    @property
    def variables(self) -> dict:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """Initialise the state for step 0.

    Args:
        model: the network.
        tx: the optimizer.
        key: random key, for the initialisation and for the run.
        image_shape: (H, W, C).

    Returns:
        The state; the same on every call, and of one structure for checkpoints.
    """
    init_key, run_key = jax.random.split(key)
    variables = model.init(init_key, jnp.zeros((1, *image_shape), jnp.float32))
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
        key=run_key,
    )
