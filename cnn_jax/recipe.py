"""The recipe: an immutable record of everything that determines a run."""

import bisect
import dataclasses
import hashlib
import inspect
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from cnn_jax import losses, models, optim, ranges, schedules
from cnn_jax.augment import Augmentation
from cnn_jax.data import Dataset
from cnn_jax.data.batches import total_steps
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError, nearest
from cnn_jax.parameter_rules import table_of
from cnn_jax.plan import staged_parameters
from cnn_jax.plateau import Mode, Plateau, Stopping
from cnn_jax.precision import with_precision
from cnn_jax.steps import Loss, Mix, Teacher
from cnn_jax.transfer import Stage

MONITORS = ("validation_accuracy", "validation_loss", "train_accuracy", "train_loss")

# No network asks for larger images than this.
_LARGEST_MINIMUM = 512

# What a `repr` may end with: it is another in each process.
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how. Vary it with `dataclasses.replace`.

    Attributes:
        model: the network.
        data: the images.
        optimizer: learning-rate schedule -> Optax transformation.
        schedule: number of steps -> Optax schedule.
        loss: (logits [N, classes], labels [N]) -> losses [N]; with a teacher (logits, labels, the
            teacher's logits), such as `losses.distillation`.
        teacher: images as the model gets them -> logits [N, classes] to learn from; None for none.
            The network of a run: `load_run(workdir).teacher()`.
        augment: functions `(key, image [H, W, C]) -> image` of float images between 0 and 1.
        mix: `(key, images [N, H, W, C], labels [N, classes]) -> (images, labels)` of the augmented
            batch, such as Mixup; None for none. The loss must take soft labels then.
        normalization: mean and deviation of the channels; None for those of the training images.
        precision: type of the computation, of `precision.TYPES`; parameters stay float32.
        epochs: how often each training image is shown; with stages, the sum of theirs.
        batch_size: images in a training batch, over all devices.
        eval_batch_size: images in an evaluation batch, over all devices.
        monitor: which metric tells the best epoch, of `MONITORS`; a loss is best when lowest.
        plateau: (state, value, mode=) -> state, such as `plateau.lower_on_plateau` with its options
            filled in: lowers the learning rate when the metric no longer improves.
        stopping: (state, value, step=, mode=) -> state, such as `plateau.stop_early`: ends the
            run early.
        initial: parameters and statistics to start from, what `model.apply` takes, such as
            `replace_head` gives; None to draw them.
        stages: what is trained when, of `transfer`; () for everything throughout. The schedule
            begins anew with each stage, and so does the state of the optimizer, a plateau, and the
            patience of `stopping`, which ends the stage and not the run. See `staged`.
        seed: of the initialisation, the order of the images, augmentation and dropout.
        checkpoint_every: steps between checkpoints, besides the one after each epoch; None for
            no others.
        checkpoint_minutes: time after which to make one, if none was made in it; None for no limit.
        skip_nonfinite: how many steps whose loss or gradient is not finite are left out, before
            the run is ended by the next one; not counting float16's overflows, which lower the
            loss scale.
        log_every: steps between the lines that a run writes to its metrics file.
        steps_per_dispatch: how many steps are sent to the devices at once, see `many_steps`: worth
            it where one takes them no longer than the host. A request to stop waits for all, so
            many batches lie on the devices, and epochs of fewer steps have them one by one.
    """

    model: nn.Module
    data: Dataset
    optimizer: Callable[[optax.Schedule], optax.GradientTransformation] = optim.adamw
    schedule: Callable[[int], optax.Schedule] = partial(schedules.cosine, learning_rate=1e-3)
    loss: Loss = losses.cross_entropy
    teacher: Teacher | None = None
    augment: tuple[Augmentation, ...] = ()
    mix: Mix | None = None
    normalization: Normalization | None = None
    precision: str = "float32"
    epochs: int = 20
    batch_size: int = 64
    eval_batch_size: int = 256
    monitor: str = "validation_accuracy"
    plateau: Callable[..., Plateau] | None = None
    stopping: Callable[..., Stopping] | None = None
    initial: dict | None = None
    stages: tuple[Stage, ...] = ()
    seed: int = 0
    checkpoint_every: int | None = None
    checkpoint_minutes: float | None = None
    skip_nonfinite: int = 0
    log_every: int = 50
    steps_per_dispatch: int = 1


def staged(recipe: Recipe, stages: Sequence[Stage], *, initial: dict | None = None) -> Recipe:
    """Train in stages, from given variables.

    Args:
        recipe: the recipe.
        stages: of `transfer`, in their order.
        initial: parameters and statistics to start from; None for the recipe's own.

    Returns:
        The recipe, for as many epochs as the stages take together.
    """
    return dataclasses.replace(
        recipe,
        stages=tuple(stages),
        epochs=sum(stage.epochs for stage in stages),
        initial=recipe.initial if initial is None else initial,
    )


def check(recipe: Recipe) -> None:
    """Check that a recipe can be run, without running or touching anything.

    Args:
        recipe: the recipe.

    Raises:
        InputError: a number is out of range, the batch is larger than the training set, the
            images are too small for the model, it has another number of outputs than there
            are classes, the variables to start from are not its own, a stage cannot be trained, or
            the optimizer, schedule, loss, plateau or stopping has wrong options.
    """
    for name in (
        "epochs", "batch_size", "eval_batch_size", "log_every", "steps_per_dispatch",
        "checkpoint_every",
    ):  # fmt: skip
        value = getattr(recipe, name)
        optional = name == "checkpoint_every" and value is None
        if not optional and (not isinstance(value, int) or value < 1):
            raise InputError(f"`{name}` (={value}) must be a whole number of at least 1")
    if recipe.checkpoint_minutes is not None:
        ranges.positive(
            "checkpoint_minutes", recipe.checkpoint_minutes, remedy="leave it out for no limit"
        )
    ranges.whole("skip_nonfinite", recipe.skip_nonfinite, least=0, remedy="0 skips none")
    if not 0 <= recipe.seed < 2**32:
        raise InputError(f"`seed` (={recipe.seed}) must be between 0 and 2**32 - 1")
    images = len(recipe.data.train)
    if recipe.batch_size > images:
        raise InputError(
            f"`batch_size` (={recipe.batch_size}) must not exceed the {images} training images of "
            f"{recipe.data.name}: choose at most {images}"
        )
    variables = _check_fit(recipe)
    _check_initial(recipe.initial, variables)
    steps = total_steps(recipe.epochs, batch_size=recipe.batch_size, size=images)
    tx = recipe.optimizer(recipe.schedule(steps))
    jax.eval_shape(tx.init, variables["params"])
    _check_stages(recipe, variables["params"])
    with_precision(recipe.model, recipe.precision)
    chance_loss(recipe)
    _check_monitor(recipe)


def chance_loss(recipe: Recipe) -> float:
    """Compute the mean loss of a uniform guess on the first training images.

    Args:
        recipe: the recipe.

    Returns:
        The loss, in nats; ln(classes) for cross-entropy. A network that has not learnt anything
        should begin near it.
    """
    labels = jnp.asarray(recipe.data.train.labels[: recipe.batch_size])
    logits = jnp.zeros((len(labels), recipe.data.num_classes))
    taught = () if recipe.teacher is None else (logits,)
    return float(recipe.loss(logits, labels, *taught).mean())


def monitor_mode(monitor: str) -> Mode:
    """Say whether a metric of `MONITORS` is best when lowest or when highest.

    >>> monitor_mode("validation_loss")
    'min'
    """
    return "min" if monitor.endswith("loss") else "max"


def describe(value: Any, *, inside: frozenset[int] = frozenset()) -> Any:
    """Describe a recipe, or a part of one, in JSON's types.

    A function is its name: what it does is not looked at. What a local one has captured, what a
    bound method belongs to, and the attributes of an object are described with them.

    Args:
        value: a recipe, module, dataset, function, partial, or anything that these hold.
        inside: what is being described already, for the recursion.

    Returns:
        Nested dictionaries, lists, strings, numbers, booleans and None.

    >>> describe(partial(schedules.cosine, learning_rate=0.1))
    {'function': 'cnn_jax.schedules.cosine', 'learning_rate': 0.1}
    """
    within = partial(describe, inside=inside | {id(value)})
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.generic():
            return value.item()
        case jax.Array() if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            return within(jax.random.key_data(value))
        case np.ndarray() | jax.Array():
            array = np.ascontiguousarray(value)
            digest = hashlib.sha256(array).hexdigest()
            return {"shape": list(array.shape), "type": str(array.dtype), "sha256": digest}
        case tuple() | list():
            return [within(item) for item in value]
        case dict():
            return {str(key): within(item) for key, item in value.items()}
        case set() | frozenset():
            return sorted(repr(within(item)) for item in value)
        case Dataset():
            return _describe_dataset(value)
        case Recipe():
            return _describe_recipe(value)
        case nn.Module():
            return within(models.describe_model(value))
        case partial():
            arguments = {"arguments": within(value.args)} if value.args else {}
            return {"function": within(value.func), **arguments, **within(value.keywords)}
        case np.dtype():
            return value.name
    if inspect.ismodule(value):
        return value.__name__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: within(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    if callable(value) and hasattr(value, "__qualname__"):
        module = getattr(value, "__module__", None) or type(value).__module__
        name = f"{module}.{value.__qualname__}"
        captured = {} if id(value) in inside else _captured(value)
        return {"function": name, "captured": within(captured)} if captured else name
    if type(value).__repr__ is object.__repr__:  # which says where it lies in memory
        held = {} if id(value) in inside else vars(value) if hasattr(value, "__dict__") else {}
        return {"class": f"{type(value).__module__}.{type(value).__qualname__}", **within(held)}
    return _ADDRESS.sub("", repr(value))


def _captured(function: Callable) -> dict:
    """Find what a function holds that its name does not tell."""
    owner = getattr(function, "__self__", None)  # a builtin function's is its module
    if owner is not None and not inspect.ismodule(owner):
        return {"of": owner}
    while not hasattr(function, "__code__") and hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    if "<" not in function.__qualname__ or not hasattr(function, "__code__"):
        return {}  # one of a module: there is one of that name
    names, cells = function.__code__.co_freevars, function.__closure__ or ()
    captured = {}
    for name, cell in zip(names, cells, strict=True):
        with suppress(ValueError):  # not assigned yet
            captured[name] = cell.cell_contents
    parameters = inspect.signature(function).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    return {**defaults, **captured}


def differences(there: Any, here: Any, *, path: str = "") -> list[str]:
    """List what differs between two descriptions.

    Args:
        there: the description that a run directory holds.
        here: that of the recipe at hand.
        path: what has been descended into, for the recursion.

    Returns:
        "path: value there, value here", one for each difference.

    >>> differences({"seed": 0, "data": {"name": "a"}}, {"seed": 1, "data": {"name": "a"}})
    ['seed: 0 there, 1 here']
    """
    if isinstance(there, dict) and isinstance(here, dict):
        forgiven = {"arguments"} if "function" in there else set()  # once not described
        keys = [*there, *(key for key in here if key not in {*there, *forgiven})]
        return [
            line
            for key in keys
            for line in differences(
                there.get(key, "nothing"), here.get(key, "nothing"), path=f"{path}.{key}".strip(".")
            )
        ]
    if isinstance(here, dict) and {**here, "captured": 0} == {"function": there, "captured": 0}:
        return []  # described when a function was its name alone
    lists = isinstance(there, list) and isinstance(here, list) and len(there) == len(here)
    if lists and not any(map(differences, there, here)):
        return []
    return [] if there == here else [f"{path}: {there} there, {here} here"]


def _describe_dataset(data: Dataset) -> dict:
    sources = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "name": data.name,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        **{
            split: source and {"images": len(source), "fingerprint": source.fingerprint}
            for split, source in sources.items()
        },
    }


def _describe_recipe(recipe: Recipe) -> dict:
    fields = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    # What is not used is left out: runs that were begun before there was such a field go on.
    stages, initial = fields.pop("stages"), fields.pop("initial")
    described = {name: describe(value) for name, value in fields.items()}
    if recipe.steps_per_dispatch == 1:
        del described["steps_per_dispatch"]
    if stages:
        described["stages"] = describe(stages)
    if initial is not None:
        described["initial"] = _describe_tree(initial)
    return described


def _describe_tree(tree: dict) -> dict:
    """Describe a tree of arrays by one digest, of the descriptions of all."""
    digest, flat = hashlib.sha256(), flatten_dict(dict(tree), sep="/")
    for path in sorted(flat):
        digest.update(f"{path} {describe(np.asarray(flat[path]))}\n".encode())
    return {"arrays": len(flat), "sha256": digest.hexdigest()}


def _check_initial(initial: dict | None, variables: dict) -> None:
    if initial is None:
        return
    there, needed = (flatten_dict(dict(tree), sep="/") for tree in (initial, variables))
    remedy = "pass what `load_weights` or `replace_head` gives for this model"
    for path in [*sorted(needed), *sorted(there)]:
        if path not in there or path not in needed:
            word = f"lacks {path}" if path in needed else f"has {path}, which the model has not"
            raise InputError(f"`initial` {word}: {remedy}")
        if there[path].shape != needed[path].shape:
            raise InputError(
                f"`initial` has {path} of shape {there[path].shape}, and the model of shape "
                f"{needed[path].shape}: {remedy}"
            )


def _check_stages(recipe: Recipe, params: dict) -> None:
    stages, image_shape = recipe.stages, recipe.data.image_shape
    if not stages:
        return
    rows = table_of(recipe.optimizer, params) or ()
    staged_parameters(stages, rows, recipe.model, image_shape=image_shape)
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise InputError(f"`stages` (={', '.join(names)}) must have different names")
    epochs = sum(stage.epochs for stage in stages)
    if recipe.epochs != epochs:
        raise InputError(
            f"`epochs` (={recipe.epochs}) must be the sum of the stages' epochs, {epochs}: use "
            "`staged(recipe, stages)`, which sets both"
        )


def _check_monitor(recipe: Recipe) -> None:
    monitor = recipe.monitor
    if monitor not in MONITORS:
        raise InputError(f"`monitor` (={monitor!r}) is unknown: {nearest(monitor, MONITORS)}")
    watched = recipe.plateau or recipe.stopping
    if watched and monitor.startswith("validation") and recipe.data.validation is None:
        raise InputError(
            f"`monitor` (={monitor}) needs validation images, and {recipe.data.name} has none: "
            "hold some out, or choose train_loss"
        )
    mode = monitor_mode(monitor)
    if recipe.plateau:
        recipe.plateau(Plateau(), 1.0, mode=mode)
    if recipe.stopping:
        recipe.stopping(Stopping(), 1.0, step=0, mode=mode)


def _check_fit(recipe: Recipe) -> dict:
    """Check that images and classes fit the model; return the shapes of its variables."""
    height, width, channels = recipe.data.image_shape
    name = models.describe_model(recipe.model).get("name", type(recipe.model).__name__)

    def outputs(height: int, width: int) -> tuple[tuple[int, ...], dict]:
        images = jax.ShapeDtypeStruct((1, height, width, channels), jnp.float32)
        logits, variables = jax.eval_shape(recipe.model.init_with_output, jax.random.key(0), images)
        return logits.shape, variables

    def fits(size: int) -> bool:
        try:
            outputs(size, size)
        except (ValueError, ArithmeticError):
            return False
        return True

    try:
        shape, variables = outputs(height, width)
    except ValueError as error:
        sizes = range(max(height, width) + 1, _LARGEST_MINIMUM + 1)
        if not fits(_LARGEST_MINIMUM):
            raise
        least = sizes[bisect.bisect_left(sizes, True, key=fits)]
        raise InputError(
            f"images of {recipe.data.name} are {height}x{width}, too small for `model` "
            f"(={name}): it needs at least {least}x{least}, so choose larger images or another "
            "model"
        ) from error
    if shape[-1] != recipe.data.num_classes:
        raise InputError(
            f"`model` (={name}) has {shape[-1]} outputs and {recipe.data.name} has "
            f"{recipe.data.num_classes} classes: create the model with "
            f"num_classes={recipe.data.num_classes}"
        )
    return variables
