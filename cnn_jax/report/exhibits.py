"""Images for a page: test images, maps over them, filters."""

import base64
import io
from dataclasses import dataclass

import jax
import numpy as np
from PIL import Image

from cnn_jax.conclusion import Outcome
from cnn_jax.errors import InputError
from cnn_jax.evaluate.plots import spread
from cnn_jax.explain import first_filters, grad_cam, overlaid
from cnn_jax.steps import to_float

_SIDE = 160  # pixels; larger images are made as small
_SHOWN = 12


@dataclass(frozen=True)
class Exhibit:
    """A test image and what the network makes of it.

    Attributes:
        image: the image, as a `data:` address.
        map: the same with Grad-CAM of the predicted class over it; None where there is none.
        true: its class.
        predicted: the class that the network takes it for.
        confidence: the probability of that, 0 to 1.
        position: among the test images.
    """

    image: str
    map: str | None
    true: str
    predicted: str
    confidence: float
    position: int


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
    chosen = [
        spread(np.flatnonzero(which), test, count=_SHOWN).tolist()
        for which in (is_right, ~is_right)
    ]
    positions = [*chosen[0], *chosen[1]]
    images = source.read(np.array(positions, int))
    maps, without_maps = _maps(outcome, images)
    shown = [
        _exhibit(outcome, position, image, None if maps is None else maps[index])
        for index, (position, image) in enumerate(zip(positions, images, strict=True))
    ]
    count = len(chosen[0])
    return Exhibits(tuple(shown[:count]), tuple(shown[count:]), _filters(outcome), without_maps)


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


def _exhibit(
    outcome: Outcome, position: int, image: np.ndarray, overlay: np.ndarray | None
) -> Exhibit:
    names, test = outcome.data.class_names, outcome.test
    return Exhibit(
        image=address(_visible(image)),
        map=None if overlay is None else address(overlay),
        true=names[outcome.data.test.labels[position]],
        predicted=names[test.predictions[position]],
        confidence=float(test.confidences[position]),
        position=position,
    )


def _maps(outcome: Outcome, images: np.ndarray) -> tuple[np.ndarray | None, str | None]:
    """Lay Grad-CAM over images: uint8 [N, H, W, 3], or None and the reason."""
    model, variables = outcome.model, outcome.variables

    @jax.jit
    def mapped(variables, images):
        return grad_cam(model, variables, outcome.prepared(images))

    try:
        return overlaid(_visible(images) / 255, mapped(variables, images)), None
    except InputError as error:
        return None, str(error)


def _filters(outcome: Outcome) -> str | None:
    try:
        tiles = Image.fromarray(first_filters(outcome.model, outcome.variables))
    except InputError:
        return None
    return _encoded(tiles, "png", optimize=True)


def _visible(images: np.ndarray) -> np.ndarray:
    """Bring images [..., C] to uint8 [..., 1 or 3]."""
    if images.dtype != np.uint8:
        images = np.round(255 * np.clip(np.asarray(to_float(images)), 0, 1)).astype(np.uint8)
    return images if images.shape[-1] in (1, 3) else images[..., :1]
