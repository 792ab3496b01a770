"""What a model consists of and what it costs, layer by layer."""

import dataclasses
import math

import flax.linen as nn

from cnn_jax.errors import InputError
from cnn_jax.inspect.execution import Execution
from cnn_jax.inspect.program import Program, trace
from cnn_jax.weights.shapes import default_image_shape

_FLOAT32_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Layer:
    """A module that has parameters or multiplies: what it does itself, without modules in it.

    Attributes:
        name: path from the model, "layer1_0/conv1"; empty for the model itself.
        kind: its class.
        output_shape: of its output for one image, such as (H, W, C); None where evaluation does
            not call it, as auxiliary heads.
        parameters: trainable numbers.
        statistics: numbers that training gathers: running means and variances.
        macs: multiply-adds for one image.
        activations: numbers that its convolution, product or dense map puts out for one image.
        receptive_field: (height, width) in pixels of the image that a position of the output
            depends on; None where it is not defined.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    statistics: int
    macs: int
    activations: int
    receptive_field: tuple[int, ...] | None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A model, its layers and the totals.

    Attributes:
        model: name of its class.
        image_shape: of an image, (H, W, C); (L, C) of a signal.
        output_shape: for one image: (num_classes,), or (C,) without a classifier.
        layers: in the order in which they end.
        receptive_field: (height, width) in pixels, of a position of the maps that are pooled or
            flattened at the end; None where it is not defined: each position then depends on the
            whole image, as behind squeeze-and-excitation or attention.
        used_bytes: most bytes for one image in use at a time in evaluation: what a layer takes and
            gives, and what the blocks around it took.
        kept_bytes: bytes for one image that the backward pass needs: what each module takes, and
            what each convolution and dense layer gives.
    """

    model: str
    image_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    receptive_field: tuple[int, ...] | None
    used_bytes: int
    kept_bytes: int

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def statistics(self) -> int:
        """Running means and variances."""
        return sum(layer.statistics for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of convolutions, dense layers and products for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def gmacs(self) -> float:
        """Multiply-adds for one image, in 10^9."""
        return self.macs / 1e9

    @property
    def activations(self) -> int:
        """Numbers that convolutions, dense layers and products put out for one image.

        Radosavovic et al. 2020, "Designing Network Design Spaces", section 3.1.
        """
        return sum(layer.activations for layer in self.layers)

    def inference_bytes(self, batch_size: int = 1) -> int:
        """Estimate the memory of evaluation: the weights, and the maps in use at a time.

        Args:
            batch_size: images.

        Returns:
            Bytes, float32 weights included.

        Raises:
            InputError: the batch size is below 1.
        """
        _check(batch_size)
        return _FLOAT32_BYTES * (self.parameters + self.statistics) + batch_size * self.used_bytes

    def training_bytes(self, batch_size: int = 1, *, optimizer_slots: int = 1) -> int:
        """Estimate the memory of a training step.

        Weights, gradients, the optimizer's numbers, and the maps that the backward pass needs. A
        compiler that recomputes activations needs less, one with temporary copies more.

        Args:
            batch_size: images.
            optimizer_slots: numbers that the optimizer keeps for each parameter: 1 of SGD with
                momentum, 2 of Adam.

        Returns:
            Bytes.

        Raises:
            InputError: the batch size is below 1.
        """
        _check(batch_size)
        numbers = self.parameters * (2 + optimizer_slots) + self.statistics
        return _FLOAT32_BYTES * numbers + batch_size * self.kept_bytes


def summary(
    model: nn.Module,
    image_size: int | None = None,
    *,
    image_shape: tuple[int, ...] | None = None,
) -> Summary:
    """Count a model's parameters, multiply-adds, activations and memory; nothing is computed.

    Args:
        model: of the zoo, or one of your own whose convolutions and dense layers are modules. Of
            functions called directly, only convolutions and products of the compiler are counted.
        image_size: height and width; by default those that the model is meant for. Of a network
            for signals, the length.
        image_shape: (height, width, channels), for a model without `image_size` and `in_channels`.

    Returns:
        The record, for one image in evaluation.

    Raises:
        InputError: the model does not say its image size, or does not take this one.

    >>> from cnn_jax import create_model
    >>> record = summary(create_model("resnet18"))
    >>> record.parameters, round(record.gmacs, 3), record.receptive_field
    (11689512, 1.814, (435, 435))
    """
    if image_shape is None:
        image_shape = default_image_shape(model)
        if image_size is not None:
            _check(image_size, "image_size", "pixels")
            image_shape = (image_size,) * (len(image_shape) - 1) + image_shape[-1:]
    program = trace(model, tuple(image_shape))
    execution = Execution(program)
    (output,) = execution.outputs
    return Summary(
        model=type(model).__name__,
        image_shape=tuple(image_shape),
        output_shape=output.shape[1:],
        layers=_layers(program, execution),
        receptive_field=output.receptive_field,
        used_bytes=execution.most_bytes,
        kept_bytes=sum(value.bytes for value in execution.kept if value.field is not None),
    )


def _layers(program: Program, execution: Execution) -> tuple[Layer, ...]:
    numbers: dict[tuple[str, ...], dict[str, int]] = {}
    for (collection, *path, _), shape in program.shapes.items():
        own = numbers.setdefault(tuple(path), {"params": 0, "batch_stats": 0})
        own[collection] += math.prod(shape)
    layers = []
    for path, counts in execution.modules.items():
        own = numbers.pop(path, None)
        if own or counts.macs:
            own = own or {"params": 0, "batch_stats": 0}
            output = counts.output
            layers.append(
                Layer(
                    name="/".join(path),
                    kind=counts.kind,
                    output_shape=output.shape[1:] if output else None,
                    parameters=own["params"],
                    statistics=own["batch_stats"],
                    macs=counts.macs,
                    activations=counts.activations,
                    receptive_field=output.receptive_field if output and output.is_map else None,
                )
            )
    # What evaluation does not call.
    for path, own in numbers.items():
        layers.append(
            Layer("/".join(path), "", None, own["params"], own["batch_stats"], 0, 0, None)
        )
    return tuple(layers)


def _check(value: int, name: str = "batch_size", what: str = "images") -> None:
    if value < 1:
        raise InputError(f"`{name}` (={value}) must be at least 1: it is a number of {what}")
