"""What most excites a channel: the images of a source, and the places in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax import ranges
from cnn_jax.data.batches import eval_batches
from cnn_jax.data.source import Source
from cnn_jax.errors import InputError, nearest
from cnn_jax.inspect.stage_fields import stage_field
from cnn_jax.models.features import extract_features
from cnn_jax.steps import to_float


@dataclass(frozen=True, eq=False)
class Exciting:
    """The images that most excite channels of a stage, strongest first.

    Attributes:
        positions: int64 [channels, n], in the source.
        places: int64 [channels, n, 2], row and column in the stage's maps of that image.
        values: float32 [channels, n], the channel's value there.
    """

    positions: np.ndarray
    places: np.ndarray
    values: np.ndarray


def most_exciting(
    model: nn.Module,
    variables: dict,
    source: Source,
    *,
    stage: str,
    channels: Sequence[int],
    count: int = 9,
    preprocess: Callable[[jax.Array], jax.Array] = lambda images: images,
    batch_size: int = 64,
) -> Exciting:
    """Find the images of a source in which channels take their highest values.

    Each image counts once, with the place of its highest value. The best so far stay on the
    device; of the maps no more than a batch's are ever there.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.

    Args:
        model: a model that marks its stages.
        variables: its parameters and statistics.
        source: the images.
        stage: name of the stage, of `extract_features`.
        channels: which of the stage's channels.
        count: how many images of each at most.
        preprocess: what follows the scaling to 0..1, as for `make_eval_step`: a normalisation.
        batch_size: images that the network looks at together.

    Returns:
        Of each channel min(count, N) images; of equal ones the earlier first, and in each image of
        equal places the first, row by row.

    Raises:
        InputError: there is no such stage or channel, an option is out of range, or a value is
            not finite.

    >>> from cnn_jax import create_model, data
    >>> source, model = data.load("digits").test, create_model("simple_cnn", in_channels=1)
    >>> variables = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    >>> found = most_exciting(model, variables, source, stage="conv1", channels=(0, 5), count=3)
    >>> found.positions.shape, found.places.shape
    ((2, 3), (2, 3, 2))
    """
    ranges.whole("count", count, remedy="9 for instance")
    ranges.whole("batch_size", batch_size, remedy="64 for instance")
    count, batch_size = min(count, len(source)), min(batch_size, len(source))
    _check_stage(model, variables, source, stage, channels)
    chosen = jnp.asarray(channels, jnp.int32)

    @jax.jit
    def better(best: tuple, variables: dict, batch: dict, start: int) -> tuple:
        images = preprocess(to_float(batch["image"]))
        maps = extract_features(model, variables, images)[stage].astype(jnp.float32)
        # A stage without places is one of a single place.
        maps = jnp.take(maps.reshape(len(maps), -1, maps.shape[-1]), chosen, axis=-1)
        highest = jnp.where(batch["mask"][:, None], maps.max(1), -jnp.inf)
        positions = start + jnp.arange(len(maps), dtype=jnp.int32)
        new = highest, jnp.broadcast_to(positions[:, None], highest.shape), maps.argmax(1)
        both = [jnp.concatenate([old, one.T], axis=1) for old, one in zip(best, new, strict=True)]
        values, order = jax.lax.top_k(both[0], count)
        return values, *(jnp.take_along_axis(one, order, axis=1) for one in both[1:])

    shape = len(channels), count
    best = (
        jnp.full(shape, -jnp.inf, jnp.float32),
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape, jnp.int32),
    )
    for number, batch in enumerate(eval_batches(source, batch_size=batch_size)):
        best = better(best, variables, batch, number * batch_size)
    values, positions, places = map(np.asarray, best)
    if not np.isfinite(values).all():
        raise InputError(f"values of `stage` (={stage!r}) are not finite: use other weights")
    width = _maps_shape(model, variables, source, stage)[-2]
    return Exciting(
        positions.astype(np.int64), np.stack(np.divmod(places.astype(np.int64), width), -1), values
    )


def crops(model: nn.Module, source: Source, found: Exciting, *, stage: str) -> np.ndarray:
    """Cut out what the exciting places see: their receptive fields.

    Args:
        model: that of `most_exciting`.
        source: as there.
        found: what it has found.
        stage: as there.

    Returns:
        [channels, n, h, w, C] as the source stores images: the receptive field of the stage, where
        it reaches beyond the image filled with 0. The whole images where it covers them anyway, or
        is not defined.

    Raises:
        InputError: there is no such stage.
    """
    height, width, _ = source.image_shape
    field = stage_field(model, source.image_shape, stage=stage)
    images = source.read(found.positions.ravel())
    sizes = [track.high - track.low + 1 for track in field or ()]
    if field is None or (sizes[0] >= height and sizes[1] >= width):
        return np.asarray(images).reshape(*found.positions.shape, *source.image_shape)
    cut = np.zeros((len(images), *sizes, source.image_shape[-1]), images.dtype)
    for target, image, place in zip(cut, images, found.places.reshape(-1, 2), strict=True):
        tops = [track.jump * i + track.low for track, i in zip(field, place, strict=True)]
        inner = tuple(
            slice(max(top, 0), min(top + size, side))
            for top, size, side in zip(tops, sizes, (height, width), strict=True)
        )
        there = tuple(
            slice(part.start - top, part.stop - top) for part, top in zip(inner, tops, strict=True)
        )
        target[there] = image[inner]
    return cut.reshape(*found.positions.shape, *cut.shape[1:])


def _check_stage(
    model: nn.Module, variables: dict, source: Source, stage: str, channels: Sequence[int]
) -> None:
    count = _maps_shape(model, variables, source, stage)[-1]
    if not len(channels) or not all(0 <= channel < count for channel in channels):
        raise InputError(
            f"`channels` (={list(channels)}) must be from 0 to {count - 1}, the {count} channels "
            f"of {stage}, and at least one"
        )


def _maps_shape(model: nn.Module, variables: dict, source: Source, stage: str) -> tuple[int, ...]:
    images = jax.ShapeDtypeStruct((1, *source.image_shape), jnp.float32)
    maps = jax.eval_shape(lambda *given: extract_features(model, *given), variables, images)
    if stage not in maps:
        raise InputError(f"`stage` (={stage!r}) is no stage: {nearest(stage, maps)}")
    shape = maps[stage].shape
    return shape if len(shape) == 4 else (shape[0], 1, 1, shape[-1])
