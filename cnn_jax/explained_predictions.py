"""Predictions with a picture for each: what in the image speaks for the best guess."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cnn_jax.errors import InputError
from cnn_jax.explain import grad_cam, overlaid
from cnn_jax.predict import Classifier, Prediction, check_counts, guesses, looks, usual_batch_size
from cnn_jax.rundir import replacing


def predict_and_explain(
    classifier: Classifier,
    paths: Sequence[str | Path],
    folder: str | Path,
    *,
    top_k: int = 5,
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """Classify image files, and draw Grad-CAM of the most probable class over each.

    Args:
        classifier: the network.
        paths: the files.
        folder: where the pictures go, made if need be: a PNG for each file that can be read, of
            what the network is shown, each whole or not at all. Nothing there is replaced.
        top_k: how many classes to tell of each.
        batch_size: images that the network looks at together; None for `usual_batch_size`.

    Yields:
        As `predict`, with the picture as `explanation`.

    Raises:
        InputError: as `predict`; before the first image where the network has no maps to explain,
            the folder has a file of a name that is to be written, or it cannot be written to.
    """
    batch_size = usual_batch_size(classifier.preprocessing) if batch_size is None else batch_size
    check_counts(top_k=top_k, batch_size=batch_size)
    paths, folder = [Path(path) for path in paths], Path(folder)
    pictures = [folder / name for name in picture_names(paths)]
    _check_explainable(classifier)
    _make_room(folder, pictures)
    # An image may be given twice, so that its path is not enough to find the picture.
    found = looks(classifier, paths, _explained, batch_size=batch_size)
    for look, picture in zip(found, pictures, strict=True):
        if look.error:
            yield Prediction(look.path, error=look.error)
            continue
        ranked = guesses(look, classifier.class_names, top_k=top_k)
        _draw(look.image, look.answers[1], picture)
        yield Prediction(look.path, ranked, explanation=picture)


def picture_names(paths: Sequence[Path]) -> list[str]:
    """Name a PNG for each image, no two alike, also where capitals do not count.

    Args:
        paths: the images.

    Returns:
        The names.

    >>> picture_names([Path("a/cat.jpg"), Path("b/Cat.jpg"), Path("b/cat-2.png")])
    ['cat.png', 'Cat-2.png', 'cat-2-2.png']
    """
    names, taken = [], set()
    for path in paths:
        # Room for a number and a suffix, in file systems that allow 255 bytes.
        stem = path.stem[:60]
        name, number = f"{stem}.png", 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}.png"
        taken.add(name.casefold())
        names.append(name)
    return names


def _explained(model: nn.Module, variables: dict, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
    return model.apply(variables, inputs), grad_cam(model, variables, inputs)


def _check_explainable(classifier: Classifier) -> None:
    preprocessing = classifier.preprocessing
    shape = (1, *preprocessing.size, preprocessing.channels)
    inputs = jax.ShapeDtypeStruct(shape, jnp.float32)
    jax.eval_shape(
        lambda variables, inputs: _explained(classifier.model, variables, inputs),
        classifier.variables, inputs,
    )  # fmt: skip


def _make_room(folder: Path, pictures: Sequence[Path]) -> None:
    there = [picture.name for picture in pictures if picture.exists()]
    if there:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise InputError(
            f"`explain` (={folder}) has {there[0]}{more} already, which would be replaced: name "
            "another folder, or remove them"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"`explain` (={folder}) cannot be made: {error.strerror}") from error
    try:
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"`explain` (={folder}) cannot be written to: {error.strerror}: name another folder"
        ) from error


def _draw(image: np.ndarray, heat: np.ndarray, picture: Path) -> None:
    pixels = overlaid(image[None] / np.float32(255), heat[None])[0]
    try:
        with replacing(picture) as path:
            Image.fromarray(pixels).save(path)
    except OSError as error:
        raise InputError(f"{picture} cannot be written: {error.strerror or error}") from error
