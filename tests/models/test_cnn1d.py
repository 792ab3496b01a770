"""The network for signals against PyTorch's 1-D layers: the image tables have no place for it."""

from collections import OrderedDict

import jax
import numpy as np
import torch

from cnn_jax.models import create_model
from cnn_jax.models.features import extract_features
from tests import parity

_SIZES = ((1, 128, 8), (128, 256, 5), (256, 128, 3))


def _torch_model():
    layers = {}
    for index, (channels, width, size) in enumerate(_SIZES, start=1):
        layers[f"pad{index}"] = torch.nn.ConstantPad1d(((size - 1) // 2, size // 2), 0.0)
        layers[f"conv{index}"] = torch.nn.Conv1d(channels, width, size)
        layers[f"bn{index}"] = torch.nn.BatchNorm1d(width)
        layers[f"relu{index}"] = torch.nn.ReLU()
    layers["pool"] = torch.nn.AdaptiveAvgPool1d(1)
    layers["flatten"] = torch.nn.Flatten()
    layers["fc"] = torch.nn.Linear(128, 10)
    return parity.randomise(torch.nn.Sequential(OrderedDict(layers)))


def test_outputs_and_gradients_are_pytorchs():
    torch_model, model = _torch_model(), create_model("cnn1d")
    variables = parity.to_variables(parity.numpy_state(torch_model))
    signals = np.random.default_rng(0).normal(size=(2, 37, 1)).astype(np.float32)
    initial = jax.eval_shape(model.init, jax.random.key(0), signals)
    assert parity.shapes(initial) == parity.shapes(variables)

    logits = torch_model(torch.from_numpy(signals.transpose(0, 2, 1).copy()))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    ours = np.asarray(model.apply(variables, signals))
    assert parity.relative_difference(ours, logits.detach().numpy()) < 1e-4

    ours = parity.our_outputs_and_gradients(model)
    _, _, gradients = jax.device_get(ours(variables, signals, np.arange(2)))
    theirs = {name: value.grad.numpy() for name, value in torch_model.named_parameters()}
    theirs = parity.to_variables(theirs)["params"]
    assert parity.gradient_difference(gradients, theirs) < 1e-3

    maps = extract_features(model, variables, signals)
    with torch.no_grad():
        x = torch.from_numpy(signals.transpose(0, 2, 1).copy())
        for name, layer in torch_model.named_children():
            x = layer(x)
            if name.startswith("relu"):
                expected = x.numpy().transpose(0, 2, 1)
                ours = np.asarray(maps[f"conv{name[-1]}"])
                assert parity.relative_difference(ours, expected) < 1e-4
