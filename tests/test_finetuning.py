"""From photographs and weights to a classifier: what is chosen, what is trained, what is told."""

import csv
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cnn_jax import cli, create_model, finetuning, load_data, load_weights, save_weights, transfer
from cnn_jax.data.inspection import inspect_data
from cnn_jax.errors import InputError
from cnn_jax.finetune_command import STRATEGIES as OFFERED
from cnn_jax.finetuning import STRATEGIES, at_size, choose, finetuning_recipe, starting_point
from cnn_jax.models.heads import replace_head
from cnn_jax.predict import classifier_from_weights
from cnn_jax.recipe import check, describe
from cnn_jax.steps import normalize, to_float
from cnn_jax.weights.pretrained import Preprocessing
from tests.weights.random_weights import random_variables


def photographs(folder, *, counts=(30, 30), size=(40, 48), seed=0):
    """Folders of dark and bright photographs, in PNG."""
    rng = np.random.default_rng(seed)
    for name, count, level in zip(("bright", "dark", "other"), counts, (150, 0, 75), strict=False):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(level, level + 100, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights: a ResNet-20's, as drawn."""
    path = tmp_path_factory.mktemp("weights") / "resnet20.safetensors"
    model = create_model("resnet20_cifar")
    save_weights(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3))), path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_choices_follow_from_the_images(tmp_path, weights):
    start = starting_point(weights, "resnet20_cifar")
    assert start.any_size and start.preprocessing.size == (32, 32)
    few = choose(inspect_data(photographs(tmp_path / "few", counts=(30, 10))), start)
    # Of 40 a fifth is for testing, and of the rest a fifth for validation.
    assert few["batch_size"].reason == "3 steps an epoch" and few["batch_size"].value == 8
    assert few["epochs"].value == 12 and few["validation"].value == 0.2
    assert few["balance"].value and "3.0 times the images of the smallest" in few["balance"].reason
    assert few["statistics"].value == "none" and "39 steps are too few" in few["statistics"].reason
    assert few["strategy"].value == "fine_tuning"
    assert (few["image_size"].value, few["image_size"].reason) == (
        32, "what the weights of resnet20_cifar were trained with",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("images", "accelerated", "expected"),
    [
        (200_000, True, {"strategy": "fine_tuning", "epochs": 4, "batch_size": 64}),
        (200_000, False, {"strategy": "feature_extraction", "statistics": "trained"}),
        (5_000, False, {"strategy": "fine_tuning", "epochs": 6, "validation": 0.1}),
    ],
)
def test_choices_follow_from_their_number(images, accelerated, expected, weights):
    found = SimpleNamespace(
        counts={"train": np.array([images // 2, images // 2])},
        imbalance=1.0,
        sizes={(20, 90): 3, (500, 400): 2},
    )
    start = starting_point(weights, "resnet20_cifar")
    large = replace(start, preprocessing=replace(start.preprocessing, size=(224, 224)))
    chosen = choose(found, large, accelerated=accelerated)
    assert {name: chosen[name].value for name in expected} == expected
    # Four times 20 pixels, in steps of 32; unless the network takes but one size.
    assert chosen["image_size"].value == 96
    assert choose(found, replace(large, any_size=False))["image_size"].value == 224


def test_photographs_that_are_all_broken_are_told(tmp_path, weights):
    for name in ("bright", "dark"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(b"no image")
    words = r"`data` \(=.*\) has no training image that can be used: `cnn-jax data` says why"
    with pytest.raises(InputError, match=words):
        choose(inspect_data(tmp_path), starting_point(weights, "resnet20_cifar"))


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """A transformer for images of 96, with a position embedding of 3x3; its variables; a file."""
    path = tmp_path_factory.mktemp("transformer") / "vit.safetensors"
    model = create_model("vit_tiny_patch32", image_size=96, num_classes=3)
    variables = random_variables(model)
    save_weights(variables, path)
    return model, variables, path


@pytest.mark.parametrize("source", ["file", "run"])
def test_a_transformer_takes_other_sizes_and_keeps_its_position_embedding(
    source, transformer, monkeypatch
):
    model, variables, path = transformer
    if source == "run":
        prepared = Preprocessing((96, 96))
        run = SimpleNamespace(model=model, variables=variables, preprocessing=prepared)
        monkeypatch.setattr("cnn_jax.trained.load_run", lambda _: run)
        start = starting_point(path.parent)
    else:
        start = starting_point(path, "vit_tiny_patch32")
    # That of the weights is the better one, if none is asked for.
    assert start.preprocessing.size == (96, 96) and not start.any_size
    found = SimpleNamespace(counts={"train": np.array([9, 9])}, imbalance=1.0, sizes={(9, 9): 18})
    assert choose(found, start)["image_size"] == finetuning.Choice(
        96, f"what the weights of {start.name} are built for"
    )
    made, started = start.network(2, (128, 128), jax.random.key(0))
    there, here = (tree["params"]["pos_embed"] for tree in (variables, started))
    np.testing.assert_array_equal(here, there)
    images = np.zeros((1, 128, 128, 3), np.float32)
    assert jax.eval_shape(made.apply, started, images).shape == (1, 2)


def test_predictions_of_a_transformer_are_at_the_size_of_its_weights(transformer):
    model, _, path = transformer
    classifier = classifier_from_weights("vit_tiny_patch32", path, class_names=["a", "b", "c"])
    assert classifier.preprocessing.size == (96, 96) and classifier.model == model
    with pytest.raises(InputError, match=r"leave its `image_size` \(=128\) as the weights have it"):
        load_weights(model.clone(image_size=128), path)
    images = np.zeros((1, 96, 96, 3), np.float32)
    assert jax.eval_shape(model.apply, classifier.variables, images).shape == (1, 3)


def test_a_run_whose_dense_layers_are_for_one_size_takes_no_other(monkeypatch, tmp_path):
    model = create_model("lenet5", num_classes=3)
    prepared = Preprocessing((28, 28), mean=(0.5,), std=(0.5,))
    run = SimpleNamespace(model=model, variables=random_variables(model), preprocessing=prepared)
    monkeypatch.setattr("cnn_jax.trained.load_run", lambda _: run)
    start = starting_point(tmp_path)
    with pytest.raises(InputError, match=r"fc1/kernel of shape \(400, 120\), and the model needs"):
        start.network(2, (32, 32), jax.random.key(0))
    # Whose fields say another size than that of its images is taken as it is.
    unsaid, _ = replace_head(
        model.clone(image_size=32), run.variables, jax.random.key(0), num_classes=2
    )
    assert unsaid.num_classes == 2


def test_what_is_known_of_a_file_goes_first(weights, tmp_path):
    grey = {"mean": (0.5,), "std": (0.25,)}
    start = starting_point(weights, "resnet20_cifar", preprocessing=grey)
    assert start.preprocessing == Preprocessing((32, 32), 1.0, **grey)
    model, variables = start.network(2, (32, 32), jax.random.key(0))
    assert variables["params"]["conv1"]["kernel"].shape == (3, 3, 1, 16) and model.in_channels == 1
    with pytest.raises(InputError, match=r"`mean` \(=\(0.5,\)\) goes with a file: efficientnet_li"):
        starting_point("efficientnet_lite0", preprocessing=grey)
    with pytest.raises(
        InputError, match=r"`bn_epsilon` \(=1\) goes with a file: .* says it itself"
    ):
        starting_point(tmp_path, bn_epsilon=1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_recipe_of_a_strategy(strategy, tmp_path, weights):
    start = starting_point(weights, "resnet20_cifar")
    data = load_data(photographs(tmp_path / "data"), preprocessing=at_size(start, 32))
    recipe = finetuning_recipe(data, start, strategy=strategy, epochs=4, statistics="none")
    check(recipe)
    assert recipe.epochs == sum(stage.epochs for stage in recipe.stages) == 4
    assert {stage.statistics for stage in recipe.stages} == {"none"}
    expected = {
        "fine_tuning": ["feature extraction", "fine-tuning"],
        "feature_extraction": ["feature extraction"],
        "layer_wise_decay": ["layer-wise decay"],
        "gradual_unfreezing": [
            "head", "head to layer3", "head to layer2", "head to layer1",
        ],
    }[strategy]  # fmt: skip
    assert [stage.name for stage in recipe.stages] == expected
    assert isinstance(recipe.stages[0], transfer.Stage)
    # All but the head is the file's, the head begins at zero, and its loss at chance.
    there = load_weights(create_model("resnet20_cifar"), weights)
    mine, theirs = (tree["params"]["layer3_2"] for tree in (recipe.initial, there))
    jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    assert not np.any(recipe.initial["params"]["linear"]["kernel"])
    assert recipe.normalization.mean == start.preprocessing.mean
    # Made anew for a resumption, it is the same recipe.
    again = finetuning_recipe(data, start, strategy=strategy, epochs=4, statistics="none")
    assert describe(again) == describe(recipe)


@pytest.mark.parametrize(("epochs", "expected"), [(3, [1, 1, 1]), (12, [2, 2, 2, 3, 3])])
def test_gradual_unfreezing_takes_all_the_epochs(epochs, expected, tmp_path, weights):
    start = starting_point(weights, "resnet20_cifar")
    data = load_data(photographs(tmp_path / "data"), preprocessing=at_size(start, 32))
    recipe = finetuning_recipe(data, start, strategy="gradual_unfreezing", epochs=epochs)
    assert [stage.epochs for stage in recipe.stages] == expected
    assert recipe.epochs == epochs


def test_rare_classes_weigh_more(tmp_path, weights):
    start = starting_point(weights, "resnet20_cifar")
    folder = photographs(tmp_path / "data", counts=(40, 20))
    data = load_data(folder, preprocessing=at_size(start, 32), validation=0)
    recipe = finetuning_recipe(data, start, balance=True, early_stopping=0)
    assert recipe.stopping.keywords["patience"] == 0  # for `check` to refuse, and not for none
    losses = recipe.loss(np.zeros((2, 2), np.float32), np.array([0, 1]))
    bright, dark = np.bincount(data.train.labels)
    assert bright / dark > 1.9
    assert losses[1] / losses[0] == pytest.approx(bright / dark)
    assert recipe.monitor == "train_loss"


def test_from_a_folder_to_a_prediction_elsewhere(tmp_path, weights):
    """The command, the plan, the run directory in another place, the photographs gone."""
    folder, run = photographs(tmp_path / "data"), tmp_path / "run"
    source = ["--data", str(folder), "--weights", str(weights), "--model", "resnet20_cifar"]
    source += ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    options = ["--epochs", "4", "--batch-size", "8", "--learning-rate", "0.1"]
    done = CliRunner().invoke(cli.cnn_jax, ["finetune", *source, *options, "--workdir", str(run)])
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert re.search(r"--epochs +│ 4 +│ as you say", done.output)
    assert re.search(r"--flip +│ yes +│ a photograph is one mirrored", done.output)
    prepared = "32x32, crop 1, bicubic, mean 0.5, 0.5, 0.5, std 0.25, 0.25, 0.25"
    assert f"images: {prepared}\n" in done.output
    assert f"cnn-jax predict {run} PHOTOGRAPH..." in done.output
    rows = list(csv.DictReader((run / "stages.csv").read_text().splitlines()))
    assert next(row["stage"] for row in rows if row["stage"]) == "feature extraction"
    result = json.loads((run / "result.json").read_text())
    assert result["test_accuracy"] == 1.0  # bright and dark

    photograph = tmp_path / "photograph.png"
    shutil.copy(folder / "bright" / "000.png", photograph)
    shutil.rmtree(folder)
    run.rename(tmp_path / "elsewhere")
    told = CliRunner().invoke(
        cli.cnn_jax, ["predict", str(tmp_path / "elsewhere"), str(photograph), "--json"]
    )
    (found,) = json.loads(told.output)
    best = found["classes"][0]
    assert best["name"] == "bright"

    from cnn_jax.predict import classifier_of_run

    classifier = classifier_of_run(tmp_path / "elsewhere")
    assert str(classifier.preprocessing) == prepared
    with Image.open(photograph) as opened:
        pixels = np.asarray(opened.resize((38, 32), Image.Resampling.BICUBIC))
    image = normalize(
        to_float(pixels[None, :, 3:35]),
        mean=classifier.preprocessing.mean,
        std=classifier.preprocessing.std,
    )
    logits = classifier.model.apply(classifier.variables, image)
    assert best["probability"] == pytest.approx(float(jax.nn.softmax(logits)[0, 0]), abs=0.05)

    # The run is a start for other photographs.
    start = starting_point(tmp_path / "elsewhere")
    assert start.preprocessing == classifier.preprocessing
    others = photographs(tmp_path / "others", counts=(9, 9, 9), size=(32, 32))
    recipe = finetuning_recipe(
        load_data(others, preprocessing=at_size(start, 32)), start, hidden=16, batch_size=4
    )
    check(recipe)
    there, here = classifier.variables["params"], recipe.initial["params"]
    jax.tree.map(np.testing.assert_array_equal, here["layer1_0"], there["layer1_0"])


def test_probe_tells_what_the_features_are_worth(tmp_path, weights):
    folder = photographs(tmp_path / "data")
    source = ["--data", str(folder), "--weights", str(weights), "--model", "resnet20_cifar"]
    done = CliRunner().invoke(cli.cnn_jax, ["probe", *source, "--neighbours", "3"])
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert "images: 32x32, crop 1, bicubic, mean 0.485, 0.456, 0.406, std " in done.output
    assert re.search(r"3 nearest neighbours +│ +100.00 % +│ +100.00 %", done.output)
    assert re.search(r"linear probe +│ +100.00 % +│ +100.00 %", done.output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("efficientnet_lite",), r"`weights` \(=efficientnet_lite\) is no file, no run directory "),
        (("hf:timm/x",), "`weights` .=hf:timm/x. are of a model that must be named: --model NAME"),
        (
            ("efficientnet_lite0", "resnet18"),
            r"`model` \(=resnet18\) goes with a file: efficientnet_lite0 says itself what it is",
        ),
    ],
)
def test_what_there_is_to_begin_with_must_be_said(arguments, words):
    with pytest.raises(InputError, match=words):
        starting_point(*arguments)


def test_bad_input_is_told_in_a_sentence(tmp_path, weights):
    start = starting_point(weights, "resnet20_cifar")
    folder = photographs(tmp_path / "data", counts=(20, 20, 1))
    single = load_data(folder, preprocessing=at_size(start, 32))
    with pytest.raises(InputError, match="class other of data has one image only, which cannot be"):
        finetuning_recipe(single, start)
    shutil.rmtree(folder / "other")
    data = load_data(folder, preprocessing=at_size(start, 32))
    with pytest.raises(InputError, match=r"`strategy` \(='finetuning'\) is unknown: .*fine_tuning"):
        finetuning_recipe(data, start, strategy="finetuning")
    wrong = starting_point(weights, "resnet32_cifar")
    with pytest.raises(InputError, match=r"does not fit CifarResNet \(60 missing: `layer1.3"):
        finetuning_recipe(data, wrong)


def test_the_command_offers_what_there_is():
    assert OFFERED == STRATEGIES == finetuning.STRATEGIES
