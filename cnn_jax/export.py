"""A classifier as a file that JAX runs alone: its program and weights, without this package.

The file is a zip archive of two members:

    program.bin      the program as `jax.export` serialises it (StableHLO), the weights within
    classifier.json  what to show it and what its answers mean: preprocessing, classes, origin

The program takes any number of images, uint8 [N, H, W, C] as the preprocessing sizes them, and
gives logits, float32 [N, K]; it normalises the pixels itself. On every platform of the export it is
the same but for the forms of convolutions, which on a CPU are those that are fast there. JAX keeps
programs readable for half a year after the version that exported them.
"""

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from cnn_jax import __version__
from cnn_jax.errors import InputError, nearest
from cnn_jax.layers.convolution_forms import as_compiled
from cnn_jax.predict import Classifier, classify
from cnn_jax.rundir import replacing
from cnn_jax.weights.pretrained import Preprocessing, preprocessing_from

PROGRAM, CARD = "program.bin", "classifier.json"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
USUAL_PLATFORMS = ("cpu", "cuda", "tpu")
_FORMAT = 1
# The program may be rounded otherwise: as a part of the largest logit, in half precision too.
_MOST_DIFFERENCE = 0.05


@dataclass(frozen=True, eq=False)
class ExportedClassifier:
    """A classifier read back from a file.

    Attributes:
        program: uint8 images [N, H, W, C] -> logits, float32 [N, K]; for `jax.jit` too.
        preprocessing: how photographs are prepared for it, of which the program itself does the
            normalisation: `cnn_jax.data.decoding.read_input` does the rest.
        class_names: the name of output k at position k.
        platforms: what it can run on.
    """

    program: Callable[[jax.Array], jax.Array]
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    platforms: tuple[str, ...]

    def __call__(self, images: np.ndarray) -> jax.Array:
        """Compute logits.

        Args:
            images: uint8 [N, H, W, C].

        Returns:
            float32 [N, K].

        Raises:
            InputError: the images have another shape or type, or there is none.
        """
        shape = (*self.preprocessing.size, self.preprocessing.channels)
        found = np.shape(images)
        if len(found) != 4 or found[1:] != shape or not found[0] or images.dtype != np.uint8:
            raise InputError(
                f"`images` (={getattr(images, 'dtype', type(images).__name__)} {list(found)}) must "
                f"be uint8 [N, {', '.join(map(str, shape))}], at least one: "
                "cnn_jax.data.decoding.read_input reads files so"
            )
        return self.program(images)


@dataclass(frozen=True)
class Written:
    """What an export has come to.

    Attributes:
        path: the file.
        size: its length in bytes.
        difference: the largest between a logit of the program, read back from the file, and one of
            the network, on three images of noise; None where the program is not for this platform.
    """

    path: Path
    size: int
    difference: float | None


def export_classifier(
    classifier: Classifier,
    path: str | Path,
    *,
    platforms: Sequence[str] = USUAL_PLATFORMS,
    origin: str = "",
    overwrite: bool = False,
) -> Written:
    """Write a classifier to a file that runs without this package.

    The program is read back and run on this machine, where it is for its platform, before the file
    takes its name.

    Args:
        classifier: the network.
        path: the file.
        platforms: what it is to run on, of `PLATFORMS`; none of them need be here.
        origin: what the classifier was read from, to be written down.
        overwrite: whether a file that is there may be replaced.

    Returns:
        What was written.

    Raises:
        InputError: a platform is unknown or there is none, the file is there already or cannot be
            written, or `flatbuffers` is not installed. Nothing is written then.
        RuntimeError: the program does not answer as the network does, which would be a defect of
            JAX or of this package. Nothing is written then.
    """
    path, platforms = Path(path), tuple(dict.fromkeys(platforms))
    check_export(path, platforms=platforms, overwrite=overwrite)
    preprocessing = classifier.preprocessing
    height, width = preprocessing.size
    shape = export.symbolic_shape(f"batch, {height}, {width}, {preprocessing.channels}")
    program = export.export(jax.jit(_answers(classifier)), platforms=platforms)(
        jax.ShapeDtypeStruct(shape, jnp.uint8)
    )
    card = {
        "format": _FORMAT,
        "model": type(classifier.model).__name__,
        "origin": origin,
        "input": f"uint8 [N, {height}, {width}, {preprocessing.channels}]",
        "output": f"logits, float32 [N, {len(classifier.class_names)}]",
        "class_names": list(classifier.class_names),
        "preprocessing": asdict(preprocessing),
        "platforms": list(platforms),
        "versions": {"cnn_jax": __version__, "jax": jax.__version__},
    }
    try:
        with replacing(path) as temporary:
            with zipfile.ZipFile(temporary, "w") as archive:
                archive.writestr(PROGRAM, bytes(program.serialize()))
                archive.writestr(CARD, json.dumps(card, indent=2) + "\n")
            difference = _difference(classifier, load_exported(temporary))
    except OSError as error:
        raise InputError(f"`out` (={path}) cannot be written: {error.strerror}") from error
    return Written(path, path.stat().st_size, difference)


def check_export(path: str | Path, *, platforms: Sequence[str], overwrite: bool) -> None:
    """Check that `export_classifier` would take its arguments, before a network is read for it.

    Args:
        path: as there.
        platforms: as there.
        overwrite: as there.

    Raises:
        InputError: as there.
    """
    path = Path(path)
    if not platforms:
        raise InputError(f"`platforms` (=()) are none: name some of {', '.join(PLATFORMS)}")
    for platform in platforms:
        if platform not in PLATFORMS:
            hint = nearest(platform, PLATFORMS)
            hint = "an NVIDIA GPU is cuda, an AMD one rocm" if platform == "gpu" else hint
            raise InputError(f"`platforms` (={platform!r}) is not known: {hint}")
    if path.is_dir():
        raise InputError(f"`out` (={path}) is a folder: name a file")
    if path.exists() and not overwrite:
        raise InputError(f"`out` (={path}) is there already: choose another, or --overwrite")
    if not path.parent.is_dir():
        raise InputError(f"`out` (={path}) is in a folder that is not there: make it first")
    _check_flatbuffers()


def load_exported(path: str | Path) -> ExportedClassifier:
    """Read a classifier that `export_classifier` has written.

    Args:
        path: the file.

    Returns:
        The classifier.

    Raises:
        InputError: the file is not there, is none of these or is damaged, is of a later format, or
            `flatbuffers` is not installed.
    """
    path = Path(path)
    _check_flatbuffers()
    try:
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(CARD))
            blob = archive.read(PROGRAM)
    except OSError as error:
        raise InputError(f"`path` (={path}) cannot be read: {error.strerror}") from error
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(
            f"`path` (={path}) is no exported classifier, or is damaged ({error}): export it anew"
        ) from error
    if card["format"] > _FORMAT:
        raise InputError(
            f"`path` (={path}) has format {card['format']}, and this version of cnn_jax reads up "
            f"to {_FORMAT}: install a later one"
        )
    return ExportedClassifier(
        program=jax.jit(export.deserialize(bytearray(blob)).call),
        preprocessing=preprocessing_from(card["preprocessing"]),
        class_names=tuple(card["class_names"]),
        platforms=tuple(card["platforms"]),
    )


def _answers(classifier: Classifier) -> Callable[[jax.Array], jax.Array]:
    """Make the function to export: its forms are for where it will run, and not for here."""

    def as_on_cpu(images):
        return classify(classifier, images).astype(jnp.float32)

    def as_compiled_there(images):
        with as_compiled():
            return as_on_cpu(images)

    return lambda images: jax.lax.platform_dependent(
        images, cpu=as_on_cpu, default=as_compiled_there
    )


def _difference(classifier: Classifier, program: ExportedClassifier) -> float | None:
    if jax.default_backend() not in _here(program.platforms):
        return None
    preprocessing = classifier.preprocessing
    images = np.random.default_rng(0).integers(
        0, 256, (3, *preprocessing.size, preprocessing.channels), np.uint8
    )
    expected = np.asarray(jax.jit(lambda images: classify(classifier, images))(images), np.float32)
    found = np.asarray(program(images))
    difference = float(np.abs(found - expected).max())
    if not difference <= _MOST_DIFFERENCE * np.abs(expected).max():
        raise RuntimeError(
            f"the exported program's logits differ by {difference:.3g} from the network's, whose "
            f"largest is {np.abs(expected).max():.3g}: nothing is written"
        )
    return difference


def _here(platforms: Sequence[str]) -> set[str]:
    """Name the backends that a program for some platforms runs on: two platforms are JAX's gpu."""
    return {"gpu" if platform in ("cuda", "rocm") else platform for platform in platforms}


def _check_flatbuffers() -> None:
    if find_spec("flatbuffers") is None:
        raise InputError(
            "exported programs are written with the package flatbuffers, which is not installed: "
            "run `pip install flatbuffers`, or install cnn_jax with its extra (`cnn_jax[export]`)"
        )
