"""Checks that a number given as an argument lies where it must.

A traced number passes unchecked: its value is not known, as where a learning rate is mapped over.
"""

import numbers
from typing import Any

import jax

from cnn_jax.errors import InputError


def positive(name: str, value: Any, *, remedy: str) -> None:
    """Require a number above 0.

    Args:
        name: of the argument.
        value: what was given.
        remedy: what to do about it, an imperative.

    Raises:
        InputError: it is not above 0, or NaN.

    >>> positive("temperature", 0, remedy="choose 1 for no softening")
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `temperature` (=0) must be positive: choose 1 for no softening
    """
    if not isinstance(value, jax.core.Tracer) and not value > 0:
        raise InputError(f"`{name}` (={value}) must be positive: {remedy}")


def not_negative(name: str, value: Any, *, remedy: str) -> None:
    """Require a number of at least 0.

    Args:
        name: of the argument.
        value: what was given.
        remedy: what to do about it, an imperative.

    Raises:
        InputError: it is below 0, or NaN.

    >>> not_negative("gamma", -1, remedy="choose 2")
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `gamma` (=-1) must not be negative: choose 2
    """
    if not isinstance(value, jax.core.Tracer) and not value >= 0:
        raise InputError(f"`{name}` (={value}) must not be negative: {remedy}")


def fraction(name: str, value: Any, *, remedy: str, with_one: bool = False) -> None:
    """Require a number of at least 0 and below 1.

    Args:
        name: of the argument.
        value: what was given.
        remedy: what to do about it, an imperative.
        with_one: whether 1 itself is right as well.

    Raises:
        InputError: it lies outside.

    >>> fraction("momentum", 1.5, remedy="choose 0.9")
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `momentum` (=1.5) must be at least 0 and below 1: choose 0.9
    """
    if isinstance(value, jax.core.Tracer):
        return
    if not (0 <= value < 1 or (with_one and value == 1)):
        end = "at most 1" if with_one else "below 1"
        raise InputError(f"`{name}` (={value}) must be at least 0 and {end}: {remedy}")


def whole(name: str, value: Any, *, least: int = 1, remedy: str) -> None:
    """Require a whole number of at least `least`.

    Args:
        name: of the argument.
        value: what was given.
        least: the smallest right value.
        remedy: what to do about it, an imperative.

    Raises:
        InputError: it is below, or no whole number.

    >>> whole("patience", 2.5, remedy="choose 5")
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `patience` (=2.5) must be a whole number of at least 1: choose 5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        raise InputError(
            f"`{name}` (={value}) must be a whole number of at least {least}: {remedy}"
        )
