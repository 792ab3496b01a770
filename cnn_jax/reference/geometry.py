"""Sizes: of outputs, of receptive fields, of layers."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn_jax.errors import InputError
from cnn_jax.reference.arguments import Pair, check_groups, pair, whole


def output_size(
    size: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Number of positions at which a sliding window is read, in one direction.

    The window covers `dilation * (kernel - 1) + 1` pixels of the padded image. Its first
    position is one, and every further whole stride that is left gives one more:

        floor((size + before + after - covered) / stride) + 1

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning",
    relationships 1 to 6; with dilation, section 5.1.

    Args:
        size: pixels of the image.
        kernel: entries of the window.
        stride: pixels from one position to the next.
        padding: pixels added on both sides, or (before, after).
        dilation: pixels from one entry of the window to the next.
        ceil_mode: whether a last, incomplete stride counts too, even of a first window that reaches
            beyond the padded image by less than a stride; not where it would start in the padding
            behind the image (PyTorch's rule).

    Returns:
        Pixels of the output.

    Raises:
        InputError: if the window is larger than the padded image; with `ceil_mode`, larger by a
            stride or more.

    >>> output_size(32, kernel=3)
    30
    >>> output_size(32, kernel=3, padding=1)
    32
    >>> output_size(32, kernel=3, stride=2)
    15
    >>> output_size(32, kernel=3, stride=2, ceil_mode=True)
    16
    """
    size = whole(size, name="size", at_least=1)
    kernel = whole(kernel, name="kernel", at_least=1)
    stride = whole(stride, name="stride", at_least=1)
    dilation = whole(dilation, name="dilation", at_least=1)
    before, after = pair(padding, name="padding", at_least=0)

    covered = dilation * (kernel - 1) + 1
    padded = size + before + after
    missing = covered - padded - (stride - 1 if ceil_mode else 0)
    if missing > 0:
        spread = f", which `dilation` (={dilation}) spreads over {covered}," if dilation > 1 else ""
        raise InputError(
            f"`kernel` (={kernel}){spread} must fit in the padded image (={padded}): "
            f"shrink it, or add {missing} to `padding` in all"
        )

    positions = (padded - covered) // stride + 1
    incomplete = (padded - covered) % stride > 0
    if ceil_mode and incomplete and positions * stride < before + size:
        positions += 1
    return positions


def transposed_output_size(
    size: int,
    *,
    kernel: int,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Size of a transposed convolution's output, in one direction.

    It answers: which image would a convolution with the same options have turned into `size`?
    Where the stride leaves several answers, `output_padding` chooses among them:

        (size - 1) * stride + dilation * (kernel - 1) + 1 - before - after + output_padding

    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning",
    relationship 14.

    Args:
        size: pixels of the image.
        kernel: entries of the kernel.
        stride: pixels from one pasted kernel to the next.
        padding: pixels cut off on both sides, or (before, after).
        output_padding: pixels added behind; smaller than the stride or the dilation.
        dilation: pixels from one entry of the kernel to the next.

    Returns:
        Pixels of the output.

    Raises:
        InputError: if nothing would be left, or `output_padding` is too large.

    >>> transposed_output_size(15, kernel=3, stride=2)
    31
    >>> transposed_output_size(15, kernel=3, stride=2, output_padding=1)
    32
    """
    size = whole(size, name="size", at_least=1)
    kernel = whole(kernel, name="kernel", at_least=1)
    stride = whole(stride, name="stride", at_least=1)
    dilation = whole(dilation, name="dilation", at_least=1)
    output_padding = whole(output_padding, name="output_padding", at_least=0)
    before, after = pair(padding, name="padding", at_least=0)

    if output_padding >= max(stride, dilation):
        raise InputError(
            f"`output_padding` (={output_padding}) must be smaller than `stride` (={stride}) "
            f"or `dilation` (={dilation}): choose at most {max(stride, dilation) - 1}"
        )
    full = (size - 1) * stride + dilation * (kernel - 1) + 1 + output_padding
    if full <= before + after:
        raise InputError(
            f"`padding` (={before} and {after}) must leave some of the {full} pixels that a "
            f"kernel of {kernel} gives on {size}: choose less"
        )
    return full - before - after


class Window(NamedTuple):
    """What a convolution or a pooling does to sizes, in one direction.

    Attributes:
        kernel: entries of the window.
        stride: pixels from one position to the next.
        padding: pixels added in front.
        dilation: pixels from one entry to the next.

    >>> Window(kernel=3, stride=2)
    Window(kernel=3, stride=2, padding=0, dilation=1)
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1


class ReceptiveField(NamedTuple):
    """The pixels of the image on which one output depends, in one direction.

    Output i depends on the pixels offset + i * stride up to, not including,
    offset + i * stride + size; those outside the image are padding.

    Attributes:
        size: pixels of the image that one output sees.
        stride: pixels of the image from one output's field to the next one's.
        offset: first pixel that output 0 sees; negative where it lies in the padding.

    >>> ReceptiveField(size=3, stride=1, offset=-1)
    ReceptiveField(size=3, stride=1, offset=-1)
    """

    size: int
    stride: int
    offset: int


def receptive_field(layers: Sequence[Window]) -> ReceptiveField:
    """Follow the receptive field through a stack of convolutions and poolings.

    One step of a layer is as wide as all the strides before it together; the layer widens the
    field by that step for each entry of its window but one.

    Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks",
    Distill.

    Args:
        layers: the windows, first layer first; none is the image itself.

    Returns:
        Size, stride and offset, in pixels of the image.

    Raises:
        InputError: if a kernel, a stride or a dilation is below 1.

    >>> receptive_field([Window(kernel=3), Window(kernel=3)])
    ReceptiveField(size=5, stride=1, offset=0)
    >>> receptive_field([Window(kernel=7, stride=2, padding=3), Window(kernel=3, stride=2)])
    ReceptiveField(size=11, stride=4, offset=-3)
    """
    size, step, offset = 1, 1, 0
    for layer in layers:
        kernel = whole(layer.kernel, name="kernel", at_least=1)
        stride = whole(layer.stride, name="stride", at_least=1)
        padding = whole(layer.padding, name="padding", at_least=0)
        dilation = whole(layer.dilation, name="dilation", at_least=1)
        size += (kernel - 1) * dilation * step
        offset -= padding * step
        step *= stride
    return ReceptiveField(size, step, offset)


def dense_parameters(inputs: int, outputs: int, *, use_bias: bool = True) -> int:
    """Parameters of a dense layer: every output has a weight for every input.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", section 9.2.

    Args:
        inputs: numbers going in; height * width * channels for a flattened image.
        outputs: numbers coming out.
        use_bias: whether each output has a bias.

    Returns:
        The number of parameters.

    Raises:
        InputError: if a count is below 1.

    >>> dense_parameters(28 * 28, 100)
    78500
    """
    inputs = whole(inputs, name="inputs", at_least=1)
    outputs = whole(outputs, name="outputs", at_least=1)
    return inputs * outputs + (outputs if use_bias else 0)


def convolution_parameters(
    channels: int, filters: int, *, kernel: Pair, groups: int = 1, use_bias: bool = True
) -> int:
    """Parameters of a convolution: the same few weights at every position, whatever the size.

    Goodfellow, Bengio and Courville 2016, "Deep Learning", section 9.2.

    Args:
        channels: channels of the image.
        filters: filters, the channels of the output.
        kernel: side of the kernel, or (height, width).
        groups: number of groups; each filter sees channels // groups.
        use_bias: whether each filter has a bias.

    Returns:
        The number of parameters.

    Raises:
        InputError: if a count is below 1, or the groups do not divide channels and filters.

    >>> convolution_parameters(3, 64, kernel=3)
    1792
    """
    channels = whole(channels, name="channels", at_least=1)
    filters = whole(filters, name="filters", at_least=1)
    height, width = pair(kernel, name="kernel", at_least=1)
    check_groups(groups, channels=channels, filters=filters)
    return height * width * (channels // groups) * filters + (filters if use_bias else 0)
