"""The other implementation: PyTorch models with the weights that ours are given.

Weights and running statistics are drawn anew, since at initialisation a wrong mean, variance or
bias does not show.
"""

import dataclasses
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from cnn_jax.losses import cross_entropy
from cnn_jax.models import create_model
from cnn_jax.models.features import extract_features

# torchvision's compiled operators are not needed, but its Python asks for these two at import.
_SCHEMAS = torch.library.Library("torchvision", "DEF")
for _operator in ("nms", "qnms"):
    _SCHEMAS.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import timm  # noqa: E402
import torchvision  # noqa: E402

__all__ = ["timm", "torch", "torchvision"]

State = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
    """A variant and the PyTorch model that it must equal.

    Attributes:
        variant: name for `create_model`.
        build: makes the PyTorch model.
        image_size: of the square images to run both on; None to compare names and shapes only.
        stages: our names of the feature maps, which are PyTorch's names of the modules too, or
            ours -> PyTorch's where they differ.
        gradients: whether to compare those too.
        translate: brings PyTorch's `state_dict` to timm's names and layouts.
        options: for `create_model`.
    """

    variant: str
    build: Callable[[], torch.nn.Module]
    image_size: int | None = None
    stages: Sequence[str] | Mapping[str, str] = ()
    gradients: bool = False
    translate: Callable[[State], State] = lambda state: state
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Differences:
    """max |ours - theirs| / max |theirs|, the worst over the tensors.

    Attributes:
        logits: in evaluation mode.
        features: of the stages.
        gradients: of the mean cross-entropy by each parameter, in evaluation mode; None where the
            row does not ask for them.
    """

    logits: float
    features: float
    gradients: float | None = None


def check_shapes(row: Row) -> None:
    """Check that a variant has PyTorch's parameters and statistics, by name and shape.

    Raises:
        AssertionError: they differ.
    """
    with torch.device("meta"):
        theirs = to_variables(row.translate(numpy_state(row.build())))
    assert shapes(our_shapes(row)) == shapes(theirs)


def our_shapes(row: Row) -> dict:
    """Return the variables of our model, without their numbers."""
    model = create_model(row.variant, **row.options)
    images = jnp.zeros((1, model.image_size, model.image_size, model.in_channels))
    return jax.eval_shape(model.init, jax.random.key(0), images)


def measure(row: Row, *, images: int = 2) -> Differences:
    """Give both models the same random weights and images, and compare what they compute.

    Args:
        row: with an image size.
        images: how many.

    Returns:
        The differences.

    Raises:
        AssertionError: shapes or the names of the stages differ, or a number is not finite.
    """
    torch_model = randomise(row.build())
    model = create_model(row.variant, **row.options)
    variables = to_variables(row.translate(numpy_state(torch_model)))
    batch = random_images(row.image_size, count=images, channels=model.in_channels)

    stages = row.stages if isinstance(row.stages, Mapping) else {name: name for name in row.stages}
    their_logits, outputs = torch_outputs(torch_model, batch, list(stages.values()))
    if row.gradients:  # one program for all: to compile takes the time
        ours = our_outputs_and_gradients(model)
        our_logits, our_features, _ = jax.device_get(ours(variables, batch, np.arange(images)))
    else:
        our_logits, our_features = our_outputs(model, variables, batch)
    assert list(our_features) == list(stages)
    features = [
        relative_difference(maps, outputs[stages[name]]) for name, maps in our_features.items()
    ]
    gradients = None
    if row.gradients:
        gradients = _measure_gradients(row, torch_model, ours, variables, images)
    return Differences(relative_difference(our_logits, their_logits), max(features), gradients)


def _measure_gradients(row: Row, torch_model, ours, variables: dict, images: int) -> float:
    """Return the difference for the first batch without a ReLU on its edge, else the least.

    The derivative of ReLU jumps at 0: where rounding puts an input on the other side, gradients
    differ by a percent though nothing is wrong. Three batches hardly all have such an input.
    """
    channels = create_model(row.variant, **row.options).in_channels
    labels, differences = np.arange(images), []
    for seed in (1, 2, 3):
        batch = random_images(row.image_size, count=images, channels=channels, seed=seed)
        theirs = to_variables(row.translate(torch_gradients(torch_model, batch, labels)))
        _, _, gradients = jax.device_get(ours(variables, batch, labels))
        differences.append(gradient_difference(gradients, theirs["params"]))
        if differences[-1] < 1e-4:
            break
    return min(differences)


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Draw all weights and statistics anew, so that every tensor matters and none explodes.

    Args:
        model: changed in place.
        seed: of the draw.

    Returns:
        The model, in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, scale):
        return torch.randn(tensor.shape, generator=generator) * scale

    def uniform(tensor):
        return torch.rand(tensor.shape, generator=generator) + 0.5

    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            leaf = name.rsplit(".", 1)[-1]
            if leaf == "num_batches_tracked":
                continue
            if leaf == "running_var" or (leaf in ("weight", "gamma") and tensor.ndim == 1):
                tensor.copy_(uniform(tensor))
            elif leaf == "weight":
                tensor.copy_(normal(tensor, (2.0 / tensor[0].numel()) ** 0.5))
            else:
                tensor.copy_(normal(tensor, 0.1))
    return model.eval()


def numpy_state(model: torch.nn.Module) -> State:
    """Return a model's `state_dict` as NumPy arrays; tensors without data give zeros."""
    return {
        name: np.broadcast_to(np.float32(0), tensor.shape)
        if tensor.is_meta
        else tensor.detach().numpy()
        for name, tensor in model.state_dict().items()
    }


def to_variables(state: State) -> dict:
    """Give a `state_dict` in timm's names our names and layouts."""
    variables: dict = {}
    for name, array in state.items():
        *path, leaf = _joined(name).split(".")
        if leaf == "num_batches_tracked":
            continue
        collection = "batch_stats" if leaf.startswith("running_") else "params"
        if leaf == "weight":
            leaf, array = ("scale", array) if array.ndim == 1 else ("kernel", _turned(array))
        node = variables.setdefault(collection, {})
        for part in path:
            node = node.setdefault(part, {})
        node[leaf.removeprefix("running_")] = array
    return variables


def _joined(name: str) -> str:
    return re.sub(r"\.(\d+)(?=\.)", r"_\1", name)


def _turned(kernel: np.ndarray) -> np.ndarray:
    """Bring a kernel from [F, C, ...] to [..., C, F]."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)


def shapes(variables: dict) -> dict[str, tuple[int, ...]]:
    """Return "params/conv1/kernel" -> shape, for comparisons that say what differs."""
    leaves = jax.tree_util.tree_leaves_with_path(variables)
    return {"/".join(key.key for key in path): tuple(leaf.shape) for path, leaf in leaves}


def random_images(size: int, *, count: int = 2, channels: int = 3, seed: int = 1) -> np.ndarray:
    """Draw images float32 [count, size, size, channels] from N(0, 1)."""
    shape = (count, size, size, channels)
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def to_torch(images: np.ndarray) -> torch.Tensor:
    """Bring images from NHWC to NCHW."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def to_nhwc(tensor: torch.Tensor) -> np.ndarray:
    """Bring maps from NCHW to NHWC; logits and tokens stay as they are."""
    array = tensor.detach().numpy()
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def torch_outputs(
    model: torch.nn.Module, images: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run a PyTorch model and listen at some of its modules.

    Args:
        model: in evaluation mode.
        images: float32 [N, H, W, C].
        names: of the modules.

    Returns:
        logits [N, K], and name -> the module's output in NHWC.
    """
    outputs = {}

    def listen(name):
        def hook(module, inputs, output):
            # A copy: the module that follows may work in place.
            outputs[name] = to_nhwc(output.clone())

        return model.get_submodule(name).register_forward_hook(hook)

    handles = [listen(name) for name in names]
    with torch.no_grad():
        logits = model(to_torch(images)).numpy()
    for handle in handles:
        handle.remove()
    return logits, outputs


def our_outputs(model, variables: dict, images: np.ndarray) -> tuple[np.ndarray, OrderedDict]:
    """Run one of our models: logits [N, K], and stage name -> maps [N, h, w, c]."""

    def run(variables, images):
        return model.apply(variables, images), extract_features(model, variables, images)

    return jax.device_get(jax.jit(run)(variables, images))


def torch_gradients(model: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> dict:
    """Return parameter name -> gradient of the mean cross-entropy; the mode is the model's.

    A parameter that the logits do not depend on, as of an auxiliary head, has the gradient 0.
    """
    model.zero_grad()
    logits = model(to_torch(images))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long()).backward()
    return {
        name: np.zeros(parameter.shape, np.float32)
        if parameter.grad is None
        else parameter.grad.numpy()
        for name, parameter in model.named_parameters()
    }


def our_outputs_and_gradients(model) -> Callable[[dict, np.ndarray, np.ndarray], tuple]:
    """Make (variables, images, labels) -> what `our_outputs` gives, and the gradients of PyTorch.

    The gradients are in the tree of `params`.
    """

    @jax.jit
    def run(variables, images, labels):
        def loss(params):
            logits = model.apply({**variables, "params": params}, images)
            return cross_entropy(logits, labels).mean(), logits

        gradients, logits = jax.grad(loss, has_aux=True)(variables["params"])
        return logits, extract_features(model, variables, images), gradients

    return run


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return max |ours - theirs| / max |theirs|.

    Raises:
        AssertionError: the shapes differ, or a number is not finite.
    """
    assert ours.shape == theirs.shape, f"{ours.shape} against {theirs.shape}"
    assert np.isfinite(ours).all() and np.isfinite(theirs).all(), "not finite"
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))


def gradient_difference(ours: dict, theirs: dict) -> float:
    """Return the largest `relative_difference` over the parameters of two trees."""
    assert shapes(ours) == shapes(theirs)
    return max(jax.tree.leaves(jax.tree.map(relative_difference, ours, theirs)))
