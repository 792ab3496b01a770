"""Damaged files give one sentence, soon, and take no more memory than is promised."""

import io
import json
import pickle
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from cnn_jax.errors import InputError
from cnn_jax.weights import load_weights, save_weights
from cnn_jax.weights.files import read_file
from cnn_jax.weights.unpickle import _MAX_INSTRUCTIONS
from tests.weights import pickles
from tests.weights.random_weights import random_variables, small_model

# Bytes that reading may take, for each byte of the file, besides a constant for small files.
_FACTOR, _CONSTANT = 200, 1 << 20


def _refusal(path) -> str:
    """Read a damaged file: its error is one sentence that names the file."""
    with pytest.raises(InputError) as caught:
        read_file(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and len(message) < 700
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page"),
        (b"\n  <html>not found</html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(64), "gzip"),
        (b"PK\x03\x04" + bytes(64), "damaged zip archive"),
        (b"PK\x05\x06" + bytes(18), "begins like no"),
        (b"\x80", "middle of an instruction"),
        (pickle.dumps({"a": 1}, 2), "none that `torch.save` wrote"),
        (pickle.dumps(np.ones(3), 4), "mentions `numpy"),
        (bytes(64), "begins like no"),
        (b"weights", "begins like no"),
        (struct.pack("<Q", 2) + b"{}" + bytes(4), "4 bytes behind"),
        (struct.pack("<Q", 2**62) + b"{}", "truncated"),
        (struct.pack("<Q", 10) + b"{" + b"[" * 9, "not JSON"),
    ],
)
def test_strangers(tmp_path, content, words):
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert words in _refusal(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_weights(small_model(), tmp_path / "none.pth")
    with pytest.raises(InputError, match=r"is not a run directory"):
        load_weights(small_model(), tmp_path)


def test_random_bytes(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(200):
        content = rng.bytes(int(rng.integers(1, 300)))
        prefix = (b"", b"PK\x03\x04", b"\x80\x02", struct.pack("<Q", 9) + b"{")[index % 4]
        path = tmp_path / f"{index}.pth"
        path.write_bytes(prefix + content)
        _refusal(path)


def _safetensors(header: dict, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def _entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        _safetensors({"a": _entry([2], 0, 8)}, bytes(7)),
        _safetensors({"a": _entry([2], 0, 8)}, bytes(9)),
        _safetensors({"a": _entry([2], 4, 12)}, bytes(12)),
        _safetensors({"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, bytes(12)),
        _safetensors({"a": _entry([3], 0, 8)}, bytes(8)),
        _safetensors({"a": _entry([2**40, 2**40], 0, 8)}, bytes(8)),
        _safetensors({"a": _entry([-2], 0, 8)}, bytes(8)),
        _safetensors({"a": _entry([2.0], 0, 8)}, bytes(8)),
        _safetensors({"a": _entry([True], 0, 4)}, bytes(4)),
        _safetensors({"a": _entry([2], 0, 8, dtype="F8_E4M3")}, bytes(8)),
        _safetensors({"a": _entry([2], 0, 8, dtype=["F32"])}, bytes(8)),
        _safetensors({"a": _entry([2], 8, 0)}, bytes(8)),
        _safetensors({"a": [1, 2]}),
        _safetensors({"a": {"dtype": "F32"}}),
        struct.pack("<Q", 33) + b'{"a":{"dtype":"F32"},"a":{"a":1}}',
    ],
)
def test_safetensors_whose_header_lies(tmp_path, content):
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    _refusal(path)


def _npz(content: bytes, compression=zipfile.ZIP_STORED, name="a.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _npy(header: str, data: bytes) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


_HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize(
    "content",
    [
        _npz(_npy(_HEADER.format("<f4", "(2,)"), bytes(7))),
        _npz(_npy(_HEADER.format("<f4", "(99999999999,)"), bytes(8))),
        _npz(_npy(_HEADER.format("|O", "(2,)"), pickle.dumps([1, 2]))),
        _npz(_npy(_HEADER.format("<U4", "(2,)"), bytes(32))),
        _npz(_npy(_HEADER.format("<f4", "(-2,)"), bytes(8))),
        _npz(_npy("(" * 5000, bytes(8))),
        _npz(b"\x93NUMPY\x03\x00" + bytes(64)),
        _npz(b"", name="a.txt"),
        _npz(_npy(_HEADER.format("|u1", "(50000000,)"), bytes(50_000_000)), zipfile.ZIP_DEFLATED),
        _npz(_npy(_HEADER.format("<f4", "(2,)"), bytes(8)), zipfile.ZIP_BZIP2),
    ],
)
def test_npz_whose_header_lies(tmp_path, content):
    path = tmp_path / "w.npz"
    path.write_bytes(content)
    tracemalloc.start()
    _refusal(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < _FACTOR * len(content) + _CONSTANT


_SIZE = 100_000


@pytest.mark.parametrize(
    "body",
    [
        b"}" * _SIZE,
        b"]" * _SIZE,
        b"(" * _SIZE,
        b"N" + b"\x85" * _SIZE,
        b"N" + b"\x94" * _SIZE,
        b"]q\x00" + b"h\x00" * (_SIZE // 2),
        b"Nr\xff\xff\xff\xff" * (_SIZE // 6),
        b"X\xff\xff\xff\x7f" + bytes(_SIZE),
        b"B\xff\xff\xff\x7f" + bytes(_SIZE),
        b"\x95" + b"\xff" * _SIZE,
        b"c" + b"a" * _SIZE,
        # Tuples of tuples, each twice as large to walk as the one before, as a key.
        b"}N" + b"\x85q\x00h\x00\x86" * (_SIZE // 8) + b"Ns.",
        # A list of pairs that many dictionaries are to be made of.
        b"](" + b"(K\x01K\x02t" * (_SIZE // 10) + b"e\x85q\x00ccollections\nOrderedDict\nq\x01"
        + b"h\x01h\x00R" * (_SIZE // 10),
        # One storage and a tensor of it, again and again.
        pickles.tensor("0", 0, [1] * 8, [1] * 8, count=1)
        + b"ctorch._utils\n_rebuild_tensor_v2\nq\x01("
        + pickles.tensor("0", 0, [1], [1], count=1) + b"tq\x02" + b"h\x01h\x02R" * (_SIZE // 5),
    ],
)  # fmt: skip
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_pickles_made_to_fill_the_memory(tmp_path, body, container):
    build = pickles.zip_file if container == "zip" else pickles.legacy_file
    content, path = build(b"\x80\x02" + body), tmp_path / "w.pth"
    path.write_bytes(content)
    tracemalloc.start()
    begin = time.perf_counter()
    _refusal(path)
    taken = time.perf_counter() - begin
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < _FACTOR * len(content) + _CONSTANT
    assert taken < 30  # a second under tracemalloc; a hang would take for ever


def test_a_pickle_ends_after_so_many_instructions(tmp_path, monkeypatch):
    assert _MAX_INSTRUCTIONS < 10_000_000
    monkeypatch.setattr("cnn_jax.weights.unpickle._MAX_INSTRUCTIONS", 1000)
    path = tmp_path / "w.pth"
    path.write_bytes(pickles.zip_file(b"\x80\x02" + b"N" * 2000 + b"."))
    assert "more than 1000 instructions" in _refusal(path)


def _originals(folder) -> dict[str, bytes]:
    """One small file of each format, of the same weights where PyTorch is not needed."""
    block = pickles.floats(96)
    tensors = {
        f"conv{index}.weight": pickles.tensor("0", index, [2, 3, 2, 2], [12, 4, 2, 1], count=96)
        for index in range(4)
    }
    body = pickles.dictionary(
        epoch=b"K\x03", state_dict=b"ccollections\nOrderedDict\n)R("
        + b"".join(pickles.text(name) + value for name, value in tensors.items()) + b"u",
    )  # fmt: skip
    storages = pickle.dumps(["0"], 2) + (96).to_bytes(8, "little") + block
    arrays = {name: np.frombuffer(block, "<f4")[:24].reshape(2, 3, 2, 2) for name in tensors}
    np.savez(folder / "plain.npz", **arrays)
    np.savez_compressed(folder / "packed.npz", **arrays)
    spans = {
        name: _entry([2, 3, 2, 2], 96 * index, 96 * index + 96) for index, name in enumerate(arrays)
    }
    return {
        "zip": pickles.zip_file(body, {"0": block}),
        "legacy": pickles.legacy_file(body, storages),
        "npz": (folder / "plain.npz").read_bytes(),
        "compressed npz": (folder / "packed.npz").read_bytes(),
        "safetensors": _safetensors(spans, block),
    }


@pytest.mark.parametrize("name", ["zip", "npz", "compressed npz"])
def test_a_changed_number_is_noticed_where_there_are_checksums(tmp_path, name):
    content = bytearray(_originals(tmp_path)[name])
    at = content.find(pickles.floats(24)[40:60])
    content[at if at > 0 else len(content) // 3] ^= 1
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert "damaged" in _refusal(path)


def _mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file as disks, networks and malice do."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        at, length = int(rng.integers(len(data))), int(rng.integers(1, 9))
        match int(rng.integers(6)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + length] = rng.bytes(length)
            case 2:
                data[at : at + length] = b"\xff" * length
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + 4 * length]
            case 5:
                del data[max(at, 1) :]
    return bytes(data)


def test_a_thousand_mutated_files(tmp_path):
    """1,000 files, 200 of each format: each is read or refused in one sentence."""
    originals = _originals(tmp_path)
    rng = np.random.default_rng(0)
    path = tmp_path / "w.pth"
    outcomes = dict.fromkeys(originals, 0)
    tracemalloc.start()
    for name, content in originals.items():
        path.write_bytes(content)
        assert len(read_file(path)) == 4
        for _ in range(200):
            mutated = _mutate(content, rng)
            path.unlink()  # the file before is still mapped
            path.write_bytes(mutated)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            begin = time.perf_counter()
            try:
                arrays = read_file(path)
            except InputError as error:
                outcomes[name] += 1
                assert "\n" not in str(error)
            else:
                for array in arrays.values():
                    array.tobytes()  # every number lies inside of the file
            _, peak = tracemalloc.get_traced_memory()
            assert peak - before < _FACTOR * len(mutated) + _CONSTANT, name
            assert time.perf_counter() - begin < 5, name
    tracemalloc.stop()
    # Most damage is noticed; only a safetensors or legacy file can hide a changed number.
    assert min(outcomes.values()) > 60, outcomes


def test_a_truncated_file_of_our_own(tmp_path):
    path = tmp_path / "w.safetensors"
    model = small_model()
    save_weights(random_variables(model), path)
    content = path.read_bytes()
    for length in (1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        path.unlink()
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="cannot be read as weights"):
            load_weights(model, path)
