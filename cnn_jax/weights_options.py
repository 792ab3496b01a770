"""Options that say what a file of weights does not: how images are prepared, what the model is."""

from typing import Any

import click

from cnn_jax.errors import InputError

_IMAGES = ("crop_fraction", "interpolation", "mean", "std")
_MODEL = ("bn_epsilon", "same_padding")

# Those that a run or known weights say themselves.
NAMES = (*_IMAGES, *_MODEL)

_OPTIONS = (
    click.option("--crop-fraction", type=float, help="For a file; 1 to crop to a square only."),
    click.option("--interpolation", help="For a file: nearest, bilinear, bicubic or lanczos."),
    click.option("--mean", help="For a file, a number for each channel: 0.5,0.5,0.5."),
    click.option("--std", help="For a file, the same."),
    click.option("--bn-epsilon", type=float, help="For a file: 1e-5 of timm's mobile networks."),
    click.option(
        "--same-padding/--even-padding",
        default=None,
        help="For a file: --same-padding of timm's tf_..., --even-padding of the others.",
    ),
)


def weights_options(command):
    """Give a command the options, each None where it is not said."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def divided(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Divide the options of a command.

    Args:
        given: name -> value, of these and of others; those that are None are left out.

    Returns:
        Fields of `cnn_jax.weights.pretrained.Preprocessing`, fields of a model, and the others.

    Raises:
        InputError: mean and deviation are not given together, or are no numbers.

    >>> divided({"mean": "0.5", "std": "1", "bn_epsilon": 1e-5, "seed": 0, "interpolation": None})
    ({'mean': (0.5,), 'std': (1.0,)}, {'bn_epsilon': 1e-05}, {'seed': 0})
    """
    given = {name: value for name, value in given.items() if value is not None}
    if ("mean" in given) is not ("std" in given):
        raise InputError("`mean` and `std` belong together: give both or neither")
    images = {name: given.pop(name) for name in _IMAGES if name in given}
    for name in ("mean", "std"):
        if name in images:
            images[name] = _numbers(images[name], name=name)
    return images, {name: given.pop(name) for name in _MODEL if name in given}, given


def _numbers(text: str, *, name: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"`{name}` (={text}) must be numbers with commas between, one for each channel"
        ) from error
