"""Fine-tuning on photographs: where to begin, choices made from the data, and the recipe.

start = starting_point("efficientnet_lite0")
choices = choose(inspect_data("photographs"), start)
data = load_data("photographs", preprocessing=at_size(start, choices["image_size"].value))
result = run(finetuning_recipe(data, start, **settings(choices)), "runs/mine")
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from cnn_jax import augment, losses, models, optim, schedules, transfer
from cnn_jax.data import TEST_FRACTION, Dataset
from cnn_jax.data.imbalance import balanced_weights, check_class_sizes, class_counts
from cnn_jax.data.inspection import Inspection
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError, nearest
from cnn_jax.models.heads import replace_head
from cnn_jax.models.vit import VisionTransformer
from cnn_jax.plateau import stop_early
from cnn_jax.recipe import Recipe, staged
from cnn_jax.weights import load_weights
from cnn_jax.weights.fitting import fitting_model, fitting_preprocessing
from cnn_jax.weights.pretrained import PRETRAINED, Preprocessing, pretrained_file
from cnn_jax.weights.shapes import variable_shapes

STRATEGIES = ("fine_tuning", "feature_extraction", "gradual_unfreezing", "layer_wise_decay")

# Images to show in all; fewer epochs of many images, more of few.
_SHOWN = 20_000
# Below so many steps the running statistics of BatchNorm would end between two sets of images.
_STEPS_TO_MOVE_STATISTICS = 1_000
# Training images from which fine-tuning takes hours without an accelerator.
_MANY = 10_000
# Images that are few to hold some out of.
_FEW = 1_000
# Enlarged by more, images show no more detail.
_LARGEST_ENLARGEMENT = 4


@dataclass(frozen=True, eq=False)
class Start:
    """A network and weights to begin with.

    Attributes:
        name: what they are called.
        preprocessing: what belongs to the weights.
        network: (classes, size, key) -> the network for images of that height and width, with a new
            head, and its variables.
        any_size: whether no weight is built for a size, so that one may be chosen by the images.
            Transformers take others all the same: they resize their position embedding.
    """

    name: str
    preprocessing: Preprocessing
    network: Callable[[int, tuple[int, int], jax.Array], tuple[nn.Module, dict]]
    any_size: bool


@dataclass(frozen=True)
class Choice:
    """A setting that was chosen.

    Attributes:
        value: the setting.
        reason: why, in a few words.
    """

    value: Any
    reason: str


def starting_point(
    weights: str | Path,
    model: str | None = None,
    *,
    preprocessing: Mapping[str, Any] | None = None,
    **fields,
) -> Start:
    """Find weights, and how photographs are prepared for them.

    Args:
        weights: one of `PRETRAINED`, a run directory, a file, or "hf:OWNER/REPO".
        model: what a file's weights are of.
        preprocessing: fields of `Preprocessing` that are known of a file; None for
            `fitting_preprocessing`.
        **fields: of a file's model, such as `bn_epsilon`; by default as `fitting_model` has them.

    Returns:
        Where to begin; the weights of a file are loaded when the network is made.

    Raises:
        InputError: the weights are not there, or it must or must not be said what they are of.
    """
    given = {**(preprocessing or {}), **fields}
    weights = str(weights)
    of_file = weights not in PRETRAINED and not Path(weights).is_dir()
    if of_file and model is None:
        if not weights.startswith("hf:") and not Path(weights).is_file():
            known = ", ".join(PRETRAINED)
            raise InputError(
                f"`weights` (={weights}) is no file, no run directory and none of {known}: "
                f"{nearest(weights, list(PRETRAINED))}"
            )
        raise InputError(
            f"`weights` (={weights}) are of a model that must be named: --model NAME, one of "
            "`cnn-jax models`"
        )
    if not of_file and model not in (None, weights):
        raise InputError(
            f"`model` (={model}) goes with a file: {weights} says itself what it is, so leave it "
            "out"
        )
    for field, value in given.items():
        if not of_file:
            raise InputError(
                f"`{field}` (={value}) goes with a file: {weights} says it itself, so leave it out"
            )
    if not of_file and weights not in PRETRAINED:
        return _of_run(Path(weights))
    if of_file:
        name, source = model, weights
        created = fitting_model(name, source, **fields)
    else:
        name, source = weights, pretrained_file(weights)
        created = models.create_model(name)
    prepared = fitting_preprocessing(name, source, created, **(preprocessing or {}))
    created = created.clone(in_channels=prepared.channels)

    def network(classes: int, size: tuple[int, int], key: jax.Array):
        made = _for_images(created.clone(num_classes=classes), size)
        shape = (*size, prepared.channels)
        return made, load_weights(made, source, new_head=key, image_shape=shape)

    return Start(name, prepared, network, _takes_any_size(created, prepared))


def _of_run(workdir: Path) -> Start:
    from cnn_jax.trained import load_run

    run = load_run(workdir)
    preprocessing = run.preprocessing

    def network(classes: int, size: tuple[int, int], key: jax.Array):
        shape = (*size, preprocessing.channels)
        made = {"num_classes": classes, "image_shape": shape}
        model, variables = replace_head(run.model, run.variables, key, **made)
        return _for_images(model, size), variables

    return Start(str(workdir), preprocessing, network, _takes_any_size(run.model, preprocessing))


def _for_images(model: nn.Module, size: tuple[int, int]) -> nn.Module:
    """Note the size of the images, except where the position embedding is built for another."""
    return model if isinstance(model, VisionTransformer) else model.clone(image_size=size[0])


def _takes_any_size(model: nn.Module, preprocessing: Preprocessing) -> bool:
    height, width = preprocessing.size
    shapes = []
    for size in ((height, width), (height + 32, width + 32)):
        try:
            sized = model.clone(image_size=size[0]) if hasattr(model, "image_size") else model
            shapes.append(variable_shapes(sized, (*size, preprocessing.channels)))
        except (ValueError, TypeError):
            return False
    return shapes[0] == shapes[1]


def choose(
    found: Inspection, start: Start, *, accelerated: bool | None = None
) -> dict[str, Choice]:
    """Choose what a fine-tuning needs to know, from what the images are.

    Args:
        found: `inspect_data` of them.
        start: what to begin with.
        accelerated: whether there is a GPU or TPU; None to look.

    Returns:
        Name of a setting -> its choice: those of `finetuning_recipe`, `image_size`, and
        `validation`, the part of the training images to hold out.

    Raises:
        InputError: none of the training images can be used.
    """
    if accelerated is None:
        accelerated = jax.default_backend() != "cpu"
    splits = found.counts
    labelled = int(splits["train"].sum())
    if not labelled:
        raise InputError(
            f"`data` (={found.listing.path}) has no training image that can be used: "
            "`cnn-jax data` says why"
        )
    validation = Choice(0.1, f"a tenth of {labelled:,} images tells enough")
    if labelled < _FEW:
        validation = Choice(0.2, f"of {labelled:,} images a tenth tells too little")
    if "validation" in splits:
        validation = Choice(0, "there is a folder of them")
    of_test = 0 if "test" in splits else TEST_FRACTION
    images = round(labelled * (1 - of_test) * (1 - validation.value))
    epochs = int(np.clip(round(_SHOWN / images), 4, 12))
    batch_size = int(2 ** np.clip(math.floor(math.log2(max(images, 8) / 8)), 3, 6))
    heavy = images >= _MANY and not accelerated
    steps = epochs * images // batch_size
    return {
        "image_size": _image_size(found, start),
        "validation": validation,
        "strategy": Choice(
            "feature_extraction" if heavy else "fine_tuning",
            f"{images:,} images without an accelerator: all of it would take hours"
            if heavy
            else "the head first, and then all of it",
        ),
        "epochs": Choice(epochs, f"{epochs} times {images:,} images are shown"),
        "batch_size": Choice(batch_size, f"{images // batch_size:,} steps an epoch"),
        "balance": Choice(
            found.imbalance > 1.5,
            f"the largest class has {found.imbalance:.1f} times the images of the smallest",
        ),
        "statistics": Choice(
            "trained" if steps >= _STEPS_TO_MOVE_STATISTICS else "none",
            f"BatchNorm's move over {steps:,} steps"
            if steps >= _STEPS_TO_MOVE_STATISTICS
            else f"{steps:,} steps are too few to move BatchNorm's",
        ),
        "flip": Choice(True, "a photograph is one mirrored, too; letters are not"),
        "early_stopping": Choice(max(3, epochs // 2), "epochs without a better one"),
    }


def _image_size(found: Inspection, start: Start) -> Choice:
    size = min(start.preprocessing.size)
    if not start.any_size:
        return Choice(size, f"what the weights of {start.name} are built for")
    sides = [min(side) for side, count in found.sizes.items() for _ in range(count)]
    enlarged = _LARGEST_ENLARGEMENT * float(np.median(sides))
    if enlarged >= size:
        return Choice(size, f"what the weights of {start.name} were trained with")
    enlarged = max(64, 32 * math.ceil(enlarged / 32))
    return Choice(
        min(size, enlarged),
        f"the images have {np.median(sides):g} pixels: enlarged further, they show no more",
    )


def at_size(start: Start, image_size: int) -> Preprocessing:
    """Return the preprocessing of weights for images of another size.

    >>> from cnn_jax.weights.pretrained import Preprocessing
    >>> start = Start("mine", Preprocessing((224, 224)), lambda *_: None, True)
    >>> at_size(start, 96).size
    (96, 96)
    """
    return replace(start.preprocessing, size=(image_size, image_size))


def settings(choices: Mapping[str, Choice]) -> dict[str, Any]:
    """Take from choices what `finetuning_recipe` takes."""
    return {
        name: choice.value
        for name, choice in choices.items()
        if name not in ("image_size", "validation")
    }


def finetuning_recipe(
    data: Dataset,
    start: Start,
    *,
    strategy: str = "fine_tuning",
    epochs: int = 10,
    batch_size: int = 16,
    balance: bool = False,
    statistics: str = "trained",
    flip: bool = True,
    early_stopping: int | None = None,
    hidden: int | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    seed: int = 0,
) -> Recipe:
    """Make the recipe of a fine-tuning.

    Args:
        data: loaded with the preprocessing of the start.
        start: the network to begin with.
        strategy: of `STRATEGIES`. "fine_tuning" trains the head alone in the first quarter of the
            epochs.
        epochs: in all; "gradual_unfreezing" shares them evenly among its stages, the last ones
            getting one more where they do not divide, and unfreezes no more groups than there are
            epochs.
        batch_size: images in a batch.
        balance: whether to weigh the classes, the rare ones more.
        statistics: of `transfer.Stage`, for every stage.
        flip: whether to mirror training images at random.
        early_stopping: epochs without a better one after which a stage ends; None for no end.
        hidden: units of a hidden layer in the head; None for none.
        learning_rate: the head's highest.
        weight_decay: of AdamW.
        seed: of the new head, and of the recipe.

    Returns:
        The recipe.

    Raises:
        InputError: there is no such strategy, a class has one image only, or the weights cannot be
            read or do not fit.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"`strategy` (={strategy!r}) is unknown: {nearest(strategy, STRATEGIES)}")
    check_class_sizes(data)
    shape, key = data.image_shape, jax.random.key(seed)
    model, variables = start.network(data.num_classes, shape[:2], key)
    new = {"num_classes": data.num_classes, "hidden": hidden, "image_shape": shape}
    model, variables = replace_head(model, variables, key, zero=True, **new)
    loss = losses.cross_entropy
    if balance:
        weights = balanced_weights(class_counts(data.train.labels, data.num_classes))
        loss = partial(loss, class_weights=tuple(weights.tolist()))
    stopping = None
    if early_stopping is not None:
        stopping = partial(stop_early, patience=early_stopping)
    crop = partial(augment.shifted_crop, padding=max(shape[0] // 12, 1))
    recipe = Recipe(
        model=model,
        data=data,
        normalization=Normalization(start.preprocessing.mean, start.preprocessing.std),
        optimizer=partial(optim.adamw, weight_decay=weight_decay),
        schedule=partial(schedules.cosine, learning_rate=learning_rate),
        loss=loss,
        augment=(augment.random_flip, crop) if flip else (crop,),
        batch_size=min(batch_size, len(data.train)),
        monitor="validation_accuracy" if data.validation else "train_loss",
        stopping=stopping,
        seed=seed,
    )
    stages = _stages(strategy, model, epochs, shape)
    stages = tuple(replace(stage, statistics=statistics) for stage in stages)
    return staged(recipe, stages, initial=variables)


def _stages(
    strategy: str, model: nn.Module, epochs: int, shape: Sequence[int]
) -> tuple[transfer.Stage, ...]:
    if strategy == "feature_extraction":
        return transfer.feature_extraction(epochs)
    if strategy == "layer_wise_decay":
        return transfer.layer_wise_decay(model, epochs, image_shape=shape)
    if strategy == "gradual_unfreezing":
        every = transfer.gradual_unfreezing(model, 1, image_shape=shape)
        kept = every[: max(epochs, 1)]
        each, more = divmod(max(epochs, 1), len(kept))
        return tuple(
            replace(stage, epochs=each + (number > len(kept) - more))
            for number, stage in enumerate(kept, start=1)
        )
    first = min(max(epochs // 4, 1), epochs - 1)
    all_of_it = transfer.fine_tuning(model, epochs - first, image_shape=shape)
    return (*transfer.feature_extraction(first), *all_of_it) if first else all_of_it
