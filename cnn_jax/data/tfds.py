"""TensorFlow Datasets, read from `array_record` files without TensorFlow."""

import importlib.util
from pathlib import Path

import numpy as np

from cnn_jax.data.source import ArraySource, array_source
from cnn_jax.errors import InputError, nearest

# Names that datasets of images and labels give to their splits.
_SPLITS = {"train": ("train",), "validation": ("validation",), "test": ("test",)}


def read_tfds(name: str, *, data_dir: Path | None) -> tuple[dict[str, ArraySource], tuple[str, ...]]:
    """Read the splits of a prepared dataset into memory.

    Args:
        name: the dataset, as `tensorflow_datasets` names it ("mnist", "my_data/config:1.0.0").
        data_dir: where prepared datasets lie; None for the library's own default.

    Returns:
        The sources of those of "train", "validation" and "test" that are there, and the names of
        the classes.

    Raises:
        InputError: the dataset is unknown, or not prepared (and what prepares it), or does not
            hold images of one size with one label each.
    """
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    info = builder.info
    if not info.splits:
        builder = _prepared(builder, name)
        info = builder.info
    features = info.features
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"`data` (=tfds:{name}) has the features {', '.join(features)}: it must have `image` "
            "and `label` to be classified"
        )
    sources = {}
    for split, aliases in _SPLITS.items():
        for alias in aliases:
            if alias in info.splits:
                records = builder.as_data_source(split=alias)
                sources[split] = _read_records(records, name=f"the {alias} split of tfds:{name}")
    if "train" not in sources:
        raise InputError(
            f"`data` (=tfds:{name}) has the splits {', '.join(info.splits)}: one must be `train`"
        )
    label = features["label"]
    names = label.names if isinstance(label, tfds.features.ClassLabel) else None
    return sources, tuple(names or ())


def _builder(name: str, data_dir: Path | None):
    import tensorflow_datasets as tfds

    try:
        # Files that are already there may be of a dataset whose code is not installed.
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        hint = nearest(name, tfds.list_builders(with_community_datasets=False))
        where = data_dir or tfds.core.constants.DATA_DIR
        raise InputError(
            f"`data` (=tfds:{name}) is not a known dataset, and not prepared in {where}: {hint}"
        ) from error


def _prepared(builder, name: str):
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"`data` (=tfds:{name}) is not prepared in {builder.data_dir}, and preparing it needs "
            "TensorFlow: run `pip install 'cnn_jax[tfds]'` and try again, or copy a dataset "
            "prepared with file_format='array_record' there"
        )
    builder.download_and_prepare(file_format="array_record")
    return builder


def _read_records(records, *, name: str) -> ArraySource:
    # One call for a block of records decodes it far faster than one call each.
    images, labels = [], []
    for start in range(0, len(records), _BLOCK):
        block = records.__getitems__(range(start, min(start + _BLOCK, len(records))))
        images += [record["image"] for record in block]
        labels += [record["label"] for record in block]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise InputError(
            f"{name} has images of {len(sizes)} sizes, {min(sizes)} to {max(sizes)}: they must be "
            "of one size"
        )
    return array_source(np.stack(images), np.asarray(labels), name=name)


_BLOCK = 1024
