"""A summary as a table of text."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cnn_jax.inspect.summary import Layer, Summary


def table(record: Summary, *, batch_size: int = 1) -> Group:
    """Lay a summary out for `rich.console.Console.print`.

    Args:
        record: the summary.
        batch_size: images to estimate the memory for.

    Returns:
        A row for each layer, and the totals below.

    Raises:
        InputError: the batch size is below 1.
    """
    rows = Table(
        title=f"{record.model}, images {_shape(record.image_shape)}",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    rows.add_column("layer", overflow="fold")
    rows.add_column("kind")
    for heading in ("output", "parameters", "MACs", "sees"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for layer in record.layers:
        rows.add_row(*_cells(layer))
    return Group(rows, Text(), Text("\n".join(_totals(record, batch_size))))


def _cells(layer: Layer) -> tuple[str, ...]:
    numbers = f"{layer.parameters:,}"
    if layer.statistics:
        numbers += f" + {layer.statistics:,}"
    return (
        layer.name or "(itself)",
        layer.kind,
        "only in training" if layer.output_shape is None else _shape(layer.output_shape),
        numbers,
        f"{layer.macs:,}" if layer.macs else "",
        _shape(layer.receptive_field) if layer.receptive_field else "",
    )


def _totals(record: Summary, batch_size: int) -> list[str]:
    field = record.receptive_field
    seen = f"{_shape(field)} pixels" if field else "not defined, or the whole image"
    batch = "1 image" if batch_size == 1 else f"{batch_size:,} images"
    rows = {
        "parameters": f"{record.parameters:,} trainable"
        + (f", {record.statistics:,} running statistics" if record.statistics else ""),
        "MACs": f"{record.gmacs:.3f} G an image",
        "activations": f"{record.activations / 1e6:.2f} M an image",
        "memory": f"about {_bytes(record.inference_bytes(batch_size))} for inference, "
        f"{_bytes(record.training_bytes(batch_size))} for training with momentum, {batch}",
        "receptive field": seen,
    }
    return [f"{name:<16} {value}" for name, value in rows.items()]


def _shape(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))


def _bytes(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
