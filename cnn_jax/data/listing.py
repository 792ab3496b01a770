"""The image files of a data set: where they lie, and what class and split each belongs to."""

import functools
import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn_jax.data.tree import Fault, read_tree
from cnn_jax.errors import InputError

SPLITS = ("train", "validation", "test")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
ENDINGS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".pbm", ".pgm", ".ppm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of a data set in their fixed order: split, class, name.

    Attributes:
        path: what the data set was named by: a folder, an archive, or a table.
        root: the folder or archive that the paths of the files begin at.
        paths: of the files, with "/" between the parts.
        names: what the files are called within their split ("cat/1.jpg"), by which it is decided
            what is held out.
        splits: uint8 [N], positions in `SPLITS`.
        labels: int32 [N] classes, or [N, K] zeros and ones where images have several labels.
        class_names: the name of label k at position k.
        sizes: int64 [N], bytes of each file.
        stamps: int64 [N], which change when a file does: time of change, or checksum.
        faults: what cannot be used, and why.
        ignored: what is no image by its name, or outside the layout.
        groups: a name for each file, of what must not be parted by a split; None for no groups.
    """

    path: Path
    root: Path
    paths: tuple[str, ...]
    names: tuple[str, ...]
    splits: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    sizes: np.ndarray
    stamps: np.ndarray
    faults: tuple[Fault, ...] = ()
    ignored: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @functools.cached_property
    def digest(self) -> str:
        """Digest of paths, sizes and stamps: another one where a file was added or changed."""
        digest = hashlib.blake2b("\0".join(self.paths).encode(), digest_size=16)
        for array in (self.sizes, self.stamps):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()

    def split(self, name: str) -> np.ndarray:
        """Positions of the files of a split: int64 [n]."""
        return np.flatnonzero(self.splits == SPLITS.index(name))


def list_files(path: Path) -> Listing:
    """List the images in class folders.

    Either the class folders lie in `train/`, and optionally in `val/` (or `valid/`,
    `validation/`) and `test/`, or there are class folders only. An image may lie deeper in its
    class folder. Folders that are alone in theirs (the root of many archives) are passed through.

    Args:
        path: a folder, or a `.zip` of one.

    Returns:
        The listing; its files are in the order of split, class name and path.

    Raises:
        InputError: the folder or archive cannot be read, is not laid out as above, or holds no
            training images.
    """
    tree = read_tree(path)
    if not (tree.files or tree.folders or tree.faults):
        raise InputError(
            f"`data` (={path}) is an empty folder: it must hold four IDX files, or images in class "
            "folders"
        )
    files = {
        name: entry
        for name, entry in tree.files.items()
        if name.lower().endswith(ENDINGS) and not _hidden(name)
    }
    ignored = [name for name in tree.files if name not in files and not _hidden(name)]
    folders = {name for name in tree.folders if not _hidden(name)}
    folders |= {parent for name in files for parent in _parents(name)}
    root = _descend(files, folders)
    splits = _split_folders(root, folders, path)
    placed, faults, outside = _place(files, splits)
    if not placed:
        raise InputError(
            f"`data` (={path}) holds no images in class folders: it must hold CLASS/IMAGE, or "
            f"train/CLASS/IMAGE (and val/, test/), with names that end in {', '.join(ENDINGS)}"
        )
    classes = tuple(sorted({name for split, name, *_ in placed if split == 0}))
    if not classes:
        raise InputError(
            f"`data` (={path}) holds no training images: it must hold them as "
            f"{splits['train']}/CLASS/IMAGE"
        )
    faults += _faulty_classes(placed, classes, splits, folders)
    label = {name: position for position, name in enumerate(classes)}
    placed = sorted(row for row in placed if row[1] in label)
    paths = tuple(row[3] for row in placed)
    return Listing(
        path=path,
        root=path,
        paths=paths,
        names=tuple(f"{name}/{rest}" for _, name, rest, _ in placed),
        splits=np.array([row[0] for row in placed], np.uint8),
        labels=np.array([label[row[1]] for row in placed], np.int32),
        class_names=classes,
        sizes=np.array([files[name][0] for name in paths], np.int64),
        stamps=np.array([files[name][1] for name in paths], np.int64),
        faults=(*tree.faults, *faults),
        ignored=(*ignored, *outside),
    )


def _hidden(name: str) -> bool:
    """Tell files that an operating system leaves, which nobody means as data."""
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _below(folder: str, names) -> list[str]:
    """The names that lie directly in a folder ("" for the top)."""
    prefix = f"{folder}/" if folder else ""
    return [n for n in names if n.startswith(prefix) and "/" not in n[len(prefix) :]]


def _descend(files, folders: set[str]) -> str:
    """Find the folder that the layout begins at."""
    holding = {name.rpartition("/")[0] for name in files}
    known = {name for names in SPLIT_NAMES.values() for name in names}
    root = ""
    while root not in holding:
        inner = _below(root, folders)
        if len(inner) != 1 or inner[0] in holding or not _below(inner[0], folders):
            break
        if inner[0].rpartition("/")[2].lower() in known:
            break
        root = inner[0]
    return root


def _split_folders(root: str, folders: set[str], path: Path) -> dict[str, str]:
    """Say where the class folders of each split are; of `train` only where nothing is split."""
    children = {name.rpartition("/")[2].lower(): name for name in _below(root, folders)}
    found = {
        split: [children[name] for name in names if name in children]
        for split, names in SPLIT_NAMES.items()
    }
    if not any(_below(name, folders) for name in found["train"]):
        return {"train": root}
    for split, names in found.items():
        if len(names) > 1:
            raise InputError(
                f"`data` (={path}) has the folders {' and '.join(names)}, which both name the "
                f"{split} split: keep one"
            )
    # A folder of images without classes (a competition's test images) is no split.
    return {
        split: names[0] for split, names in found.items() if names and _below(names[0], folders)
    }


def _place(files, splits: dict[str, str]):
    """Return (split, class, rest of the path, path) of each file, faults, and what is outside."""
    prefixes = [
        (SPLITS.index(split), f"{folder}/" if folder else "") for split, folder in splits.items()
    ]
    placed, faults, outside = [], [], []
    for name in files:
        for split, prefix in prefixes:
            if name.startswith(prefix):
                class_name, slash, rest = name[len(prefix) :].partition("/")
                if slash:
                    placed.append((split, class_name, rest, name))
                else:
                    faults.append(Fault(name, "lies in no class folder"))
                break
        else:
            outside.append(name)
    return placed, faults, outside


def _faulty_classes(placed, classes: tuple[str, ...], splits: dict[str, str], folders: set[str]):
    there = {name.rpartition("/")[2]: name for name in _below(splits["train"], folders)}
    empty = [
        Fault(there[name], "is a class folder without images")
        for name in sorted(there)
        if name not in classes and there[name] not in splits.values()
    ]
    strange = Counter((split, name) for split, name, *_ in placed if name not in classes)
    return empty + [
        Fault(
            f"{splits[SPLITS[split]]}/{name}",
            f"is a class that has no training images ({count} images)",
        )
        for (split, name), count in sorted(strange.items())
    ]
