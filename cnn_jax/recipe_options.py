"""The command-line options that describe a recipe, and the recipe that they describe."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnn_jax import (
    augment,
    averaging,
    gradients,
    losses,
    models,
    muon,
    one_cycle,
    optim,
    schedules,
)
from cnn_jax.errors import InputError
from cnn_jax.parallel import MODES
from cnn_jax.parameter_rules import Rule, by_path
from cnn_jax.plateau import lower_on_plateau, stop_early
from cnn_jax.precision import TYPES

if TYPE_CHECKING:  # what needs seconds to import is imported when used
    import flax.linen as nn

    from cnn_jax.data import Dataset
    from cnn_jax.recipe import Recipe

OPTIMIZERS = {
    "sgd": optim.sgd, "adam": optim.adam, "adamw": optim.adamw, "rmsprop": optim.rmsprop,
    "lamb": optim.lamb, "lion": optim.lion, "muon": muon.muon,
}  # fmt: skip
SCHEDULES = {
    "constant": schedules.constant, "linear": schedules.linear, "polynomial": schedules.polynomial,
    "cosine": schedules.cosine, "cosine_restarts": schedules.cosine_restarts,
    "step": schedules.step, "multi_step": schedules.multi_step,
    "exponential": schedules.exponential, "one_cycle": one_cycle.one_cycle,
    "warmup_stable_decay": schedules.warmup_stable_decay,
}  # fmt: skip
POLICIES = {
    "trivial_augment": augment.trivial_augment, "rand_augment": augment.rand_augment,
    "augmix": augment.augmix,
    "auto_augment_cifar10": partial(augment.auto_augment, policy="cifar10"),
    "auto_augment_imagenet": partial(augment.auto_augment, policy="imagenet"),
}  # fmt: skip
MIXERS = {"mixup": augment.mixup, "cutmix": augment.cutmix}
BALANCES = ("weigh", "oversample", "undersample")
LOSSES = {"cross_entropy": losses.cross_entropy, "focal": losses.focal}


class Moment(click.ParamType):
    """A number of steps where whole, a part of the run where there is a decimal point."""

    name = "steps|fraction"

    def convert(self, value, param, ctx):
        """Turn "500" into 500 and "0.5" into 0.5."""
        try:
            return value if isinstance(value, int | float) else int(value)
        except ValueError:
            try:
                return float(value)
            except ValueError:
                self.fail(f"{value!r} is neither a number of steps nor a fraction", param, ctx)


class Moments(click.ParamType):
    """Moments with commas between."""

    name = "moments"

    def convert(self, value, param, ctx):
        """Turn "0.5,0.75" into (0.5, 0.75)."""
        if isinstance(value, tuple):
            return value
        return tuple(Moment().convert(part, param, ctx) for part in value.split(","))


def _added(options: list) -> Callable:
    def add(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return add


data_options = _added(
    [
        click.option(
            "--validation",
            type=float,
            default=0.1,
            help="Training images to hold out: a fraction, a number from 1, or 0 for none.",
        ),
        click.option("--split-seed", type=int, default=0, help="Seed of the splits."),
        click.option(
            "--data-dir", type=click.Path(path_type=Path), help="Where prepared TFDS datasets lie."
        ),
        click.option(
            "--image-size",
            type=int,
            help="Pixels to bring image files to.  [default: 224 where sizes differ]",
        ),
        click.option("--skip-bad", is_flag=True, help="Leave out image files that are unusable."),
    ]
)

_run_options = _added(
    [
        click.option(
            "--workdir",
            type=click.Path(path_type=Path),
            help="Run directory.  [default: runs/DATA-MODEL]",
        ),
        click.option("--resume", is_flag=True, help="Continue the run that is there."),
        click.option("--overwrite", is_flag=True, help="Remove the run that is there."),
        click.option(
            "--mode", type=click.Choice(MODES), default="jit", help="Of using several devices."
        ),
        click.option(
            "--patience", type=float, default=1800.0, help="Seconds to wait for other processes."
        ),
        click.option(
            "--distributed",
            is_flag=True,
            help="Meet the other processes of a Slurm, Open MPI, Kubernetes or Cloud TPU job.",
        ),
        click.option(
            "--coordinator", help="Or meet at this address and port of the first process."
        ),
        click.option("--processes", type=int, help="How many there are.  [default: the job's]"),
        click.option(
            "--process", type=int, help="Which one this is, from 0.  [default: the job's]"
        ),
    ]
)


def run_options(command: Callable) -> Callable:
    """Give a command the options of a run, and have it meet the other processes before it begins.

    Args:
        command: takes `workdir`, and `how`, the options of `train.run`.
    """

    @wraps(command)
    def meeting(*, distributed, coordinator, processes, process, **options):
        how = {name: options.pop(name) for name in ("resume", "overwrite", "mode", "patience")}
        where = {"coordinator": coordinator, "processes": processes, "process": process}
        if distributed or any(value is not None for value in where.values()):
            from cnn_jax.processes import join

            join(**where)
        return command(how=how, **options)

    return _run_options(meeting)


schedule_options = _added(
    [
        click.option("--learning-rate", type=float, default=3e-3, help="The highest one."),
        click.option("--schedule", type=click.Choice(list(SCHEDULES)), default="cosine"),
        click.option("--warmup", type=Moment(), help="Rise to the learning rate so long first."),
        click.option("--milestones", type=Moments(), help="Of multi_step: 0.5,0.75 for instance."),
        click.option("--factor", type=float, help="Of step, multi_step, exponential."),
        click.option("--every", type=Moment(), help="Of step and exponential."),
        click.option("--period", type=Moment(), help="Of cosine_restarts."),
        click.option("--power", type=float, help="Of polynomial."),
        click.option("--floor", type=float, help="The lowest rate, as a fraction of the highest."),
    ]
)

augment_options = _added(
    [
        click.option("--flip", is_flag=True, help="Mirror training images at random."),
        click.option("--alternating-flip", is_flag=True, help="Mirror them in every other epoch."),
        click.option("--shift", type=int, default=0, help="Shift training images by up to so far."),
        click.option("--augment", type=click.Choice(list(POLICIES)), help="A policy, after these."),
        click.option("--mix", type=click.Choice(list(MIXERS)), help="Mix images and their labels."),
    ]
)

_OPTIMIZER_OPTIONS = [
    click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default="adamw"),
    click.option("--momentum", type=float, help="Of sgd, rmsprop, muon.  [default: 0.9 for sgd]"),
    click.option("--nesterov", is_flag=True, help="Of sgd."),
    click.option("--weight-decay", type=float, help="On kernels; decoupled in adamw, lion, muon."),
    click.option("--no-decay", multiple=True, help="Parameters without decay, by path: 'fc*'."),
    click.option("--freeze", multiple=True, help="Parameters to leave alone, by path."),
    click.option("--clip", type=float, help="Bound of the norm of the gradient."),
    click.option("--accumulate", type=int, help="Batches whose gradients make up a step."),
    click.option("--sam", type=float, help="Radius of sharpness-aware minimisation; 0.05 say."),
    click.option("--ema", type=float, help="Decay of averaged parameters; 0.999 say."),
]

_OTHER_OPTIONS = [
    click.option("--loss", type=click.Choice(list(LOSSES)), default="cross_entropy"),
    click.option("--smoothing", type=float, help="Label smoothing, of cross_entropy; 0.1 say."),
    click.option("--gamma", type=float, help="Of focal."),
    click.option(
        "--balance",
        type=click.Choice(BALANCES),
        help="Make up for rare classes: by their weight in the loss, or by repeating or leaving "
        "out images.",
    ),
    augment_options,
    click.option("--precision", type=click.Choice(list(TYPES)), default="float32"),
    click.option("--monitor", default="validation_accuracy", help="What tells the best epoch."),
    click.option(
        "--plateau", type=int, help="Epochs without a better one to bear; the next halves the rate."
    ),
    click.option("--early-stopping", type=int, help="Epochs without a better one to stop after."),
    click.option("--seed", type=int, default=0, help="Of everything random but the splits."),
]


def recipe_options(command: Callable) -> Callable:
    """Add the options from which `recipe_from` makes a recipe."""
    options = [
        click.option(
            "--data", default="digits", help="digits, tfds:NAME, a folder, an .npz or a .zip."
        ),
        data_options,
        click.option("--model", default="simple_cnn", help="One of `cnn-jax models`."),
        click.option("--epochs", type=int, default=30),
        click.option("--batch-size", type=int, default=32),
        *_OPTIMIZER_OPTIONS,
        schedule_options,
        *_OTHER_OPTIONS,
    ]
    return _added(options)(command)


def recipe_from(
    *,
    data: str,
    model: str,
    epochs: int,
    batch_size: int,
    plateau: int | None,
    early_stopping: int | None,
    precision: str,
    monitor: str,
    seed: int,
    checkpoint_every: int | None = None,
    checkpoint_minutes: float | None = None,
    skip_nonfinite: int = 0,
    steps_per_dispatch: int = 1,
    **options,
) -> "Recipe":
    """Make the recipe that the options describe.

    Args:
        data: as of `data.load`.
        model: its name.
        plateau: patience of `lower_on_plateau`, with a factor of one half.
        early_stopping: patience of `stop_early`.
        options: those of the data, the loss, the optimizer, the schedule and the augmentation.
        epochs, batch_size, precision, monitor, seed: as of `Recipe`.
        checkpoint_every, checkpoint_minutes, skip_nonfinite, steps_per_dispatch: as of `Recipe`.

    Raises:
        InputError: an option does not fit another, or the data.
    """
    from cnn_jax.data.batches import total_steps
    from cnn_jax.recipe import Recipe

    models.create_model(model)  # a wrong name should not wait for the data
    dataset, weights = _balanced(load(data, options), options["balance"], seed=seed)
    steps = total_steps(epochs, batch_size=max(batch_size, 1), size=len(dataset.train))
    return Recipe(
        model=model_for(model, dataset),
        data=dataset,
        optimizer=optimizer_from(options, total_steps=steps),
        schedule=schedule_from(options),
        loss=_loss(options, weights),
        **augmentation_from(options),
        plateau=_patient(partial(lower_on_plateau, factor=0.5), plateau),
        stopping=_patient(stop_early, early_stopping),
        epochs=epochs,
        batch_size=batch_size,
        precision=precision,
        monitor=monitor,
        seed=seed,
        checkpoint_every=checkpoint_every,
        checkpoint_minutes=checkpoint_minutes,
        skip_nonfinite=skip_nonfinite,
        steps_per_dispatch=steps_per_dispatch,
    )


def _patient(function: Callable, patience: int | None) -> Callable | None:
    return None if patience is None else partial(function, patience=patience)


def augmentation_from(options: dict) -> dict:
    """Make the fields `augment` and `mix` of a recipe that `augment_options` describe.

    Raises:
        InputError: two options are for the same.
    """
    if options["flip"] and options["alternating_flip"]:
        raise InputError("`flip` and `alternating-flip` exclude each other: leave one out")
    flips = {"flip": augment.random_flip, "alternating_flip": augment.alternating_flip}
    shift = options["shift"]
    return {
        "augment": (
            *(function for name, function in flips.items() if options[name]),
            *((partial(augment.shifted_crop, padding=shift),) if shift else ()),
            *((POLICIES[options["augment"]],) if options["augment"] else ()),
        ),
        "mix": options["mix"] and MIXERS[options["mix"]],
    }


def schedule_from(options: dict) -> Callable:
    """Make the schedule, total steps -> Optax schedule, that `schedule_options` describe."""
    names = ("factor", "every", "milestones", "period", "floor", "power")
    function = SCHEDULES[options["schedule"]]
    rate = {"learning_rate": options["learning_rate"]}
    schedule = partial(_filled(function, options, names, of="schedule"), **rate)
    if options["warmup"] is None:
        return schedule
    return partial(schedules.warmup, schedule=schedule, steps=options["warmup"])


def optimizer_from(options: dict, *, total_steps: int) -> Callable:
    """Make the optimizer, learning rate -> Optax transformation, that the options describe.

    From the inside out: the optimizer itself, rules by path, clipping, accumulation, SAM, the
    average of the parameters. What the rules freeze counts neither in clipping nor in SAM.
    """
    names = ("momentum", "nesterov", "weight_decay")
    cycles = options["schedule"] == "one_cycle" and options["optimizer"] == "sgd"
    if cycles and options["momentum"] is None:
        paces = {"warmup": options["warmup"] or 0, "accumulate": options["accumulate"] or 1}
        options = {**options, "momentum": one_cycle.one_cycle_momentum(total_steps, **paces)}
    optimizer = _filled(OPTIMIZERS[options["optimizer"]], options, names, of="optimizer")
    if options["optimizer"] == "muon" and options["weight_decay"] is not None:
        # It has filters alone; the other kernels are those of the optimizer of the rest.
        optimizer = partial(
            optimizer, rest=partial(optim.adamw, weight_decay=options["weight_decay"])
        )
    rules = (
        *(Rule(pattern, frozen=True) for pattern in options["freeze"]),
        *(Rule(pattern, decay=False) for pattern in options["no_decay"]),
    )
    if rules:
        optimizer = _ruled(optimizer, rules)
    if options["clip"] is not None:
        optimizer = partial(gradients.clipped, norm=options["clip"], optimizer=optimizer)
    if options["accumulate"] is not None:
        optimizer = partial(gradients.accumulated, steps=options["accumulate"], optimizer=optimizer)
    if options["sam"] is not None:
        optimizer = partial(gradients.sam, radius=options["sam"], optimizer=optimizer)
    if options["ema"] is not None:
        optimizer = partial(averaging.ema, decay=options["ema"], optimizer=optimizer)
    return optimizer


def load(data: str, options: dict) -> "Dataset":
    """Load a dataset by its name and the values of `data_options`."""
    from cnn_jax.data import load as load_data

    size = options["validation"]
    return load_data(
        data,
        validation=int(size) if size >= 1 and size.is_integer() else size,
        **{name: options[name] for name in ("split_seed", "data_dir", "image_size", "skip_bad")},
    )


def model_for(name: str, dataset: "Dataset") -> "nn.Module":
    """Create a model that fits a dataset.

    Raises:
        InputError: there is no such model, or it is none for images.
    """
    height, _, channels = dataset.image_shape
    model = models.create_model(name, num_classes=dataset.num_classes, in_channels=channels)
    if not hasattr(model, "image_size"):
        raise InputError(
            f"`model` (={name}) classifies signals, and {dataset.name} holds images: choose "
            "another model"
        )
    return model.clone(image_size=height)


def _balanced(
    dataset: "Dataset", balance: str | None, *, seed: int
) -> tuple["Dataset", tuple[float, ...] | None]:
    """Resample the training images, or weigh their classes."""
    from cnn_jax.data.imbalance import balanced_weights, class_counts, oversample, undersample

    match balance:
        case "weigh":
            counts = class_counts(dataset.train.labels, dataset.num_classes)
            return dataset, tuple(balanced_weights(counts).tolist())
        case "oversample" | "undersample":
            resample = oversample if balance == "oversample" else undersample
            return replace(dataset, train=resample(dataset.train, seed=seed)), None
    return dataset, None


def _loss(options: dict, weights: tuple[float, ...] | None) -> Callable:
    function = LOSSES[options["loss"]]
    loss = _filled(function, options, ("smoothing", "gamma"), of="loss")
    if weights is None:
        return loss
    return partial(loss, **{"alpha" if function is losses.focal else "class_weights": weights})


def _ruled(optimizer: Callable, rules: tuple[Rule, ...]) -> Callable:
    function = getattr(optimizer, "func", optimizer)
    if "rest" in inspect.signature(function).parameters:
        raise InputError(
            "`optimizer` (=muon) does not take --freeze and --no-decay: choose another, or write a "
            "recipe with `rest=partial(by_path, ...)`"
        )
    given = dict(getattr(optimizer, "keywords", {}))
    default = inspect.signature(function).parameters["weight_decay"].default
    decay = given.pop("weight_decay", default)
    return partial(by_path, optimizer=partial(function, **given), rules=rules, weight_decay=decay)


def _filled(function: Callable, options: dict, names: tuple[str, ...], *, of: str) -> Callable:
    """Fill in those options that are given, and say so where the function has no such option."""
    given = {name: options.get(name) for name in names}
    # 0 is given, though it equals False, which is what a switch left alone has.
    given = {k: value for k, value in given.items() if value is not None and value is not False}
    for name, value in given.items():
        if name not in inspect.signature(function).parameters:
            raise InputError(
                f"`{name.replace('_', '-')}` (={value}) is not an option of "
                f"{function.__name__}: leave it out or choose another {of}"
            )
    return partial(function, **given) if given else function
