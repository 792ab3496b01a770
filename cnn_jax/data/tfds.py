"""TensorFlow Datasets, read from `array_record` files without TensorFlow."""

import importlib.util
from collections.abc import Sequence

import numpy as np

from cnn_jax.data.source import ArraySource, array_source
from cnn_jax.errors import InputError, nearest

_SPLITS = ("train", "validation", "test")
_BLOCK = 1024  # records decoded at a time: far faster than one by one


def read_tfds(name: str, *, data_dir: str | None) -> tuple[dict[str, ArraySource], tuple[str, ...]]:
    """Read the splits of a dataset into memory, preparing it first if TensorFlow is there to.

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
    if not builder.info.splits:
        _prepare(builder, name)
    features, splits = builder.info.features, builder.info.splits
    if not {"image", "label"} <= set(features):
        raise InputError(
            f"`data` (=tfds:{name}) has the features {', '.join(features)}: it must have `image` "
            "and `label`, so choose a dataset of labelled images"
        )
    if "train" not in splits:
        raise InputError(
            f"`data` (=tfds:{name}) has the splits {', '.join(splits)}: one must be `train`, so "
            "choose another dataset"
        )
    sources = {
        split: _read_records(builder.as_data_source(split=split), name=f"{split} of tfds:{name}")
        for split in _SPLITS
        if split in splits
    }
    label = features["label"]
    return sources, tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()


def _builder(name: str, data_dir: str | None):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        hint = nearest(name, tfds.list_builders(with_community_datasets=False))
        raise InputError(
            f"`data` (=tfds:{name}) is neither a dataset of TFDS nor prepared in "
            f"{data_dir or tfds.core.constants.DATA_DIR}: {hint}"
        ) from error


def _prepare(builder, name: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(
            f"`data` (=tfds:{name}) is not prepared in {builder.data_dir}, and preparing it needs "
            "TensorFlow: run `pip install 'cnn_jax[tfds]'` and try again, or copy there what was "
            "prepared elsewhere with file_format='array_record'"
        )
    builder.download_and_prepare(file_format="array_record")


def _read_records(records: Sequence, *, name: str) -> ArraySource:
    images, labels = [], []
    for start in range(0, len(records), _BLOCK):
        block = records.__getitems__(range(start, min(start + _BLOCK, len(records))))
        images += [record["image"] for record in block]
        labels += [record["label"] for record in block]
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise InputError(
            f"images of {name} are of {len(sizes)} sizes, such as {min(sizes)} and {max(sizes)}: "
            "they must be of one size, so choose or prepare such a dataset"
        )
    return array_source(np.stack(images), np.asarray(labels), name=name)
