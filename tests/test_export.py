"""`cnn-jax export` and the functions under it."""

import json
import re
import sys
import zipfile
from dataclasses import replace
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export
from PIL import Image

import cnn_jax.export as exporting
from cnn_jax import cli
from cnn_jax.errors import InputError
from cnn_jax.export import CARD, PROGRAM, check_export, export_classifier, load_exported
from cnn_jax.predict import Classifier, classifier_of_run, classify, predict
from cnn_jax.train import run
from cnn_jax.weights.pretrained import Preprocessing
from tests.conftest import python, scans
from tests.models.test_every_model import drawn_state, small_images, small_model


def random_classifier(name: str = "mobilenet_v2_050") -> Classifier:
    """An untrained network of few blocks, whose statistics are not those that it begins with."""
    model, images = small_model(name), small_images(name)
    state = drawn_state(model, images, optax.sgd(0.1, momentum=0.9))
    moved = jax.tree.map(lambda array: array + 0.1, state.batch_stats)
    preprocessing = Preprocessing(size=images.shape[1:3], crop_fraction=1.0)
    variables = {"params": state.params, "batch_stats": moved}
    return Classifier(model, variables, preprocessing, ("cat", "dog", "owl"))


def noise(count: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(scope="module")
def small() -> Classifier:
    return random_classifier("simple_cnn")


@pytest.fixture
def call(monkeypatch):
    """Run `cnn-jax export` in this process: the exit code."""

    def called(*arguments) -> int:
        monkeypatch.setattr(sys, "argv", ["cnn-jax", "export", *map(str, arguments)])
        return cli.call(cli.cnn_jax)

    return called


@pytest.mark.parametrize("name", ["mobilenet_v2_050", "shufflenet_v2_x0_5", "vit_tiny_patch16"])
def test_the_program_answers_as_the_network_for_any_number_of_images(tmp_path, name):
    classifier = random_classifier(name)
    written = export_classifier(classifier, tmp_path / "out.zip")
    program = load_exported(tmp_path / "out.zip")
    assert program.class_names == classifier.class_names
    assert program.preprocessing == classifier.preprocessing
    for count in (1, 3):
        images = noise(count, 32)
        expected = jax.jit(lambda images: classify(classifier, images))(images)
        np.testing.assert_allclose(program(images), expected, rtol=1e-4, atol=1e-5)
    assert written.difference < 1e-4


def test_a_process_without_this_package_runs_it(small, tmp_path):
    export_classifier(small, tmp_path / "out.zip")
    np.save(tmp_path / "images.npy", noise(7))
    (tmp_path / "serve.py").write_text(
        "import sys, zipfile, numpy as np\n"
        "from jax import export\n"
        "with zipfile.ZipFile('out.zip') as file:\n"
        f"    program = export.deserialize(file.read({PROGRAM!r}))\n"
        "np.save('logits.npy', program.call(np.load('images.npy')))\n"
        "print([name for name in sys.modules if name.startswith(('cnn_jax', 'flax'))])\n"
    )
    process = python("serve.py", cwd=tmp_path)
    assert process.stdout == "[]\n", process.stderr
    found = np.load(tmp_path / "logits.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, classify(small, noise(7)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("here", ["cpu", "gpu"])
def test_each_platform_gets_the_forms_that_are_fast_there(tmp_path, monkeypatch, here):
    monkeypatch.setattr(jax, "default_backend", lambda: here)
    monkeypatch.setattr(exporting, "_difference", lambda *_: None)

    def convolutions(*platforms):
        """The groups of each convolution in the program."""
        export_classifier(
            random_classifier(), tmp_path / "out.zip", platforms=platforms, overwrite=True
        )
        with zipfile.ZipFile(tmp_path / "out.zip") as file:
            program = export.deserialize(bytearray(file.read(PROGRAM))).mlir_module()
        return sorted(map(int, re.findall(r"feature_group_count = (\d+)", program)))

    on_cpu, on_gpu = convolutions("cpu"), convolutions("cuda")
    # Depthwise convolutions are the compiler's own, or products and additions.
    assert max(on_cpu, default=1) == 1 < max(on_gpu)
    both, found = on_cpu + on_gpu, convolutions("cpu", "tpu")
    # JAX writes down each of them once for each platform, wherever it is.
    assert found == sorted(both * (len(found) // len(both)))


def test_half_precision_gives_float32(small, tmp_path):
    halved = replace(small, model=small.model.clone(dtype=jnp.bfloat16))
    export_classifier(halved, tmp_path / "out.zip", platforms=["cpu", "tpu"])
    program = load_exported(tmp_path / "out.zip")
    assert program(noise(2)).dtype == jnp.float32
    assert program.platforms == ("cpu", "tpu")


def test_the_card_says_what_the_program_takes_and_gives(small, tmp_path):
    export_classifier(small, tmp_path / "out.zip", origin="runs/mine")
    with zipfile.ZipFile(tmp_path / "out.zip") as file:
        card = json.loads(file.read(CARD))
    assert card["input"] == "uint8 [N, 16, 16, 3]"
    assert card["output"] == "logits, float32 [N, 3]"
    assert card["class_names"] == list(small.class_names)
    assert card["preprocessing"]["mean"] == list(small.preprocessing.mean)
    assert card["origin"] == "runs/mine"
    assert card["platforms"] == ["cpu", "cuda", "tpu"]


@pytest.mark.parametrize(
    ("platforms", "words"),
    [
        ([], r"`platforms` \(=\(\)\) are none: name some of cpu, cuda, rocm, tpu"),
        (["gpu"], r"`platforms` \(='gpu'\) is not known: an NVIDIA GPU is cuda, an AMD one rocm"),
        (["tqu"], r"`platforms` \(='tqu'\) is not known: did you mean 'tpu'"),
    ],
)
def test_unknown_platforms_are_told(small, tmp_path, platforms, words):
    with pytest.raises(InputError, match=words):
        export_classifier(small, tmp_path / "out.zip", platforms=platforms)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept(small, tmp_path):
    path = tmp_path / "out.zip"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"out.zip\) is there already: choose another"):
        export_classifier(small, path)
    with pytest.raises(InputError, match=r"is a folder: name a file"):
        export_classifier(small, tmp_path, overwrite=True)
    with pytest.raises(InputError, match=r"is in a folder that is not there: make it first"):
        export_classifier(small, tmp_path / "no" / "out.zip")
    with pytest.raises(InputError, match=r"cannot be written: File name too long"):
        export_classifier(small, tmp_path / ("long" * 100))
    assert path.read_text() == "mine"
    export_classifier(small, path, overwrite=True)
    assert load_exported(path)(noise(2)).shape == (2, 3)
    assert list(tmp_path.iterdir()) == [path]


def test_a_program_that_answers_otherwise_is_not_written(small, tmp_path, monkeypatch):
    path = tmp_path / "out.zip"
    path.write_text("mine")
    changed = replace(small, variables=jax.tree.map(lambda array: 1.5 * array, small.variables))
    answers = exporting._answers
    monkeypatch.setattr(exporting, "_answers", lambda _: answers(changed))
    with pytest.raises(RuntimeError, match=r"program's logits differ by .* nothing is written"):
        export_classifier(small, path, overwrite=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_program_for_other_machines_is_written_untried(small, tmp_path):
    written = export_classifier(small, tmp_path / "out.zip", platforms=["tpu"])
    assert written.difference is None
    assert written.size == (tmp_path / "out.zip").stat().st_size


def test_without_flatbuffers_the_remedy_is_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        exporting, "find_spec", lambda name: None if name == "flatbuffers" else find_spec(name)
    )
    with pytest.raises(InputError, match=r"pip install flatbuffers.*cnn_jax\[export\]"):
        check_export(tmp_path / "out.zip", platforms=["cpu"], overwrite=False)
    with pytest.raises(InputError, match="flatbuffers, which is not installed"):
        load_exported(tmp_path / "out.zip")


def test_files_that_are_none_are_told(small, tmp_path):
    path = tmp_path / "out.zip"
    with pytest.raises(InputError, match=r"out.zip\) cannot be read: No such file"):
        load_exported(path)
    path.write_text("no archive")
    with pytest.raises(InputError, match="is no exported classifier, or is damaged"):
        load_exported(path)
    export_classifier(small, path, overwrite=True)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="is no exported classifier, or is damaged"):
        load_exported(path)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(InputError, match=r"damaged \(BadZipFile: Bad CRC-32"):
        load_exported(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(CARD, json.dumps({"format": 99}))
    with pytest.raises(InputError, match="has format 99, and this version of cnn_jax reads up to"):
        load_exported(path)


@pytest.mark.parametrize("change", [None, {}, {"platforms": 1}, {"preprocessing": {"sized": 1}}])
def test_cards_and_programs_that_are_none_are_told(small, tmp_path, change):
    path = tmp_path / "out.zip"
    export_classifier(small, path, platforms=["cpu"])
    with zipfile.ZipFile(path) as file:
        card, program = json.loads(file.read(CARD)), file.read(PROGRAM)
    with zipfile.ZipFile(path, "w") as file:
        # None: the card is sound, and the program is not.
        file.writestr(CARD, json.dumps({} if change == {} else card | (change or {})))
        file.writestr(PROGRAM, b"no program" if change is None else program)
    with pytest.raises(InputError, match=r"is no exported classifier, or is damaged \(\w+: "):
        load_exported(path)


def test_weights_that_cannot_be_exported_are_told(small, tmp_path, monkeypatch):
    broken = replace(small, variables=jax.tree.map(lambda array: jnp.nan * array, small.variables))
    with pytest.raises(InputError, match="answers are not finite: export other weights"):
        export_classifier(broken, tmp_path / "out.zip")
    monkeypatch.setattr(exporting, "_MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"has 0.0 GB of weights, and a program holds 2.1 at most"):
        export_classifier(small, tmp_path / "out.zip")
    assert not list(tmp_path.iterdir())


def test_a_program_for_other_machines_says_so_when_called(small, tmp_path):
    export_classifier(small, tmp_path / "out.zip", platforms=["tpu", "rocm"])
    with pytest.raises(InputError, match=r"for tpu, rocm, and this is cpu: .* --platforms cpu"):
        load_exported(tmp_path / "out.zip")(noise(1))


def test_a_file_that_has_come_meanwhile_is_kept(small, tmp_path, monkeypatch):
    path = tmp_path / "out.zip"
    monkeypatch.setattr(exporting, "_difference", lambda *_: path.write_text("another's"))
    with pytest.raises(InputError, match="is there already"):
        export_classifier(small, path)
    assert path.read_text() == "another's"


@pytest.mark.parametrize(
    "images",
    [
        noise(2)[:, :8],
        noise(1)[0],
        noise(1)[:0],
        noise(2).astype(np.float32),
        noise(2).tolist(),
    ],
)
def test_images_that_do_not_fit_are_told(small, tmp_path, images):
    export_classifier(small, tmp_path / "out.zip", platforms=["cpu"])
    with pytest.raises(InputError, match=r"`images` .* must be an array, uint8 \[N, 16, 16, 3\]"):
        load_exported(tmp_path / "out.zip")(images)


def test_the_command_exports_a_run(recipe, tmp_path, call, capsys):
    run(recipe, tmp_path / "run", quiet=True)
    out = tmp_path / "run.zip"
    assert call(tmp_path / "run", out) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"written: {out}, ")
    assert "for cpu, cuda, tpu; logits differ from the network's by at most " in told
    images, _ = scans(4, seed=5)
    files = [tmp_path / f"{number}.png" for number in range(4)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[..., 0]).save(file)
    program = load_exported(out)
    found = [program.class_names[index] for index in np.argmax(program(images), axis=1)]
    expected = predict(classifier_of_run(tmp_path / "run"), files, top_k=1)
    assert found == [prediction.guesses[0].name for prediction in expected]

    assert call(tmp_path / "run", out) == cli.BAD_INPUT
    assert "is there already: choose another, or --overwrite" in capsys.readouterr().err
    assert call(tmp_path / "run", out, "--overwrite", "--platforms", "tpu, cuda,tpu") == 0
    assert "for tpu, cuda; not tried out, since it is for other" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "`out` (=) must be one file: name it after MODEL_OR_RUN"),
        (["run", "a", "b"], "`out` (=a b) must be one file"),
        (["--weights", "w.npz"], "`out` (=) must be one file: name it after the options"),
        (["nothing", "out.zip"], "`model` (='nothing') is not a known model"),
        (["--weights", "w.npz", "out.zip"], "must be named: --model NAME"),
    ],
)
def test_the_command_tells_what_is_missing(call, capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert call(*arguments) == cli.BAD_INPUT
    assert words in capsys.readouterr().err
