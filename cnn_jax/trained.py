"""A trained run, read back from its directory alone."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import flax.linen as nn
import jax

from cnn_jax import data, models, rundir
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.conclusion import Outcome
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError
from cnn_jax.evaluate import Evaluation, evaluate
from cnn_jax.precision import with_precision
from cnn_jax.steps import Metrics, make_eval_step, normalize
from cnn_jax.weights.pretrained import Preprocessing, preprocessing_from
from cnn_jax.xla_flags import compile_options


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its variables: a function of images, whose parameters a recipe can describe.

    Attributes:
        model: the network.
        variables: its parameters and statistics.
    """

    model: nn.Module
    variables: dict

    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute the logits of normalised images."""
        return self.model.apply(self.variables, images)


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """What a run directory holds of its network.

    Attributes:
        model: the network.
        variables: the parameters and statistics of its best checkpoint.
        step: the step of that checkpoint.
        normalization: what its images are normalised by.
        class_names: the name of output k at position k.
        description: the run's `recipe.json`.
    """

    model: nn.Module
    variables: dict
    step: int
    normalization: Normalization
    class_names: tuple[str, ...]
    description: dict

    def teacher(self) -> TrainedNetwork:
        """Return the network as a teacher for a recipe, which should share its normalization."""
        return TrainedNetwork(self.model, self.variables)

    @property
    def preprocessing(self) -> Preprocessing:
        """How photographs are prepared for the network.

        As the training images were, where these were loaded with a preprocessing. Else they are
        resized until they cover the size of the training images.

        Raises:
            InputError: the training images have neither one channel nor three.
        """
        statistics = asdict(self.normalization)
        record = self.description["data"].get("preprocessing")
        if record:
            return replace(preprocessing_from(record), **statistics)
        height, width, _ = self.description["recipe"]["data"]["image_shape"]
        return Preprocessing(size=(height, width), crop_fraction=1.0, **statistics)

    def load_data(self, name: str | None = None) -> data.Dataset:
        """Load the data of the run, or other data in the same way.

        Args:
            name: name or path of other data; None for the run's own.

        Raises:
            InputError: the run's data were made by a program, so `load` cannot find them again.
        """
        arguments = dict(self.description["data"])
        if name is not None:
            arguments["name"] = name
        if "name" not in arguments:
            raise InputError(
                "the data of this run were arrays in a program, so they cannot be loaded again: "
                "name other data (--data)"
            )
        names, record = arguments.get("class_names"), arguments.get("preprocessing")
        arguments["class_names"] = names and tuple(names)
        arguments["preprocessing"] = record and preprocessing_from(record)
        return data.load(**arguments)


def load_run(workdir: str | Path) -> TrainedRun:
    """Read the best network of a run, or its last one where it has no validation images.

    Args:
        workdir: the run directory.

    Returns:
        The run.

    Raises:
        InputError: the directory is no run directory, it holds no checkpoint yet, or its model is
            not one of `list_models()`.
    """
    workdir = Path(workdir)
    description = rundir.read_description(workdir)
    recipe = description["recipe"]
    if "name" not in recipe["model"]:
        raise InputError(
            f"{workdir} is a run of {recipe['model'].get('class')}, which is none of cnn_jax's "
            "models: restore it with the program that made it"
        )
    with Checkpoints(workdir / rundir.CHECKPOINTS) as checkpoints:
        if checkpoints.latest_step is None:
            raise InputError(f"{workdir} holds no checkpoint yet: continue the run (--resume)")
        record = checkpoints.restore_record(checkpoints.latest_step)
        step = record["best_step"] or checkpoints.latest_step
        if step not in checkpoints.steps:
            raise InputError(
                f"{workdir} has lost its best checkpoint, of step {step}: put it back from a copy, "
                "or train anew (--overwrite)"
            )
        variables = checkpoints.restore_variables(step)
    model = models.create_model(**{key: _as_tuple(v) for key, v in recipe["model"].items()})
    return TrainedRun(
        model=with_precision(model, recipe["precision"]),
        variables=variables,
        step=step,
        normalization=Normalization(
            **{name: tuple(values) for name, values in recipe["normalization"].items()}
        ),
        class_names=tuple(recipe["data"]["class_names"]),
        description=description,
    )


def load_runs(workdirs: Sequence[str | Path]) -> list[TrainedRun]:
    """Read runs that are to answer together, of whatever architectures.

    Args:
        workdirs: the run directories.

    Returns:
        The runs, in order.

    Raises:
        InputError: there is none; one cannot be read (`load_run`); or one differs from the first in
            its classes, the shape of its images, or its test images, which the other may have been
            trained on.
    """
    if not len(workdirs):
        raise InputError("`workdirs` (=()) are none: name one run directory at least")
    runs = [load_run(workdir) for workdir in workdirs]
    first = runs[0].description["recipe"]["data"]
    for workdir, run in zip(workdirs[1:], runs[1:], strict=True):
        own = run.description["recipe"]["data"]
        for key, what, remedy in (
            ("class_names", "classes", "take runs of the same classes, in the same order"),
            ("image_shape", "images of shape", "take runs on images of one shape"),
            ("test", "test images", "take runs with the same data and the same --split-seed"),
        ):
            if first[key] != own[key]:
                there, here = (_told(each[key]) for each in (first, own))
                raise InputError(
                    f"{workdirs[0]} has the {what} {there}, and {workdir} {here}: {remedy}"
                )
    return runs


def check_dataset(run: TrainedRun, dataset: data.Dataset) -> None:
    """Require a dataset of the classes and the image shape of a run.

    Args:
        run: the run.
        dataset: the data.

    Raises:
        InputError: the classes or the image shapes differ.
    """
    if dataset.class_names != run.class_names:
        raise InputError(
            f"{dataset.name} has the classes {', '.join(dataset.class_names)}, and the run "
            f"{', '.join(run.class_names)}: they must be the same, in the same order"
        )
    shape = tuple(run.description["recipe"]["data"]["image_shape"])
    if dataset.image_shape != shape:
        raise InputError(
            f"{dataset.name} has images of {dataset.image_shape}, and the run was trained on "
            f"{shape}: they must be equal"
        )


def eval_step_for(run: TrainedRun, dataset: data.Dataset) -> Callable[[dict, dict], Metrics]:
    """Make the compiled evaluation step of a trained run for a dataset.

    Args:
        run: the run.
        dataset: the data; its classes must be those of the run.

    Returns:
        The step, as of `make_eval_step`.

    Raises:
        InputError: the classes or the image shapes differ.
    """
    check_dataset(run, dataset)
    preprocess = partial(normalize, **asdict(run.normalization))
    step = make_eval_step(run.model, preprocess=preprocess)
    return jax.jit(step, compiler_options=compile_options())


def evaluator(
    run: TrainedRun, dataset: data.Dataset, *, batch_size: int = 256
) -> Callable[[data.Source], Evaluation]:
    """Compile the evaluation of a trained run on images of a dataset.

    Args:
        run: the run.
        dataset: the data; its classes must be those of the run.
        batch_size: images in a batch.

    Returns:
        source -> evaluation.

    Raises:
        InputError: the classes or the image shapes differ.
    """
    step = eval_step_for(run, dataset)
    return lambda source: evaluate(step, run.variables, source, batch_size=batch_size)


def outcome_on(run: TrainedRun, dataset: data.Dataset, *, batch_size: int = 256) -> Outcome:
    """Evaluate a trained run on the test and the validation images of a dataset.

    Args:
        run: the run.
        dataset: the data; its classes must be those of the run.
        batch_size: images in a batch.

    Returns:
        The network and its answers.

    Raises:
        InputError: the classes or the image shapes differ.
    """
    answers = evaluator(run, dataset, batch_size=batch_size)
    return Outcome(
        model=run.model,
        variables=run.variables,
        normalization=run.normalization,
        data=dataset,
        test=answers(dataset.test),
        validation=answers(dataset.validation) if dataset.validation else None,
    )


def _told(value: list | dict) -> str:
    """Say what a recipe's description has of its data: names, sizes or a split."""
    if isinstance(value, dict):
        return f"of fingerprint {value['fingerprint'][:8]} ({value['images']:,})"
    return ", ".join(map(str, value))


def _as_tuple(value):
    return tuple(value) if isinstance(value, list) else value
