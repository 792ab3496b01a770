"""Which pixels of an image a place in the maps of a stage depends on."""

import flax.linen as nn
import jax

from cnn_jax.errors import InputError, nearest
from cnn_jax.inspect.execution import Execution
from cnn_jax.inspect.program import trace
from cnn_jax.inspect.receptive_field import Track
from cnn_jax.models.features import extract_features


def stage_field(
    model: nn.Module, image_shape: tuple[int, int, int], *, stage: str
) -> tuple[Track, Track] | None:
    """Tell the receptive field of a stage; nothing is computed.

    Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks".

    Args:
        model: a model that marks its stages.
        image_shape: (H, W, C).
        stage: name of the stage, of `extract_features`.

    Returns:
        Of rows and columns: place i depends on the pixels `jump * i + low` to `jump * i + high`,
        some of which may lie outside the image. None where every place may depend on every pixel,
        as behind squeeze-and-excitation or attention.

    Raises:
        InputError: there is no such stage.

    >>> from cnn_jax import create_model
    >>> rows, columns = stage_field(create_model("resnet20_cifar"), (32, 32, 3), stage="layer1")
    >>> rows.jump, rows.low, rows.high
    (1, -7, 7)
    """

    def maps_of(variables: dict, images: jax.Array) -> jax.Array:
        stages = extract_features(model, variables, images)
        if stage not in stages:
            raise InputError(f"`stage` (={stage!r}) is no stage: {nearest(stage, stages)}")
        return stages[stage]

    (maps,) = Execution(trace(model, tuple(image_shape), function=maps_of)).outputs
    # An axis that no longer follows its axis of the image is as good as none.
    if not maps.is_map or [track.axis for track in maps.field] != [1, 2]:
        return None
    return maps.field
