"""Activations: functions of one number, except softmax. Types stay what they are."""

import jax
from jax.typing import ArrayLike

from cnn_jax.errors import InputError
from cnn_jax.layers.arguments import floats


def relu(x: ArrayLike) -> jax.Array:
    """Rectified linear unit: negative values become zero.

    Nair and Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines". The
    gradient at zero is zero.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> relu([-2.0, 0.0, 3.0])
    Array([0., 0., 3.], dtype=float32)
    """
    return jax.nn.relu(floats(x, name="x"))


def relu6(x: ArrayLike) -> jax.Array:
    """ReLU that stops at 6: bounded, so that few bits can hold it.

    Krizhevsky 2010, "Convolutional Deep Belief Networks on CIFAR-10"; Sandler et al. 2018,
    "MobileNetV2", section 3.1.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> relu6([-2.0, 3.0, 9.0])
    Array([0., 3., 6.], dtype=float32)
    """
    return jax.nn.relu6(floats(x, name="x"))


def leaky_relu(x: ArrayLike, *, negative_slope: float = 0.01) -> jax.Array:
    """Leaky ReLU: negative values shrink instead of vanishing, and so does their gradient.

    Maas, Hannun and Ng 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models".

    Args:
        x: float, any shape.
        negative_slope: factor for negative values.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> leaky_relu([-2.0, 3.0], negative_slope=0.5)
    Array([-1.,  3.], dtype=float32)
    """
    return jax.nn.leaky_relu(floats(x, name="x"), negative_slope)


def elu(x: ArrayLike, *, alpha: float = 1.0) -> jax.Array:
    """Exponential linear unit: negative values bend smoothly towards -alpha.

    Clevert, Unterthiner and Hochreiter 2016, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units", equation 15.

    Args:
        x: float, any shape.
        alpha: depth at minus infinity.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> elu([-1.0, 2.0]).round(4)
    Array([-0.6321,  2.    ], dtype=float32)
    """
    return jax.nn.elu(floats(x, name="x"), alpha)


def gelu(x: ArrayLike, *, approximate: bool = False) -> jax.Array:
    """Gaussian error linear unit: a value times the chance that a normal variable is below it.

    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2. The exact form is the
    default here, unlike in `jax.nn`: published weights were trained with it.

    Args:
        x: float, any shape.
        approximate: whether to use the paper's formula with tanh instead of the error function.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> gelu([-1.0, 1.0]).round(2)
    Array([-0.16,  0.84], dtype=float32)
    """
    return jax.nn.gelu(floats(x, name="x"), approximate=approximate)


def sigmoid(x: ArrayLike) -> jax.Array:
    """Logistic function: any number to a share between 0 and 1.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 3.30.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> sigmoid([-1.0, 0.0]).round(4)
    Array([0.2689, 0.5   ], dtype=float32)
    """
    return jax.nn.sigmoid(floats(x, name="x"))


def hard_sigmoid(x: ArrayLike) -> jax.Array:
    """Sigmoid by three straight lines: 0 up to -3, 1 from 3 on. Cheap on a phone.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2. Slope 1/6, as in PyTorch; ONNX's
    HardSigmoid has 0.2 by default.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> hard_sigmoid([-4.0, 0.0, 1.5, 4.0])
    Array([0.  , 0.5 , 0.75, 1.  ], dtype=float32)
    """
    return jax.nn.hard_sigmoid(floats(x, name="x"))


def silu(x: ArrayLike) -> jax.Array:
    """Sigmoid linear unit, also called swish: a value times its own sigmoid.

    Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", equation 13; Ramachandran, Zoph and Le 2017.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> silu([-100.0, 0.0, 100.0])
    Array([ -0.,   0., 100.], dtype=float32)
    """
    return jax.nn.silu(floats(x, name="x"))


def hard_swish(x: ArrayLike) -> jax.Array:
    """Swish with its sigmoid replaced by three straight lines, cheap on a phone.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.

    Args:
        x: float, any shape.

    Returns:
        The shape and type of `x`.

    Raises:
        InputError: for integers.

    >>> hard_swish([-4.0, -1.0, 4.0]).round(4)
    Array([-0.    , -0.3333,  4.    ], dtype=float32)
    """
    return jax.nn.hard_swish(floats(x, name="x"))


def softmax(x: ArrayLike, *, axis: int = -1) -> jax.Array:
    """Turn scores into probabilities: positive, adding up to 1, in the same order.

    Bridle 1990, "Probabilistic Interpretation of Feedforward Classification Network Outputs";
    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 6.29.

    Args:
        x: float, any shape with at least one axis.
        axis: the axis that holds the classes.

    Returns:
        The shape and type of `x`, adding up to 1 along the axis.

    Raises:
        InputError: for integers, or an axis that the array does not have.

    >>> softmax([0.0, 0.0, 0.6931472])
    Array([0.25, 0.25, 0.5 ], dtype=float32)
    """
    x = floats(x, name="x")
    if not -x.ndim <= axis < x.ndim:
        raise InputError(
            f"`axis` (={axis}) must be one of the {x.ndim} axes of `x`: "
            f"choose from {-x.ndim} to {x.ndim - 1}"
        )
    return jax.nn.softmax(x, axis)
