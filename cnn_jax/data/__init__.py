"""Datasets by name or path."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_jax.data.digits import read_digits
from cnn_jax.data.files import is_image_files, read_files
from cnn_jax.data.idx import read_idx_split
from cnn_jax.data.npz import read_npz
from cnn_jax.data.source import (
    ArraySource,
    Dataset,
    Source,
    Subset,
    array_source,
    check_labels,
    file_names,
    numbered_classes,
)
from cnn_jax.data.splits import hold_out, hold_out_by_name
from cnn_jax.data.tfds import read_tfds
from cnn_jax.errors import InputError, nearest

if TYPE_CHECKING:  # it takes seconds to import
    from cnn_jax.weights.pretrained import Preprocessing

__all__ = [
    "ArraySource",
    "Dataset",
    "Source",
    "Subset",
    "array_source",
    "file_names",
    "hold_out",
    "hold_out_by_name",
    "load",
    "make_dataset",
]

TEST_FRACTION = 0.2
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def load(
    name: str | Path,
    *,
    validation: float | int = 0.1,
    test: float | int = TEST_FRACTION,
    split_seed: int = 0,
    class_names: tuple[str, ...] | None = None,
    data_dir: str | Path | None = None,
    image_size: int | tuple[int, int] | None = None,
    skip_bad: bool = False,
    cache_dir: str | Path | None = None,
    stream: bool | None = None,
    preprocessing: "Preprocessing | None" = None,
) -> Dataset:
    """Load a dataset by name or path.

    Args:
        name: "digits" (embedded), "tfds:NAME", a folder of IDX files, an `.npz`, or images in class
            folders: a folder or `.zip` that holds CLASS/IMAGE, or train/CLASS/IMAGE and the like
            (`cnn_jax.data.listing.list_files`), or a `.csv` that names the files, their classes and
            groups (`cnn_jax.data.csv_listing.list_csv`).
        validation: what to hold out of the training images, as a fraction or a number of images;
            0 for none. Not used where the dataset brings a validation split.
        test: the same for the test images, where the dataset brings no test split.
        split_seed: seed of both splits. It is apart from a recipe's seed, so that runs with
            several seeds are measured on the same images. Of image files the names decide
            (`hold_out_by_name`), so that adding some moves none across.
        class_names: names of the classes, in the order of the labels; None for the dataset's own.
        data_dir: where prepared TFDS datasets lie; None for the library's default.
        image_size: side, or height and width, that image files are brought to (resized until they
            cover it, the middle cut out). None to leave them as they are where all are of one
            size, and 224 where they are not.
        skip_bad: leave out image files that cannot be used (damaged, of two classes at once, and
            so on: `cnn-jax data` lists them), and say which; else they are refused.
        cache_dir: where image files are kept decoded; None for what the variable CNN_JAX_CACHE
            names, or `~/.cache/cnn_jax`.
        stream: decode image files whenever they are read, and keep nothing but a list of what is
            wrong with them; None to do so where a cache would take more than half of the disk's
            free space. The pixels are the same.
        preprocessing: that of the weights to begin with, by which image files are brought to a size
            and to its channels exactly as `cnn_jax.predict` prepares a photograph; instead of
            `image_size`. The run directory keeps it, for prediction. Its mean and deviation are a
            recipe's `normalization`.

    Returns:
        The dataset.

    Raises:
        InputError: there is no such dataset, or its contents are unusable.
    """
    name = str(name)
    if name != "digits" and not name.startswith("tfds:"):
        name = str(Path(name).expanduser().absolute())
    if data_dir is not None:
        data_dir = str(Path(data_dir).expanduser().absolute())
    if cache_dir is not None:
        cache_dir = str(Path(cache_dir).expanduser().absolute())
    path, skipped = Path(name), ()
    of_files = {
        "image_size": image_size,
        "skip_bad": skip_bad,
        "cache_dir": cache_dir,
        "stream": stream,
        "preprocessing": preprocessing,
    }
    if preprocessing is not None and image_size is not None:
        raise InputError(
            f"`image_size` (={image_size}) and `preprocessing` (={preprocessing}) both say the "
            "size: leave `image_size` out (`dataclasses.replace(preprocessing, size=(...))`)"
        )
    splitting = {"validation": validation, "test": test, "split_seed": split_seed}
    if is_image_files(path):
        title = path.name if path.is_dir() else path.stem
        files = read_files(path, **of_files, **splitting)
        splits, own_names, skipped = files.splits, files.class_names, files.skipped
    else:
        for argument, value in of_files.items():
            if value not in (None, False):
                raise InputError(
                    f"`{argument}` (={value}) is for image files, and {name} is none: leave it out"
                )
        splits, own_names, title = _read(name, data_dir)
    dataset = make_dataset(
        splits["train"],
        splits.get("test"),
        splits.get("validation"),
        name=title,
        class_names=class_names or own_names or None,
        validation=0 if is_image_files(path) else validation,
        test_size=test,
        split_seed=split_seed,
        arguments={
            "name": name,
            **splitting,
            "class_names": class_names and list(class_names),
            "data_dir": data_dir,
            **of_files,
            "preprocessing": preprocessing and asdict(preprocessing),
        },
    )
    return replace(dataset, skipped=skipped)


def make_dataset(
    train: Source,
    test: Source | None = None,
    validation_source: Source | None = None,
    *,
    name: str = "arrays",
    class_names: tuple[str, ...] | None = None,
    validation: float | int = 0.1,
    test_size: float | int = TEST_FRACTION,
    split_seed: int = 0,
    arguments: dict | None = None,
) -> Dataset:
    """Make a dataset of sources, splitting off what is missing.

    Args:
        train: the training images.
        test: the test images; None to split them off.
        validation_source: the validation images; None to split them off.
        name: how the dataset is spoken of.
        class_names: names of the classes; None to number them.
        validation: size of the validation split, as for `load`.
        test_size: size of the test split, as for `load`.
        split_seed: seed of the splits.
        arguments: what `load` was called with.

    Returns:
        The dataset, its labels checked.

    Raises:
        InputError: a label is out of range, sources differ in image shape, or a split is
            impossible.
    """
    names = tuple(class_names) if class_names else numbered_classes(train.labels)
    sources = {"train": train, "validation": validation_source, "test": test}
    for split, source in sources.items():
        if source is None:
            continue
        check_labels(source, names, name=f"the {split} split of {name}")
        if source.image_shape != train.image_shape:
            raise InputError(
                f"the {split} split of {name} has images of {source.image_shape}, the train split "
                f"of {train.image_shape}: they must be equal"
            )
    if len(names) < 2:
        raise InputError(f"{name} has one class only: a classifier needs at least two")
    if test is None:
        train, test = hold_out(train, test_size, seed=split_seed, argument="test")
    if validation_source is None and validation:
        train, validation_source = hold_out(train, validation, seed=split_seed + 1)
    return Dataset(name, train, validation_source, test, names, arguments or {})


def _read(name: str, data_dir: str | None) -> tuple[dict[str, Source], tuple[str, ...], str]:
    """Return the sources by split, the class names (or ()), and a title."""
    if name == "digits":
        return {"train": read_digits()}, (), "digits"
    if name.startswith("tfds:"):
        splits, names = read_tfds(name.removeprefix("tfds:"), data_dir=data_dir)
        return splits, names, name
    path = Path(name)
    if not path.exists():
        raise InputError(
            f"`data` (={name}) does not exist, and {path.name!r} is no dataset: "
            f"{nearest(path.name, ['digits', 'tfds:NAME'])}, besides folders of images or of IDX "
            "files, .zip, .csv and .npz"
        )
    if path.is_dir():
        splits = {split: read_idx_split(path, split) for split in ("train", "test")}
        known = FASHION_MNIST_CLASSES if path.name == "fashion-mnist" else ()
        return splits, known, path.name
    if path.suffix == ".npz":
        return read_npz(path), (), path.stem
    raise InputError(
        f"`data` (={name}) is a {path.suffix or 'plain'} file: it must be .zip, .csv or .npz"
    )
