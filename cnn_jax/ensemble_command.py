"""The command `cnn-jax ensemble`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnn_jax.errors import InputError

if TYPE_CHECKING:  # what needs seconds to import is imported by the command
    import numpy as np

    from cnn_jax.data import Dataset, Source
    from cnn_jax.ensembles import View
    from cnn_jax.trained import TrainedRun

_BATCH_SIZE = 256


@click.command("ensemble")
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path)
)
@click.option("--data", help="Test images from elsewhere.  [default: those of the runs]")
@click.option(
    "--of",
    type=click.Choice(["probabilities", "logits"]),
    default="probabilities",
    help="What is averaged.",
)
@click.option("--flip", is_flag=True, help="Look at the mirror image of each image, too.")
@click.option("--shift", default=0, help="Look at it shifted by so many pixels, too; 0 for not.")
@click.option(
    "--soup",
    "out",
    type=click.Path(path_type=Path),
    help="Write the weights' average to this .safetensors file.",
)
def ensemble(
    runs: tuple[Path, ...], data: str | None, of: str, flip: bool, shift: int, out: Path | None
) -> None:
    """Have several RUNs answer together, on their test images.

    Printed are the accuracy of each, their mean, that of their average, and those of the soups,
    networks whose weights are the average of the runs': of all, and of those that the validation
    images choose one by one, where all runs held out the same. Runs from different random weights
    make a good ensemble and a soup that knows nothing; runs fine-tuned from the same weights make
    both.

    \b
    cnn-jax ensemble runs/seed-0 runs/seed-1 runs/seed-2 --flip
    """
    from cnn_jax.trained import check_dataset, load_runs

    if shift < 0:
        raise InputError(f"`shift` (={shift}) must not be negative: 0 is none")
    members = load_runs(runs)
    dataset = members[0].load_data(data)
    check_dataset(members[0], dataset)
    answers = _Answers(_views(flip, shift))
    names, test = [*map(str, runs)], dataset.test
    width = max(len(name) for name in (*names, "greedy soup"))

    def tell(name: str, figures: str) -> None:
        click.echo(f"{name:<{width}}  {figures}")

    logits = [answers(run, test) for run in members]
    for name, each in zip(names, logits, strict=True):
        tell(name, _figures(each, test.labels))
    mean = sum(_accuracy(each, test.labels) for each in logits) / len(logits)
    tell("mean", f"accuracy {100 * mean:.2f} %")
    tell("ensemble", f"{_figures(_average(logits, of), test.labels)}, by {of}")
    _tell_soups(members, names, dataset, answers, tell, out)


def _tell_soups(
    members: "Sequence[TrainedRun]",
    names: Sequence[str],
    dataset: "Dataset",
    answers: "_Answers",
    tell: Callable[[str, str], None],
    out: Path | None,
) -> None:
    from dataclasses import replace

    from cnn_jax.soups import greedy_soup, soup
    from cnn_jax.weights import save_weights

    first, variables = members[0], [run.variables for run in members]
    if any(run.normalization != first.normalization for run in members):
        if out is not None:
            raise InputError("the runs normalise images differently, so that there is no soup")
        tell("soup", "none: the runs normalise images differently")
        return
    try:
        uniform = soup(variables)
    except InputError as error:
        if out is not None:
            raise
        tell("soup", f"none: {error}")
        return
    if out is not None:
        save_weights(uniform, out)
    found = answers(replace(first, variables=uniform), dataset.test)
    tell("soup", _figures(found, dataset.test.labels) + (f", written to {out}" if out else ""))
    held_out = [run.description["recipe"]["data"]["validation"] for run in members]
    if any(each != held_out[0] for each in held_out):
        # Some would be judged by images that they were trained on.
        tell("greedy soup", "none: the runs held out different validation images")
        return
    if dataset.validation is None:
        return

    def score(network: dict) -> float:
        found = answers(replace(first, variables=network), dataset.validation)
        return _accuracy(found, dataset.validation.labels)

    greedy, taken = greedy_soup(variables, score=score)
    found = answers(replace(first, variables=greedy), dataset.test)
    tell(
        "greedy soup",
        f"{_figures(found, dataset.test.labels)}, of {', '.join(names[k] for k in taken)}",
    )


def _views(flip: bool, shift: int) -> "tuple[View, ...]":
    from cnn_jax.ensembles import as_it_is, mirrored_too, shifts

    views = shifts(shift) if shift else (as_it_is,)
    return mirrored_too(views) if flip else views


class _Answers:
    """The logits of runs on sources; networks that are alike share a compiled program."""

    def __init__(self, views: "tuple[View, ...]"):
        self._views = views
        self._programs: list[tuple] = []

    def __call__(self, run: "TrainedRun", source: "Source") -> "np.ndarray":
        from cnn_jax.evaluate import evaluate

        return evaluate(self._program(run), run.variables, source, batch_size=_BATCH_SIZE).logits

    def _program(self, run: "TrainedRun") -> Callable:
        from dataclasses import asdict
        from functools import partial

        import jax

        from cnn_jax.ensembles import Applied, with_views
        from cnn_jax.steps import make_eval_step, normalize
        from cnn_jax.xla_flags import compile_options

        for model, normalization, program in self._programs:
            if (model, normalization) == (run.model, run.normalization):
                return program
        preprocess = partial(normalize, **asdict(run.normalization))
        answer = Applied(with_views(run.model.apply, self._views))
        step = make_eval_step(answer, preprocess=preprocess)
        program = jax.jit(step, compiler_options=compile_options())
        self._programs.append((run.model, run.normalization, program))
        return program


def _average(logits: "Sequence[np.ndarray]", of: str) -> "np.ndarray":
    import numpy as np

    from cnn_jax.ensembles import AVERAGES

    return np.asarray(AVERAGES[of](np.stack(logits)))


def _accuracy(logits: "np.ndarray", labels: "np.ndarray") -> float:
    return float((logits.argmax(1) == labels).mean())


def _figures(logits: "np.ndarray", labels: "np.ndarray") -> str:
    import numpy as np

    from cnn_jax.losses import cross_entropy

    loss = float(np.mean(cross_entropy(logits, labels)))
    return f"accuracy {100 * _accuracy(logits, labels):.2f} %, loss {loss:.4f}"
