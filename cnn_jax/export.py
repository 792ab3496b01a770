"""A classifier as a file that JAX runs without this package: its program and weights.

The file is a zip archive of two members:

    program.bin      the program as `jax.export` serialises it (StableHLO), the weights within
    classifier.json  what to show it and what its answers mean: preprocessing, classes, origin

The program takes any number of images, uint8 [N, H, W, C] as the preprocessing sizes them, and
gives logits, float32 [N, K]; it normalises the pixels itself. On every platform of the export it is
the same but for the forms of convolutions, which on a CPU are those that are fast there. JAX keeps
programs readable for half a year after the version that exported them, and reads them with the
package flatbuffers.
"""

import json
import os
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
from cnn_jax.layers.convolution_forms import as_compiled, forms_for
from cnn_jax.predict import Classifier, classify
from cnn_jax.rundir import replacing
from cnn_jax.weights.pretrained import Preprocessing, preprocessing_from

PROGRAM, CARD = "program.bin", "classifier.json"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
USUAL_PLATFORMS = ("cpu", "cuda", "tpu")
_FORMAT = 1
# The program may be rounded otherwise: as a part of the largest logit, in half precision too.
_MOST_DIFFERENCE = 0.05
# Of the format that programs are serialised in.
_MOST_BYTES = (1 << 31) - (1 << 24)


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
            InputError: the images have another shape or type, there is none, or the program is not
                for this platform.
        """
        shape = (*self.preprocessing.size, self.preprocessing.channels)
        array = isinstance(images, np.ndarray | jax.Array)
        fits = array and images.dtype == np.uint8 and images.shape[1:] == shape
        if not fits or not images.shape[0]:
            told = f"{images.dtype} {list(images.shape)}" if array else type(images).__name__
            raise InputError(
                f"`images` (={told}) must be an array, uint8 [N, {', '.join(map(str, shape))}], of "
                "at least one: cnn_jax.data.decoding.read_input reads files so"
            )
        here = export.default_export_platform()
        if here not in self.platforms:
            raise InputError(
                f"the program is for {', '.join(self.platforms)}, and this is {here}: export it "
                f"with --platforms {here}"
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
            written, the network's answers are not finite or its weights too many for a program, or
            `flatbuffers` is not installed. Nothing is written then.
        RuntimeError: the program does not answer as the network does, which would be a defect of
            JAX or of this package. Nothing is written then.
    """
    path, platforms = Path(path), tuple(dict.fromkeys(platforms))
    check_export(path, platforms=platforms, overwrite=overwrite)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(classifier.variables))
    if size > _MOST_BYTES:
        raise InputError(
            f"the network has {size / 1e9:.1f} GB of weights, and a program holds 2.1 at most: "
            "write them with `cnn_jax.save_weights` instead"
        )
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
                archive.writestr(CARD, json.dumps(card, indent=2, default=float) + "\n")
            difference = _difference(classifier, load_exported(temporary))
            # Minutes may have passed, and another may have written there.
            check_export(path, platforms=platforms, overwrite=overwrite)
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
    try:
        if path.is_dir():
            raise InputError(f"`out` (={path}) is a folder: name a file")
        if path.exists() and not overwrite:
            raise InputError(f"`out` (={path}) is there already: choose another, or --overwrite")
        if not path.parent.is_dir():
            raise InputError(f"`out` (={path}) is in a folder that is not there: make it first")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"`out` (={path}) is in a folder that you may not write: name another")
    except OSError as error:
        raise InputError(f"`out` (={path}) cannot be written: {error.strerror}") from error
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
            later = card["format"] > _FORMAT
            if not later:
                return ExportedClassifier(
                    program=jax.jit(export.deserialize(bytearray(archive.read(PROGRAM))).call),
                    preprocessing=preprocessing_from(card["preprocessing"]),
                    class_names=tuple(card["class_names"]),
                    platforms=tuple(card["platforms"]),
                )
    except OSError as error:
        raise InputError(f"`path` (={path}) cannot be read: {error.strerror}") from error
    except Exception as error:  # in what way foreign bytes fail, no one can list
        raise InputError(
            f"`path` (={path}) is no exported classifier, or is damaged "
            f"({type(error).__name__}: {error}): export it anew"
        ) from error
    raise InputError(
        f"`path` (={path}) has format {card['format']}, and this version of cnn_jax reads up to "
        f"{_FORMAT}: install a later one"
    )


def _answers(classifier: Classifier) -> Callable[[jax.Array], jax.Array]:
    """Make the function to export: its forms are for where it will run, and not for here."""

    def answer(images, forms):
        with forms:
            return classify(classifier, images).astype(jnp.float32)

    return lambda images: jax.lax.platform_dependent(
        images,
        cpu=lambda images: answer(images, forms_for("cpu")),
        default=lambda images: answer(images, as_compiled()),
    )


def _difference(classifier: Classifier, program: ExportedClassifier) -> float | None:
    if export.default_export_platform() not in program.platforms:
        return None
    preprocessing = classifier.preprocessing
    images = np.random.default_rng(0).integers(
        0, 256, (3, *preprocessing.size, preprocessing.channels), np.uint8
    )
    expected = np.asarray(jax.jit(lambda images: classify(classifier, images))(images), np.float32)
    if not np.isfinite(expected).all():
        raise InputError("the network's answers are not finite: export other weights")
    found = np.asarray(program(images))
    difference = float(np.abs(found - expected).max())
    if not difference <= _MOST_DIFFERENCE * np.abs(expected).max():
        raise RuntimeError(
            f"the exported program's logits differ by {difference:.3g} from the network's, whose "
            f"largest is {np.abs(expected).max():.3g}: nothing is written"
        )
    return difference


def _check_flatbuffers() -> None:
    if find_spec("flatbuffers") is None:
        raise InputError(
            "exported programs are written with the package flatbuffers, which is not installed: "
            "run `pip install flatbuffers`, or install cnn_jax with its extra (`cnn_jax[export]`)"
        )
