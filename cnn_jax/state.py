"""The training state: an immutable record of arrays."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.training.dynamic_scale import DynamicScale

from cnn_jax.averaging import averaged
from cnn_jax.frozen import Trained, trained_part


@flax.struct.dataclass
class TrainState:
    """Everything that a training step changes, and the key that it does not.

    Attributes:
        step: int32 [], steps taken.
        params: tree of float32 arrays.
        batch_stats: tree of float32 arrays, the running statistics of BatchNorm; may be empty.
        opt_state: state of the optimizer.
        key: the run's random key; a step uses `fold_in(key, step)` of it.
        rate: float32 [], what the schedule's learning rate is multiplied by: 1 until a plateau
            lowers it.
        loss_scale: what the loss is multiplied by while gradients are computed in float16, and
            when it changes; None in the wider types.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    key: jax.Array
    rate: jax.Array
    loss_scale: DynamicScale | None = None

    @property
    def variables(self) -> dict:
        """What `model.apply` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def averaged_variables(self) -> dict:
        """The same to evaluate with: the averaged parameters, where the optimizer keeps any.

        The running statistics of BatchNorm are averages already, and stay as they are.
        """
        return {**self.variables, "params": averaged(self.params, self.opt_state)}


def run_key(key: jax.Array) -> jax.Array:
    """Derive the key of a training state from that of the run."""
    return jax.random.split(key)[1]


def init_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: jax.Array,
    *,
    image_shape: tuple[int, int, int],
    loss_scale: DynamicScale | None = None,
    variables: dict | None = None,
    trained: Trained | None = None,
) -> TrainState:
    """Initialise the state for step 0.

    Args:
        model: the network.
        tx: the optimizer.
        key: random key, for the initialisation and for the run.
        image_shape: (H, W, C).
        loss_scale: for training in float16: `precision.dynamic_loss_scale()`.
        variables: parameters and statistics to start from, copied; None to draw them.
        trained: the part of the network to train, all that the optimizer keeps anything of; None
            for all of it.

    Returns:
        The state; the same on every call, and of one structure for checkpoints.
    """
    init_key, _ = jax.random.split(key)
    if variables is None:
        variables = model.init(init_key, jnp.zeros((1, *image_shape), jnp.float32))
    else:
        variables = jax.tree.map(jnp.copy, variables)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(trained_part(params, trained)),
        key=run_key(key),
        rate=jnp.ones((), jnp.float32),
        loss_scale=loss_scale,
    )
