"""hf:OWNER/REPO, with the hub's library absent, offline, or answering."""

import json
import logging
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.errors import InputError
from cnn_jax.finetuning import starting_point
from cnn_jax.predict import classifier_from_weights
from cnn_jax.weights import hub, load_weights, save_weights
from cnn_jax.weights.fitting import fitting_model, fitting_preprocessing
from cnn_jax.weights.pretrained import Preprocessing, default_preprocessing
from tests.weights.random_weights import differing, random_variables, small_model, small_state


class _EntryNotFound(Exception):
    pass


class _LocalEntryNotFound(_EntryNotFound):
    pass


@pytest.fixture
def answer(monkeypatch):
    """Puts a library in the place of huggingface_hub that answers with a function."""

    def install(function):
        library = types.ModuleType("huggingface_hub")
        library.hf_hub_download = function
        errors = types.ModuleType("huggingface_hub.errors")
        errors.EntryNotFoundError = _EntryNotFound
        errors.LocalEntryNotFoundError = _LocalEntryNotFound
        monkeypatch.setitem(sys.modules, "huggingface_hub", library)
        monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)

    return install


@pytest.mark.parametrize("there", ["model.safetensors", "pytorch_model.bin"])
def test_the_file_of_a_repository(answer, tmp_path, there):
    np.savez(tmp_path / "w.npz", **small_state())
    asked = []

    def download(repository, name):
        asked.append((repository, name))
        if name != there:
            raise _EntryNotFound
        return str(tmp_path / "w.npz")

    answer(download)
    variables = load_weights(small_model(), "hf:timm/lenet5.a1")
    assert differing(variables, load_weights(small_model(), tmp_path / "w.npz")) == []
    assert asked[0] == ("timm/lenet5.a1", "model.safetensors") and asked[-1][1] == there


CONFIGURATION = {
    "architecture": "lenet5",
    "num_classes": 2,
    "pretrained_cfg": {
        "input_size": [3, 40, 48],
        "crop_pct": 0.9,
        "interpolation": "bilinear",
        "mean": [0.5, 0.25, 0.125],
        "std": [1.0, 0.5, 0.25],
        "test_input_size": [3, 64, 64],
        "url": "",
    },
}


def _answers(folder, configuration, variables=None):
    """A hub of one repository: its configuration, and weights."""
    (folder / "config.json").write_text(json.dumps(configuration))
    if variables is not None:
        save_weights(variables, folder / "model.safetensors")

    def download(repository, name):
        if not (folder / name).is_file():
            raise _EntryNotFound
        return str(folder / name)

    return download


# Before 2023, timm wrote the fields beside the architecture.
@pytest.mark.parametrize("form", ["pretrained_cfg", "flat"])
def test_images_are_prepared_as_the_repository_says(answer, tmp_path, form):
    flat = {"architecture": "resnet18", **CONFIGURATION["pretrained_cfg"]}
    answer(_answers(tmp_path, CONFIGURATION if form == "pretrained_cfg" else flat))
    expected = Preprocessing((40, 48), 0.9, "bilinear", (0.5, 0.25, 0.125), (1.0, 0.5, 0.25))
    assert starting_point("hf:timm/x", "resnet18").preprocessing == expected
    model = models.create_model("resnet18")
    said = fitting_preprocessing("resnet18", "hf:timm/x", model, mean=(0.1,) * 3, size=(32, 32))
    assert said == replace(expected, mean=(0.1,) * 3, size=(32, 32))


def test_of_grey_images_too(answer, tmp_path):
    grey = {"architecture": "lenet5", "mean": [0.5], "std": [0.25], "input_size": [1, 32, 32]}
    answer(_answers(tmp_path, {"pretrained_cfg": grey}))
    assert fitting_preprocessing("lenet5", "hf:a/b", small_model()) == Preprocessing(
        (32, 32), 1.0, mean=(0.5,), std=(0.25,)
    )


def test_a_classifier_of_grey_images_takes_one_channel(answer, tmp_path):
    """As the repository alone says it."""
    variables = random_variables(
        models.create_model("resnet20_cifar", num_classes=3, in_channels=1)
    )
    grey = {"mean": [0.5], "std": [0.25], "input_size": [1, 32, 32]}
    answer(_answers(tmp_path, {"pretrained_cfg": grey}, variables))
    classifier = classifier_from_weights("resnet20_cifar", "hf:a/b", class_names="abc")
    assert classifier.model.in_channels == classifier.preprocessing.channels == 1
    assert differing(classifier.variables, variables) == []


def test_what_the_repository_does_not_say_is_usual(answer, tmp_path):
    download = _answers(tmp_path, {"architectures": ["X"], "pretrained_cfg": {"crop_pct": 1.0}})
    answer(download)
    usual = replace(
        default_preprocessing("resnet18", models.create_model("resnet18")), crop_fraction=1.0
    )
    assert starting_point("hf:a/b", "resnet18").preprocessing == usual
    (tmp_path / "config.json").unlink()
    usual = replace(usual, crop_fraction=0.875)
    assert starting_point("hf:a/b", "resnet18").preprocessing == usual


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        ([1], "config.json of hf:a/b is not as timm writes it: download the weights"),
        ({"pretrained_cfg": 3}, "config.json of hf:a/b is not as timm writes it"),
        ({"mean": 0.5}, "hf:a/b says in no known form how images are prepared"),
        ({"input_size": 224}, "hf:a/b says in no known form how images are prepared"),
        ({"interpolation": "hamming"}, "`interpolation` .='hamming'. is not known"),
    ],
)
def test_a_configuration_of_another_form(answer, tmp_path, configuration, words):
    answer(_answers(tmp_path, configuration))
    with pytest.raises(InputError, match=words):
        starting_point("hf:a/b", "resnet18")


@pytest.mark.parametrize(
    ("name", "architecture", "fields"),
    [
        ("mobilenet_v3_small", "mobilenetv3_small_100", (1e-5, False)),
        ("mobilenet_v3_small", "tf_mobilenetv3_small_100", (1e-3, True)),
        ("efficientnet_lite0", "efficientnet_lite0", (1e-5, False)),
        ("efficientnet_lite0", "tf_efficientnet_lite0", (1e-3, True)),
        ("efficientnet_b5", "efficientnet_b5", (1e-5, False)),
        ("efficientnet_b0", "tf_efficientnet_b0", (1e-3, True)),
        ("efficientnet_v2_s", "tf_efficientnetv2_s", (1e-3, True)),
    ],
)
def test_a_mobile_network_computes_as_the_repository_says(
    answer, tmp_path, name, architecture, fields
):
    """As timm itself would build the architecture."""
    timm = pytest.importorskip("tests.parity").timm
    with pytest.importorskip("torch").device("meta"):
        theirs = timm.create_model(architecture)
    same = "same" in type(theirs.conv_stem).__name__.lower()
    assert (theirs.bn1.eps, same) == fields
    answer(_answers(tmp_path, {"architecture": architecture}))
    model = fitting_model(name, "hf:timm/x")
    assert (model.bn_epsilon, model.same_padding) == fields


def test_a_mobile_network_that_computes_otherwise_is_refused(answer, tmp_path):
    model = models.create_model("mobilenet_v3_small", num_classes=2, bn_epsilon=1e-5)
    variables = random_variables(model)
    answer(_answers(tmp_path, {"architecture": "mobilenetv3_small_100"}, variables))
    assert differing(load_weights(model, "hf:timm/x"), variables) == []
    with pytest.raises(InputError) as caught:
        load_weights(model.clone(bn_epsilon=1e-3), "hf:timm/x")
    assert str(caught.value) == (
        "hf:timm/x was trained with `bn_epsilon=1e-05`, `same_padding=False`, and the model has "
        "`bn_epsilon=0.001`, `same_padding=False`: create the model with the former"
    )


def test_a_file_with_timm_s_names_does_not_say_how_a_mobile_network_computes(tmp_path):
    model = models.create_model("mobilenet_v3_small", num_classes=2)
    save_weights(random_variables(model), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"own --bn-epsilon 0\.001 --even-padding$"):
        fitting_model("mobilenet_v3_small", tmp_path / "w.safetensors")
    for epsilon in (1e-5, 1e-3):
        fitting = fitting_model(
            "mobilenet_v3_small", tmp_path / "w.safetensors", bn_epsilon=epsilon
        )
        assert fitting.bn_epsilon == epsilon
    np.savez(tmp_path / "w.npz", **{"features.0.0.weight": np.ones(1, np.float32)})  # torchvision's
    assert fitting_model("mobilenet_v3_small", tmp_path / "w.npz").bn_epsilon == 1e-3


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_LocalEntryNotFound("offline"), "cannot be fetched and is not in the cache"),
        (_EntryNotFound("404"), r"neither model\.safetensors nor pytorch_model\.bin"),
        (
            RuntimeError("Repository Not Found\nfor url"),
            r"\(Repository Not Found\): check the name",
        ),
    ],
)
def test_what_goes_wrong(answer, error, words):
    def download(repository, name):
        raise error

    answer(download)
    with pytest.raises(InputError, match=words):
        hub.download("timm/none")


@pytest.fixture
def only_weights(answer, tmp_path):
    """A hub that is offline, with a cache from before: of a repository it has the weights alone."""

    def install(variables):
        save_weights(variables, tmp_path / "model.safetensors")

        def download(repository, name):
            if name != "model.safetensors":
                raise _LocalEntryNotFound
            return str(tmp_path / name)

        answer(download)

    return install


WITHOUT_CONFIGURATION = r"^config\.json of hf:a/b cannot be fetched and is not in the cache: the us"


def test_weights_in_the_cache_alone_are_loaded_offline(only_weights):
    model = models.create_model("mobilenet_v3_small", num_classes=2, bn_epsilon=1e-5)
    variables = random_variables(model)
    only_weights(variables)
    with pytest.warns(UserWarning, match=WITHOUT_CONFIGURATION):
        assert differing(load_weights(model, "hf:a/b"), variables) == []


def test_images_are_prepared_as_usual_for_weights_in_the_cache_alone(only_weights):
    only_weights(random_variables(small_model()))
    model = models.create_model("resnet18")
    usual = default_preprocessing("resnet18", model)
    with pytest.warns(UserWarning, match=WITHOUT_CONFIGURATION):
        assert fitting_preprocessing("resnet18", "hf:a/b", model) == usual
    known = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    with pytest.warns(UserWarning, match=WITHOUT_CONFIGURATION):
        said = fitting_preprocessing("resnet18", "hf:a/b", model, **known)
    assert said == replace(usual, **known)


def test_of_weights_that_are_not_in_the_cache_no_configuration_is_missed(answer):
    def download(repository, name):
        raise _LocalEntryNotFound

    answer(download)
    with pytest.raises(InputError, match=r"^hf:timm/none cannot be fetched and is not in the c"):
        hub.configuration("timm/none")


def test_attempts_at_the_network_are_not_printed(answer, caplog):
    """The library warns of each on its logger, and one sentence is enough."""

    def download(repository, name):
        logging.getLogger("huggingface_hub.utils").warning("Retrying in 1s")
        raise _LocalEntryNotFound

    answer(download)
    with pytest.raises(InputError, match="cannot be fetched"):
        hub.download("timm/none")
    assert not caplog.records
    logging.getLogger("huggingface_hub.utils").warning("another's")
    assert [record.message for record in caplog.records] == ["another's"]


@pytest.mark.parametrize("source", ["hf:resnet50", "hf:", "hf:a/b/c", "hf:/b"])
def test_the_name_of_a_repository(source):
    with pytest.raises(InputError, match="must be hf:OWNER/REPO"):
        load_weights(small_model(), source)


def test_the_library_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="pip install huggingface_hub"):
        load_weights(small_model(), "hf:timm/resnet50.a1_in1k")


def test_the_real_library_offline(monkeypatch, tmp_path):
    library = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(library.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(library.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"hf:timm/none cannot be fetched"):
        hub.download("timm/none")
