"""Files that a training must not use: which they are, and the refusal."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn_jax.data.listing import Listing
from cnn_jax.data.tree import Fault
from cnn_jax.errors import InputError

_NAMED = 5


def find_faults(
    listing: Listing, contents: np.ndarray, problems: dict[int, str]
) -> tuple[list[Fault], np.ndarray]:
    """Gather what is wrong with the files of a data set.

    Args:
        listing: the files, with what was wrong when they were listed.
        contents: uint64 [N], equal for equal files.
        problems: position -> why that file cannot be decoded.

    Returns:
        What is wrong, and which files of the listing can be used: bool [N].
    """
    reasons = {**_contradictions(listing, contents, problems), **problems}
    usable = np.ones(len(listing), bool)
    usable[list(reasons)] = False
    faults = [Fault(listing.paths[position], reasons[position]) for position in sorted(reasons)]
    return [*listing.faults, *faults], usable


def refusal(path: Path, faults: Sequence[Fault]) -> InputError:
    """Make the error that names what is wrong with a data set.

    Args:
        path: of the data set.
        faults: at least one.

    Returns:
        The error: the first few faults, how many there are, and what to do.

    >>> print(refusal(Path("my pets"), [Fault("cat/1.jpg", "is empty")]))
    `data` (=my pets) holds 1 file or folder that cannot be used (cat/1.jpg is empty): mend or \
remove it, or leave it out (`skip_bad=True`, --skip-bad); `cnn-jax data 'my pets'` lists all
    """
    one = len(faults) == 1
    it = "it" if one else "them"
    return InputError(
        f"`data` (={path}) holds {len(faults):,} {'file or folder' if one else 'files or folders'} "
        f"that cannot be used ({first_few(faults)}): mend or remove {it}, or leave {it} out "
        f"(`skip_bad=True`, --skip-bad); `cnn-jax data {shlex.quote(str(path))}` lists all"
    )


def first_few(faults: Sequence[Fault], *, named: int = _NAMED) -> str:
    """Name the first faults, and count the rest.

    >>> first_few([Fault("a", "is empty"), Fault("b", "is empty")], named=1)
    'a is empty; and 1 more'
    """
    rest = len(faults) - named
    return "; ".join([*map(str, faults[:named]), *([f"and {rest:,} more"] if rest > 0 else [])])


def equal_files(contents: np.ndarray, problems: dict[int, str]) -> list[np.ndarray]:
    """Group the files that are equal, byte by byte.

    Args:
        contents: uint64 [N], equal for equal files.
        problems: the files to leave aside, by position.

    Returns:
        The positions of each group of at least two.

    >>> equal_files(np.array([7, 5, 7, 5, 1], np.uint64), {3: "broken"})
    [array([0, 2])]
    """
    order = np.argsort(contents, kind="stable")
    order = order[~np.isin(order, list(problems))]
    starts = np.flatnonzero(np.diff(contents[order])) + 1
    groups = [group for group in np.split(order, starts) if len(group) > 1]
    return sorted(groups, key=lambda group: group[0])


def _contradictions(
    listing: Listing, contents: np.ndarray, problems: dict[int, str]
) -> dict[int, str]:
    """Find equal files of different classes; which of them is right nobody can tell."""
    found = {}
    for group in equal_files(contents, problems):
        labels = listing.labels[group]
        if (labels == labels[0]).all():
            continue
        for position in group:
            other = next(
                k for k in group if not np.array_equal(listing.labels[k], listing.labels[position])
            )
            found[int(position)] = f"is the same file as {listing.paths[other]}, of another class"
    return found
