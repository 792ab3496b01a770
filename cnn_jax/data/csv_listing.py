"""A table of image files: path, label, and what else is known of each."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.listing import SPLIT_NAMES, SPLITS, Listing
from cnn_jax.data.tree import Fault
from cnn_jax.errors import InputError

_SEPARATOR = ";"
_OTHERS = ("path", "group", "split")
_FORM = (
    "the first row must name the columns: path, and label (or labels, with ';' between, or a "
    "column of 0 and 1 for each class), and may name group and split"
)


def list_csv(path: Path) -> Listing:
    """List the images of a CSV file.

    Columns, in any order, named in the first row:
        path: of the image, from the CSV file's own folder.
        label: its class. Or `labels`: its classes, with ";" between, or none. Or a column for each
            class, with 0 or 1.
        group: optional; what must not be parted by a split, such as a patient. Where it is empty,
            the image is a group by itself.
        split: optional; train, validation (val, valid) or test.

    Args:
        path: the CSV file, in UTF-8.

    Returns:
        The listing, in the order of split, class and path; of several labels, split and path. The
        classes are in the order of their names, or numbers.

    Raises:
        InputError: the file cannot be read or lacks a column, or a value is not as above.
    """
    columns, rows = _read(path)
    faults, kept, sizes = _check_files(path, rows)
    names, labels = _labels(path, columns, kept)
    splits = np.array([_split(path, row) for row in kept], np.uint8)
    if not kept or not (splits == 0).any():
        raise InputError(f"`data` (={path}) lists no training images that are there: {_FORM}")
    if "group" in columns:
        kept = [{**row, "group": row["group"] or row["path"]} for row in kept]
    _check_groups(path, kept, splits)
    keys = [row["path"] for row in kept]
    order = sorted(
        range(len(kept)),
        key=lambda k: (splits[k], labels[k] if labels.ndim == 1 else 0, keys[k]),
    )
    kept, keys = [kept[k] for k in order], [keys[k] for k in order]
    return Listing(
        path=path,
        root=path.parent,
        paths=tuple(keys),
        names=tuple(keys),
        splits=splits[order],
        labels=labels[order],
        class_names=names,
        sizes=np.array([sizes[key][0] for key in keys], np.int64),
        stamps=np.array([sizes[key][1] for key in keys], np.int64),
        faults=tuple(faults),
        groups=tuple(row["group"] for row in kept) if "group" in columns else None,
    )


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, strict=True)
            header = [name.strip() for name in next(table, [])]
            columns = [name.lower() if name.lower() in (*_OTHERS, "label", "labels") else name
                       for name in header]  # fmt: skip
            if "path" not in columns or len(set(columns)) < len(columns) or len(columns) < 2:
                raise InputError(
                    f"`data` (={path}) begins with {', '.join(header) or 'nothing'}: {_FORM}"
                )
            rows = []
            for row in table:
                if not any(row):
                    continue
                if len(row) != len(columns):
                    raise InputError(
                        f"line {table.line_num} of {path} has {len(row)} values, and the first "
                        f"{len(columns)}: put values with commas in quotes"
                    )
                values = (value.strip() for value in row)
                rows.append(
                    {"line": str(table.line_num), **dict(zip(columns, values, strict=True))}
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"`data` (={path}) cannot be read as CSV in UTF-8: {error}") from error
    return columns, rows


def _check_files(path: Path, rows: Sequence[dict[str, str]]):
    """Return faults, the rows whose files are there, and size and stamp of each file."""
    faults, kept, found = [], [], {}
    for row in rows:
        name = row["path"]
        if name in found:
            faults.append(Fault(name, f"is listed a second time in line {row['line']}"))
            continue
        try:
            status = os.stat(path.parent / name)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            faults.append(Fault(name, f"cannot be reached ({reason}; line {row['line']})"))
            continue
        if row.get("label") == "":
            faults.append(Fault(name, f"has no label in line {row['line']}"))
            continue
        found[name] = status.st_size, status.st_mtime_ns
        kept.append(row)
    return faults, kept, found


def _labels(path: Path, columns: Sequence[str], rows) -> tuple[tuple[str, ...], np.ndarray]:
    if "label" in columns:
        names = _in_order({row["label"] for row in rows})
        number = {name: position for position, name in enumerate(names)}
        return names, np.array([number[row["label"]] for row in rows], np.int32)
    if "labels" in columns:
        several = [
            {name.strip() for name in row["labels"].split(_SEPARATOR) if name.strip()}
            for row in rows
        ]
        names = _in_order(set().union(*several))
        return names, np.array([[name in own for name in names] for own in several], np.int32)
    names = tuple(name for name in columns if name not in _OTHERS)
    for row in rows:
        for name in names:
            if row[name] not in ("0", "1"):
                raise InputError(
                    f"`{name}` (={row[name]}) in line {row['line']} of {path} must be 0 or 1: "
                    f"{_FORM}"
                )
    return names, np.array([[int(row[name]) for name in names] for row in rows], np.int32)


def _check_groups(path: Path, rows, splits: np.ndarray) -> None:
    there = {}
    for row, split in zip(rows, splits.tolist(), strict=True):
        other = there.setdefault(row.get("group"), split)
        if "group" in row and other != split:
            raise InputError(
                f"`group` (={row['group']}) in line {row['line']} of {path} is in the "
                f"{SPLITS[split]} and the {SPLITS[other]} split: a group must be in one"
            )


def _in_order(names: set[str]) -> tuple[str, ...]:
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=(lambda name: (int(name), name)) if numbers else None))


def _split(path: Path, row: dict[str, str]) -> int:
    given = row.get("split", "train").lower()
    for number, split in enumerate(SPLITS):
        if given in SPLIT_NAMES[split]:
            return number
    raise InputError(
        f"`split` (={given}) in line {row['line']} of {path} must be train, validation or test"
    )
