"""Images for a page: test images, maps over them, filters."""

import base64
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import jax
import numpy as np
from PIL import Image

from cnn_jax.conclusion import Outcome
from cnn_jax.data import Source, file_names
from cnn_jax.errors import InputError
from cnn_jax.evaluate import Evaluation
from cnn_jax.evaluate.plots import spread, visible
from cnn_jax.explain import first_filters, grad_cam, overlaid
from cnn_jax.steps import normalize, to_float

if TYPE_CHECKING:  # it needs what this is part of
    from cnn_jax.trained import TrainedRun

_SIDE = 160  # pixels; larger images are made as small
_SHOWN = 12


@dataclass(frozen=True)
class Exhibit:
    """An image and what a network makes of it.

    Attributes:
        image: the image, as a `data:` address.
        map: the same with Grad-CAM of the predicted class over it; None where there is none.
        name: of its file, or its number.
        true: its class.
        predicted: the class that the network takes it for.
        confidence: the probability of that, 0 to 1.
    """

    image: str
    map: str | None
    name: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Exhibits:
    """What there is to show of a network.

    Attributes:
        right: images that it takes for what they are, of each class the most confident.
        wrong: images that it takes for something else, likewise.
        filters: its first layer, as a `data:` address; None where it has no kernels to look at.
        without_maps: why there are no maps; None where there are.
    """

    right: tuple[Exhibit, ...]
    wrong: tuple[Exhibit, ...]
    filters: str | None
    without_maps: str | None


def exhibits(outcome: Outcome) -> Exhibits:
    """Choose and draw test images, each with a map of what the network looked at.

    Args:
        outcome: a network and its answers.

    Returns:
        What is to be shown.
    """
    source, test = outcome.data.test, outcome.test
    is_right = test.predictions == source.labels
    chosen = [spread(np.flatnonzero(which), test, count=_SHOWN) for which in (is_right, ~is_right)]
    positions, class_names = np.concatenate(chosen), outcome.data.class_names
    shown, without_maps = exhibited(outcome, source, test, positions, class_names=class_names)
    count = len(chosen[0])
    return Exhibits(shown[:count], shown[count:], _filters(outcome), without_maps)


def exhibited(
    network: "Outcome | TrainedRun",
    source: Source,
    evaluation: Evaluation,
    positions: np.ndarray,
    *,
    class_names: Sequence[str],
) -> tuple[tuple[Exhibit, ...], str | None]:
    """Draw some images of a source.

    Args:
        network: whose model, variables and normalization are used.
        source: the images.
        evaluation: its answers to them.
        positions: int [n], which to draw.
        class_names: the classes.

    Returns:
        The images, and why there are no maps, if so.
    """
    if not len(positions):
        return (), None
    files, images = file_names(source), source.read(positions)
    maps, without_maps = _maps(network, images)
    predictions, confidences = evaluation.predictions, evaluation.confidences
    shown = tuple(
        Exhibit(
            image=address(visible(image)),
            map=None if maps is None else address(maps[index]),
            name=files[position] if files else f"image {position}",
            true=class_names[source.labels[position]],
            predicted=class_names[predictions[position]],
            confidence=float(confidences[position]),
        )
        for index, (position, image) in enumerate(zip(positions.tolist(), images, strict=True))
    )
    return shown, without_maps


def address(pixels: np.ndarray) -> str:
    """Write an image [H, W, C], uint8, as a `data:` address: a small one whole, or smaller."""
    image = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    if max(image.size) <= 64:
        return _encoded(image, "png", optimize=True)
    image.thumbnail((_SIDE, _SIDE))
    return _encoded(image, "jpeg", quality=85)


def _encoded(image: Image.Image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _maps(
    network: "Outcome | TrainedRun", images: np.ndarray
) -> tuple[np.ndarray | None, str | None]:
    """Lay Grad-CAM over images: uint8 [N, H, W, 3], or None and the reason."""
    preprocess = partial(normalize, **asdict(network.normalization))

    @jax.jit
    def mapped(variables, images):
        return grad_cam(network.model, variables, preprocess(to_float(images)))

    try:
        return overlaid(visible(images) / 255, mapped(network.variables, images)), None
    except InputError as error:
        return None, str(error)


def _filters(outcome: Outcome) -> str | None:
    try:
        tiles = Image.fromarray(first_filters(outcome.model, outcome.variables))
    except InputError:
        return None
    return _encoded(tiles, "png", optimize=True)
