"""Networks that flatten their maps compute what PyTorch's do."""

import jax
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.weights import load_weights, state_dict
from cnn_jax.weights.flattening import to_our_order, to_torch_order
from tests.weights.random_weights import differing, random_variables


def _lenet(torch):
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = (
                nn.Linear(400, 120),
                nn.Linear(120, 84),
                nn.Linear(84, 10),
            )

        def forward(self, x):
            for conv in (self.conv1, self.conv2):
                x = nn.functional.max_pool2d(conv(x).relu(), 2)
            x = self.fc1(x.flatten(1)).relu()
            return self.fc3(self.fc2(x).relu())

    return Net()


@pytest.mark.parametrize(("name", "size", "channels"), [("lenet5", 28, 1), ("alexnet", 64, 3)])
def test_flattened_maps(tmp_path, name, size, channels):
    parity = pytest.importorskip("tests.parity")
    torch = parity.torch
    theirs = _lenet(torch) if name == "lenet5" else parity.torchvision.models.alexnet()
    parity.randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = models.create_model(name)
    variables = load_weights(model, tmp_path / "w.pth")
    images = np.random.default_rng(0).normal(size=(2, size, size, channels)).astype(np.float32)
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    found = jax.jit(model.apply)(variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    back = state_dict(variables)
    for key, tensor in theirs.state_dict().items():
        np.testing.assert_array_equal(back[key], tensor.numpy(), err_msg=key)


@pytest.mark.parametrize(
    ("name", "dense"),
    [
        ("simple_cnn", ["fc1.weight"]),
        ("three_block_cnn", ["fc1.weight"]),
        ("alexnet_2012", ["classifier.1.weight"]),
        ("googlenet", ["aux1.fc1.weight", "aux2.fc1.weight"]),
        ("lenet5", ["fc1.weight"]),
        ("lenet5_1998", []),
        ("mlp", []),
        ("cnn1d", []),
        ("squeezenet1_0", []),
        ("resnet18", []),
        ("inception_v3", []),
    ],
)
def test_only_the_layers_behind_maps_are_reordered(name, dense):
    options = {"widths": (4,)} if name == "mlp" else {}
    state = state_dict(random_variables(models.create_model(name, **options)))
    ours = to_our_order(state)
    assert [key for key in state if not np.array_equal(state[key], ours[key])] == dense
    assert differing(to_torch_order(ours), state) == []


def test_a_perceptron_of_colour_images_takes_them_with_the_channels_last():
    """As its docstring says, in PyTorch as well: nothing in a file tells the channels."""
    torch = pytest.importorskip("torch")
    model = models.create_model("mlp", image_size=4, widths=(5,), num_classes=2)
    variables = random_variables(model)
    theirs = torch.nn.Sequential(torch.nn.Linear(48, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    named = {"fc1": "0", "fc2": "2"}
    theirs.load_state_dict(
        {
            f"{named[name.split('.')[0]]}.{name.split('.')[1]}": torch.tensor(array)
            for name, array in state_dict(variables).items()
        }
    )
    images = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
    of_torch = torch.tensor(images).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = theirs(of_torch.permute(0, 2, 3, 1).flatten(1)).numpy()
        otherwise = theirs(of_torch.flatten(1)).numpy()
    found = model.apply(variables, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not np.allclose(found, otherwise, rtol=1e-2)


def test_channels_go_last():
    state = {
        "conv1.weight": np.zeros((2, 1, 3, 3), np.float32),
        "fc1.weight": np.arange(8, dtype=np.float32)[None],
    }
    assert to_our_order(state)["fc1.weight"].tolist() == [[0, 4, 1, 5, 2, 6, 3, 7]]
