"""Each file format gives what its own library gives."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.weights.files import read_file
from cnn_jax.weights.state_dict import without_prefixes
from tests.weights import pickles
from tests.weights.random_weights import small_state

_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")


def _torch_state(torch):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn((3, 4), generator=generator) * 50
    state = {name: values.to(getattr(torch, name)) for name in _TYPES}
    state["scalar"] = torch.tensor(3.5)
    state["empty"] = torch.zeros(0, 4)
    state["transposed"] = values.t()
    state["slice"] = values[1:, ::2]
    state["tied"] = state["float32"]
    state["parameter"] = torch.nn.Parameter(values.clone())
    return state


def _check(found, state, torch):
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        tensor = tensor.detach()
        assert found[name].shape == tuple(tensor.shape), name
        np.testing.assert_array_equal(
            found[name].astype(np.float64), tensor.to(torch.float64).numpy(), err_msg=name
        )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_torch_files(tmp_path, zipped, protocol):
    torch = pytest.importorskip("torch")
    state, path = _torch_state(torch), tmp_path / "weights.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    _check(read_file(path), state, torch)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapper", ["state_dict", "model", "state_dict_ema", None])
def test_wrappers_prefixes_and_what_lies_beside_the_weights(tmp_path, zipped, wrapper):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    state = torch.nn.DataParallel(model).state_dict()
    assert isinstance(state, OrderedDict) and hasattr(state, "_metadata")
    checkpoint = state if wrapper is None else {
        "epoch": 3,
        "best": torch.tensor(0.5),
        "optimizer": optimizer.state_dict(),
        "arch": "resnet",
        "dtype": torch.float32,
        "size": torch.Size([3, 4]),
        wrapper: state,
    }  # fmt: skip
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    _check(without_prefixes(read_file(tmp_path / "w.pth")), model.state_dict(), torch)


def test_averaged_weights_are_preferred(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(
        {"state_dict": {"a": torch.zeros(2)}, "state_dict_ema": {"a": torch.ones(2)}},
        tmp_path / "w.pth",
    )
    assert read_file(tmp_path / "w.pth")["a"].tolist() == [1, 1]


def test_a_dictionary_that_lies_in_itself(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"a": torch.zeros(2)}
    state["state_dict"] = state
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match="more than 8 of its dictionaries lie in each other: "):
        read_file(tmp_path / "w.pth")


def test_a_file_without_checksums(tmp_path):
    torch = pytest.importorskip("torch")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.arange(3.0)}, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_file(tmp_path / "w.pth")["a"].tolist() == [0, 1, 2]


def test_the_published_resnet20(shared_weights):
    torch = pytest.importorskip("torch")
    path = shared_weights / "resnet20-12fca82f.th"
    theirs = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    _check(read_file(path), theirs, torch)


def test_a_legacy_view_of_a_storage(tmp_path):
    storage = (
        b"(" + pickles.text("storage") + b"ctorch\nFloatStorage\n" + pickles.text("0")
        + pickles.text("cpu") + pickles.integer(6)
        + b"(" + pickles.text("1") + pickles.integer(2) + pickles.integer(3) + b"ttQ"
    )  # fmt: skip
    shape = b"(" + pickles.integer(3) + b"t(" + pickles.integer(1) + b"t"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + pickles.integer(0) + shape + b"tR"
    blocks = pickle.dumps(["0"], 2) + (6).to_bytes(8, "little") + pickles.floats(6)
    path = tmp_path / "w.pth"
    path.write_bytes(pickles.legacy_file(pickles.dictionary(a=tensor), blocks))
    assert read_file(path)["a"].tolist() == [2, 3, 4]


def test_safetensors(tmp_path):
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    state = {name: tensor for name, tensor in _torch_state(torch).items() if name != "tied"}
    state = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    state["bool"] = torch.tensor([True, False])
    safetensors.save_file(state, tmp_path / "w.safetensors", metadata={"format": "pt"})
    _check(read_file(tmp_path / "w.safetensors"), state, torch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    state = {**small_state(), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    state["scalar"] = np.float32(3)
    save(tmp_path / "w.npz", **state)
    found = read_file(tmp_path / "w.npz")
    assert found.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_format_is_told_by_the_bytes_and_not_by_the_name(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    path = Path(tmp_path / "w.npz").rename(tmp_path / "w.safetensors")
    assert read_file(path)["a"].tolist() == [1, 1]


def test_uncompressed_arrays_are_read_in_place(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.arange(4.0))
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("a.npy", buffer.getvalue())
    array = read_file(tmp_path / "w.npz")["a"]
    assert not array.flags.owndata and not array.flags.writeable


def test_a_safetensors_whose_first_byte_is_a_pickles(tmp_path):
    """The length of the header comes first, and every 32nd begins with the byte of a pickle."""
    safetensors = pytest.importorskip("safetensors.numpy")
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for extra in range(0, 256):
        path, name = tmp_path / "w.safetensors", "x" * (1 + extra)
        safetensors.save_file({name: array}, path)
        if path.read_bytes()[:1] == b"\x80":
            break
    else:
        pytest.fail("no such header was made")
    np.testing.assert_array_equal(read_file(path)[name], array)
