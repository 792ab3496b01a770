"""Activations, written out: functions of one number, except softmax."""

import math

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.errors import InputError
from cnn_jax.reference.arguments import float64


def relu(x: ArrayLike) -> np.ndarray:
    """Rectified linear unit: negative values become zero.

    Nair and Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines".

    Args:
        x: float, any shape.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> relu([-2.0, 0.0, 3.0])
    array([0., 0., 3.])
    """
    return np.maximum(float64(x, name="x"), 0.0)


def leaky_relu(x: ArrayLike, *, negative_slope: float = 0.01) -> np.ndarray:
    """Leaky ReLU: negative values shrink instead of vanishing, and so does their gradient.

    Maas, Hannun and Ng 2013, "Rectifier Nonlinearities Improve Neural Network Acoustic Models".

    Args:
        x: float, any shape.
        negative_slope: factor for negative values.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> leaky_relu([-2.0, 3.0], negative_slope=0.5)
    array([-1.,  3.])
    """
    x = float64(x, name="x")
    return np.where(x >= 0, x, negative_slope * x)


def elu(x: ArrayLike, *, alpha: float = 1.0) -> np.ndarray:
    """Exponential linear unit: negative values bend smoothly towards -alpha.

    Clevert, Unterthiner and Hochreiter 2016, "Fast and Accurate Deep Network Learning by
    Exponential Linear Units", equation 15.

    Args:
        x: float, any shape.
        alpha: depth at minus infinity.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> elu([-1.0, 2.0]).round(4)
    array([-0.6321,  2.    ])
    """
    x = float64(x, name="x")
    # Large positive values would overflow in the branch that np.where throws away.
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def gelu(x: ArrayLike, *, approximate: bool = False) -> np.ndarray:
    """Gaussian error linear unit: a value times the chance that a normal variable is below it.

    Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.

    Args:
        x: float, any shape.
        approximate: whether to use the paper's formula with tanh instead of the error function.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> gelu([-1.0, 1.0]).round(4)
    array([-0.1587,  0.8413])
    >>> gelu([-1.0, 1.0], approximate=True).round(4)
    array([-0.1588,  0.8412])
    """
    x = float64(x, name="x")
    if approximate:
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    output = np.zeros(x.shape)
    for position in np.ndindex(x.shape):
        output[position] = x[position] * 0.5 * (1 + math.erf(x[position] / math.sqrt(2)))
    return output


def silu(x: ArrayLike) -> np.ndarray:
    """Sigmoid linear unit, also called swish: a value times its own sigmoid.

    Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", equation 13; Ramachandran, Zoph and Le 2017.

    Args:
        x: float, any shape.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> silu([-1.0, 1.0]).round(4)
    array([-0.2689,  0.7311])
    """
    x = float64(x, name="x")
    # The sigmoid by tanh: exp(-x) would overflow for very negative values.
    return x * 0.5 * (1 + np.tanh(x / 2))


def hard_swish(x: ArrayLike) -> np.ndarray:
    """Swish with its sigmoid replaced by three straight lines, cheap on a phone.

    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.

    Args:
        x: float, any shape.

    Returns:
        float64, the same shape.

    Raises:
        InputError: for integers.

    >>> hard_swish([-1.0, 1.0, 4.0]).round(4)
    array([-0.3333,  0.6667,  4.    ])
    """
    x = float64(x, name="x")
    return x * np.clip(x + 3, 0, 6) / 6


def softmax(x: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """Turn scores into probabilities: positive, adding up to 1, in the same order.

    Bridle 1990, "Probabilistic Interpretation of Feedforward Classification Network Outputs";
    Goodfellow, Bengio and Courville 2016, "Deep Learning", equation 6.29.

    Args:
        x: float, any shape with at least one axis.
        axis: the axis that holds the classes.

    Returns:
        float64, the same shape, adding up to 1 along the axis.

    Raises:
        InputError: for integers, or an axis that the array does not have.

    >>> softmax([0.0, 0.0, np.log(2)])
    array([0.25, 0.25, 0.5 ])
    """
    x = float64(x, name="x")
    if not -x.ndim <= axis < x.ndim:
        raise InputError(
            f"`axis` (={axis}) must be one of the {x.ndim} axes of `x`: "
            f"choose from {-x.ndim} to {x.ndim - 1}"
        )
    # A common shift cancels in the quotient; without it large scores overflow.
    powers = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True)
