"""The README: its Python runs, its commands parse, its files are there."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import cnn_jax
from cnn_jax import cli
from cnn_jax.export import export_classifier
from cnn_jax.predict import Classifier
from cnn_jax.recipe import check
from cnn_jax.weights.pretrained import Preprocessing
from tests.conftest import ROOT
from tests.test_finetuning import photographs

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_recipe_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (program,) = [block for block in blocks("python") if "Recipe(" in block]
    exec(program, {})
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0.8


def test_the_other_programs_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = cnn_jax.create_model("resnet18")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    cnn_jax.save_weights(zeros, "resnet18.safetensors")
    others = [
        block for block in blocks("python") if not re.search(r"Recipe\(|starting_point", block)
    ]
    digits = Classifier(
        cnn_jax.create_model("mlp", num_classes=10, widths=()),
        {"params": {"fc1": {"kernel": jnp.zeros((64, 10)), "bias": jnp.zeros(10)}}},
        Preprocessing(size=(8, 8), mean=(0.5,), std=(0.5,)),
        tuple("0123456789"),
    )
    export_classifier(digits, "digits.zip")
    scans = np.zeros((3, 8, 8, 1), np.uint8)
    for program in others:
        scope = {"images": jnp.zeros((1, 32, 32, 3)), "scans": scans}
        exec(program, scope)
        if "export" in program:
            assert (scope["logits"].shape, scope["logits"].dtype) == ((3, 10), jnp.float32)
    assert Path("mine.safetensors").read_bytes() == Path("resnet18.safetensors").read_bytes()
    assert len(others) == 6


def test_the_stages_of_a_fine_tuning_can_be_run(tmp_path, monkeypatch):
    """All but the training, which others test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    photographs(tmp_path / "photographs")
    model = cnn_jax.create_model("resnet18")
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    cnn_jax.save_weights(zeros, "resnet18.safetensors")
    (program,) = [block for block in blocks("python") if "starting_point" in block]
    ran = []

    def run(recipe, workdir):
        check(recipe)
        ran.append(recipe)
        return SimpleNamespace(test_accuracy=1.0)

    monkeypatch.setattr(cnn_jax, "run", run)
    exec(program, {})
    (recipe,) = ran
    assert recipe.epochs == 10
    assert recipe.data.image_shape == (96, 96, 3)


def test_the_nested_settings_make_a_recipe(dataset):
    (program,) = [block for block in blocks("python") if "settings = {" in block]
    scope: dict = {}
    exec(program, scope)
    model = cnn_jax.create_model("simple_cnn", num_classes=3)
    check(cnn_jax.Recipe(model=model, data=dataset, batch_size=16, **scope["settings"]))


COMMANDS = [
    line.partition("&&")[2].strip() if "&&" in line else line
    for block in blocks("sh")
    for line in (line.partition("  #")[0].strip() for line in block.splitlines())
    if re.search(r"(^|&& )cnn-jax ", line)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_parse(command):
    name, *arguments = shlex.split(command)[1:]
    cli.cnn_jax.commands[name].make_context(name, arguments)


def test_there_are_commands_to_parse():
    assert len(COMMANDS) > 8


def test_what_it_points_to_is_there():
    """Pictures, tables and sections linked, and experiments named."""
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"## (.+)", README)}
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings
    named = re.findall(r"experiments/\w+\.(?:py|md)|cnn_jax/\w+/\w+\.py", README)
    assert linked
    for path in {*linked, *named}:
        assert (ROOT / path).exists(), path


def test_figures_are_those_of_the_experiments():
    """Each row of the table of results quotes its experiment's docstring."""
    rows = re.findall(r"^\| (.+) \| (.+) \| `python (experiments/\S+\.py)", README, re.MULTILINE)
    assert len(rows) >= 5
    for _, result, script in rows:
        docstring = (ROOT / script).read_text().partition('"""')[2].partition('"""')[0]
        figures = re.findall(r"\d+\.\d+(?: %|e-\d)", result)
        for figure in figures:
            assert figure in docstring, (script, figure)
