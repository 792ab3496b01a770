"""A pickle that would call anything is refused, and nothing of it has run."""

import os
import pickle
import sys

import pytest

from cnn_jax.errors import InputError
from cnn_jax.weights.files import read_file
from tests.weights import pickles

_FORMATS = {"zip": pickles.zip_file, "legacy": pickles.legacy_file}


class _Reduces:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments, *([state] if state else []))

    def __reduce__(self):
        return self.reduced


def _command(marker):
    return f"touch {marker}"


def _call(module, name, argument):
    return f"c{module}\n{name}\n(".encode() + pickles.text(argument) + b"tR"


# What a writer of a malicious file would try; each gets the path of a file to leave as a trace.
_ATTACKS = {
    "os.system": lambda trace: pickle.dumps(_Reduces(os.system, _command(trace)), 2),
    "eval": lambda trace: pickle.dumps(_Reduces(eval, f"open({str(trace)!r}, 'w')"), 2),
    "exec, protocol 4": lambda trace: pickle.dumps(
        _Reduces(exec, f"open({str(trace)!r}, 'w')"), 4
    ),
    "open": lambda trace: pickle.dumps(_Reduces(open, str(trace), "w"), 4),
    "getattr": lambda trace: (
        b"\x80\x02cbuiltins\ngetattr\n(cos\nsystem\n" + pickles.text("__call__") + b"tR."
    ),
    "inside the weights": lambda trace: pickles.dictionary(
        a=pickles.tensor("0", 0, [1], [1], count=1), b=_call("os", "system", _command(trace))
    ),
    "as a key": lambda trace: b"\x80\x02}(" + _call("os", "system", _command(trace)) + b"Nu.",
    "as a persistent id": lambda trace: (
        b"\x80\x02" + _call("os", "system", _command(trace)) + b"Q."
    ),
    "STACK_GLOBAL": lambda trace: (
        b"\x80\x04" + pickles.text("os") + pickles.text("system") + b"\x93("
        + pickles.text(_command(trace)) + b"tR."
    ),
    "INST": lambda trace: b"\x80\x02(" + pickles.text(_command(trace)) + b"ios\nsystem\n.",
    "OBJ": lambda trace: b"\x80\x02(cos\nsystem\n" + pickles.text(_command(trace)) + b"o.",
    "NEWOBJ": lambda trace: (
        b"\x80\x02ccollections\nOrderedDict\n(" + pickles.text(_command(trace)) + b"t\x81."
    ),
    "NEWOBJ_EX": lambda trace: b"\x80\x04ccollections\nOrderedDict\n)}\x92.",
    "EXT1": lambda trace: b"\x80\x02\x82\x01(" + pickles.text(_command(trace)) + b"tR.",
    "EXT2": lambda trace: b"\x80\x02\x83\x01\x00(" + pickles.text(_command(trace)) + b"tR.",
    "EXT4": lambda trace: b"\x80\x02\x84\x01\x00\x00\x00" + b")R.",
    "PERSID": lambda trace: b"\x80\x02Pos.system\n.",
    "BUILD with a state": lambda trace: (
        b"\x80\x02ccollections\nOrderedDict\n)R" + _call("os", "system", _command(trace)) + b"b."
    ),
    "BUILD of slots": lambda trace: b"\x80\x02}N}\x86b.",
    "BUILD of a tensor": lambda trace: (
        b"\x80\x02" + pickles.tensor("0", 0, [1], [1], count=1) + b"}b."
    ),
    "a dotted name": lambda trace: (
        b"\x80\x04" + pickles.text("torch") + pickles.text("serialization.os.system") + b"\x93)R."
    ),
    "a name that ends alike": lambda trace: _call("evil_torch._utils", "_rebuild_tensor_v2", "x"),
    "a call of a storage type": lambda trace: b"\x80\x02ctorch\nFloatStorage\n)R.",
    "a call of a dtype": lambda trace: b"\x80\x02ctorch\nfloat32\n)R.",
    "a call of text": lambda trace: b"\x80\x02" + pickles.text("os.system") + b")R.",
    "a module of PyTorch": lambda trace: b"\x80\x02ctorch.nn.modules.conv\nConv2d\n)\x81.",
    "an import of PyTorch's": lambda trace: _call("torch.hub", "load_state_dict_from_url", "x"),
    "a persistent id of a module": lambda trace: (
        b"\x80\x02(" + pickles.text("module") + b"NNNNtQ."
    ),
    "a persistent id of text": lambda trace: b"\x80\x02" + pickles.text("0") + b"Q.",
    "a storage of a foreign type": lambda trace: (
        b"\x80\x02(" + pickles.text("storage") + pickles.text("FloatStorage") + b"NNNtQ."
    ),
}  # fmt: skip


@pytest.mark.parametrize("container", _FORMATS)
@pytest.mark.parametrize("attack", _ATTACKS)
def test_nothing_runs(tmp_path, attack, container):
    trace, path = tmp_path / "trace", tmp_path / "w.pth"
    path.write_bytes(_FORMATS[container](_ATTACKS[attack](trace)))
    loaded = set(sys.modules)
    with pytest.raises(InputError) as caught:
        read_file(path)
    assert not trace.exists()
    assert not {name for name in sys.modules if not name.startswith("encodings")} - loaded
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_attack_would_have_worked(tmp_path):
    trace = tmp_path / "trace"
    pickle.loads(_ATTACKS["os.system"](trace))  # what must never be done with a file from elsewhere
    assert trace.exists()


def test_the_refused_name_is_said(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickles.zip_file(_ATTACKS["os.system"](tmp_path / "trace")))
    with pytest.raises(InputError, match=r"`(posix|nt)\.system`.*nothing was run"):
        read_file(path)


def test_a_model_that_was_saved_whole_is_refused_with_the_remedy(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"torch\.nn\.modules\.linear\.Linear.*`state_dict\(\)`"):
        read_file(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "body",
    [
        pickles.tensor("0", 0, [9], [1], count=8),
        pickles.tensor("0", 1, [8], [1], count=8),
        pickles.tensor("0", 0, [4, 3], [2, 1], count=8),
        pickles.tensor("0", 0, [2, 2], [7, 1], count=8),
        pickles.tensor("0", 0, [1000000], [0], count=8),
        pickles.tensor("0", 0, [2**40, 2**40], [0, 0], count=8),
        pickles.tensor("0", -1, [2], [1], count=8),
        pickles.tensor("0", 0, [-2], [1], count=8),
        pickles.tensor("0", 0, [2], [-1], count=8),
        pickles.tensor("0", 0, [2], [2**62], count=8),
        pickles.tensor("0", 2**62, [1], [1], count=8),
        pickles.tensor("0", 0, [2, 2], [1], count=8),
        pickles.tensor("0", 0, [1] * 9, [1] * 9, count=8),
        pickles.tensor("0", 0, [9], [1], count=9),
        pickles.tensor("0", 0, [8], [1], count=8, kind="DoubleStorage"),
        pickles.tensor("0", 0, [8], [1], count=8, kind="ComplexFloatStorage"),
        pickles.tensor("1", 0, [8], [1], count=8),
        pickles.tensor("../../etc/passwd", 0, [8], [1], count=8),
        pickles.tensor("0", 0, [8], [1], count=2**62),
        pickles.tensor("0", 0, [8], [1], count=-8),
    ],
)
@pytest.mark.parametrize("container", _FORMATS)
def test_tensors_that_reach_outside_of_their_storage(tmp_path, body, container):
    path, block = tmp_path / "w.pth", pickles.floats(8)
    if container == "zip":
        path.write_bytes(pickles.zip_file(pickles.dictionary(a=body), {"0": block}))
    else:
        storages = pickle.dumps(["0"], 2) + (8).to_bytes(8, "little") + block
        path.write_bytes(pickles.legacy_file(pickles.dictionary(a=body), storages))
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_file(path)


@pytest.mark.parametrize("container", _FORMATS)
def test_a_tensor_that_fills_its_storage_is_read(tmp_path, container):
    path, block = tmp_path / "w.pth", pickles.floats(8)
    body = pickles.dictionary(a=pickles.tensor("0", 0, [2, 4], [4, 1], count=8))
    storages = pickle.dumps(["0"], 2) + (8).to_bytes(8, "little") + block
    content = (
        pickles.zip_file(body, {"0": block})
        if container == "zip"
        else pickles.legacy_file(body, storages)
    )
    path.write_bytes(content)
    assert read_file(path)["a"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
