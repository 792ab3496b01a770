"""The command `cnn-jax data`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from cnn_jax.errors import InputError

if TYPE_CHECKING:
    from cnn_jax.data.inspection import Inspection

_SHOWN_CLASSES, _SHOWN_SIZES, _SHOWN_GROUPS = 50, 5, 10


@click.command("data")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Where to draw some images of each class, as PNG.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every name.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path),
    help="Where what is seen is kept.  [default: $CNN_JAX_CACHE or ~/.cache/cnn_jax]",
)
def inspect_images(path: Path, sheet: Path | None, as_json: bool, cache_dir: Path | None) -> None:
    """Say what is in a data set of image files, and what is wrong with it.

    DIR is a folder of class folders, a .zip of one, or a .csv (path,label). Every file is decoded.
    Told are: images of each class and split; sizes, channels, mean and deviation; files that
    cannot be used, by name; and images that are there twice, or look so, within and across splits.
    The exit code is 2 where a training would refuse the data.

    \b
    cnn-jax data photographs/ --sheet photographs.png
    cnn-jax data photographs.zip --json
    """
    from cnn_jax.data.bad_files import refusal
    from cnn_jax.data.inspection import inspect_data

    if sheet is not None and not sheet.absolute().parent.is_dir():
        raise InputError(f"`sheet` (={sheet}) lies in no folder that is there: make it first")
    found = inspect_data(path, cache_dir=cache_dir)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for part in _report(found):
            console.print(part, **({} if isinstance(part, Table) else {"markup": False}))
    if sheet is not None:
        from cnn_jax.data.contact_sheet import save_contact_sheet

        save_contact_sheet(sheet, found.listing, found.usable)
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"drawn: {sheet}", markup=False)
    if found.faults:
        raise refusal(path, found.faults)


def _report(found: "Inspection"):
    """Yield tables and lines."""
    listing = found.listing
    yield _classes(found)
    yield (
        f"{int(found.usable.sum()):,} of {len(listing):,} images can be used; the largest class "
        f"has {found.imbalance:.1f} times the training images of the smallest"
    )
    sizes = found.sizes.most_common()
    yield _sentence(
        f"{len(sizes):,} {'size' if len(sizes) == 1 else 'sizes'}: ",
        [f"{width}x{height} ({count:,})" for (height, width), count in sizes[:_SHOWN_SIZES]],
        len(sizes) - _SHOWN_SIZES,
    )
    kinds = {1: "grey", 3: "colour"}
    yield ", ".join(f"{count:,} in {kinds[k]}" for k, count in sorted(found.channels.items()))
    for name, values in (("mean", found.normalization.mean), ("std", found.normalization.std)):
        yield f"{name} of the channels: {', '.join(f'{value:.4f}' for value in values)}"
    yield from _duplicates(found, "equal files", found.equal)
    yield from _duplicates(found, "images that look the same", found.alike)
    if listing.ignored:
        yield _sentence(
            f"{len(listing.ignored):,} other files, which are ignored: ",
            [repr(name) for name in listing.ignored[:_SHOWN_SIZES]],
            len(listing.ignored) - _SHOWN_SIZES,
        )
    if found.faults:
        yield f"{len(found.faults):,} files or folders cannot be used:"
        yield from (f"  {fault}" for fault in found.faults)


def _classes(found: "Inspection") -> Table:
    counts = found.counts
    table = Table(title=f"Images of {found.listing.path.name}", title_justify="left")
    table.add_column("class")
    for split in counts:
        table.add_column(split, justify="right")
    names = found.listing.class_names
    for row, name in enumerate(names[:_SHOWN_CLASSES]):
        table.add_row(name, *(f"{count[row]:,}" for count in counts.values()))
    if len(names) > _SHOWN_CLASSES:
        rest = (f"{np.sum(count[_SHOWN_CLASSES:]):,}" for count in counts.values())
        table.add_row(f"and {len(names) - _SHOWN_CLASSES:,} more", *rest)
    table.add_section()
    table.add_row(f"{len(names):,} classes", *(f"{count.sum():,}" for count in counts.values()))
    return table


def _duplicates(found: "Inspection", what: str, groups: list[np.ndarray]):
    across = found.across_splits(groups)
    files = sum(map(len, groups))
    yield f"{what}: {len(groups):,} groups of {files:,} in all, {len(across):,} across splits"
    shown = [*across, *(group for group in groups if not any(group is other for other in across))]
    for group in shown[:_SHOWN_GROUPS]:
        yield _sentence(
            "  ", [found.listing.paths[position] for position in group[:4]], len(group) - 4
        )
    if len(shown) > _SHOWN_GROUPS:
        yield f"  and {len(shown) - _SHOWN_GROUPS:,} groups more (--json lists all)"


def _sentence(start: str, parts: list[str], more: int) -> str:
    return start + ", ".join([*parts, *([f"and {more:,} more"] if more > 0 else [])])
