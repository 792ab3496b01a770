"""In which type a network computes, and how float16 is kept from overflowing.

| what | float32 | bfloat16 | float16 |
|---|---|---|---|
| parameters, running statistics, optimizer | float32 | float32 | float32 |
| convolution, dense, pooling, activation, addition | float32 | bfloat16 | float16 |
| mean and variance of BatchNorm, LayerNorm; softmax of attention | float32 | float32 | float32 |
| loss | float32 | float32 | float32, scaled |
| gradients of the parameters | float32 | float32 | float32, unscaled |
"""

import flax.linen as nn
import jax.numpy as jnp
from flax.training.dynamic_scale import DynamicScale

from cnn_jax.errors import InputError, nearest

TYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


def with_precision(model: nn.Module, precision: str) -> nn.Module:
    """Make a model compute in a type.

    Args:
        model: any of the zoo, or a module with an attribute `dtype` that it hands to its layers.
        precision: "float32", "bfloat16" or "float16".

    Returns:
        The model; with float32 the very same, whatever its own type.

    Raises:
        InputError: there is no such type, or the model has no attribute `dtype`.

    >>> from cnn_jax import create_model
    >>> with_precision(create_model("lenet5"), "bfloat16").dtype.__name__
    'bfloat16'
    """
    if precision not in TYPES:
        raise InputError(f"`precision` (={precision!r}) is unknown: {nearest(precision, TYPES)}")
    if precision == "float32":
        return model
    if not hasattr(model, "dtype"):
        raise InputError(
            f"`precision` (={precision}) needs a model with an attribute `dtype`, which "
            f"{type(model).__name__} has not: give it one, or choose float32"
        )
    return model.clone(dtype=TYPES[precision])


def dynamic_loss_scale(
    *, initial: float = 2.0**16, growth_interval: int = 2000, minimum: float = 1.0
) -> DynamicScale:
    """Make the loss scale of float16 (Micikevicius et al. 2018, section 3.2).

    Gradients too small for float16 survive as multiples. An overflow halves the scale and undoes
    the step; many steps in a row without one double it.

    Args:
        initial: the scale at first.
        growth_interval: steps without an overflow after which the scale is doubled.
        minimum: the lowest scale; gradients that are not finite at this one count as divergence.

    Returns:
        The loss scale, for `init_state`.

    >>> float(dynamic_loss_scale().scale)
    65536.0
    """
    return DynamicScale(
        growth_interval=growth_interval,
        fin_steps=jnp.zeros((), jnp.int32),
        scale=jnp.float32(initial),
        minimum_scale=minimum,
    )
