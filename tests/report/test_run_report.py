"""Reports of runs: what a page says is what the files say, and it needs nothing else."""

import base64
import csv
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import data, models, optim, run
from cnn_jax.conclusion import final_figures
from cnn_jax.errors import InputError
from cnn_jax.evaluate import Evaluation
from cnn_jax.recipe import Recipe
from cnn_jax.report import charts, write_comparison, write_report
from cnn_jax.report.read_run import report_on_run
from cnn_jax.report.run_report import flat_recipe
from cnn_jax.trained import load_run
from tests.conftest import scans

MAX_BYTES = 5_000_000
KEYS = (
    "accuracy", "balanced_accuracy", "log_loss", "macro_roc_auc", "macro_average_precision",
    "expected_calibration_error",
)  # fmt: skip


class Page(HTMLParser):
    """What is on a page: its figures by name, its images, its text, and what it refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.figures, self.images, self.references, self.words = {}, [], [], []
        self._figure = None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.references += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag == "data":
            self._figure = attributes["id"]
            self.figures[self._figure] = [attributes["value"]]

    def handle_data(self, text):
        self.words.append(text)
        if self._figure:
            self.figures[self._figure].append(text)

    def handle_endtag(self, tag):
        if tag == "data":
            self._figure = None

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(workdir) -> Page:
    return Page((workdir / "report.html").read_text())


def forgetful(total_steps):
    """Climb the loss at the end, so that the last epoch is not the best one."""
    return lambda step: jnp.where(step < 2 * total_steps // 3, 0.03, -0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose data can be loaded again, of classes with names that HTML would take for tags."""
    folder = tmp_path_factory.mktemp("report")
    arrays = dict(zip(("x_train", "y_train"), scans(100), strict=True))
    arrays |= dict(zip(("x_test", "y_test"), scans(37, seed=1), strict=True))
    np.savez(folder / "scans.npz", **arrays)
    names = ("<b>one</b>", "two & more", "three")
    dataset = data.load(folder / "scans.npz", class_names=names)
    recipe = Recipe(
        model=models.create_model("simple_cnn", num_classes=3, in_channels=1, image_size=8),
        data=dataset,
        optimizer=partial(optim.sgd, momentum=0.9),
        schedule=forgetful,
        epochs=3,
        batch_size=16,
    )
    return run(recipe, folder / "run", quiet=True)


def test_the_page_says_what_the_files_say(finished):
    page = page_of(finished.workdir)
    result = json.loads((finished.workdir / "result.json").read_text())
    for key in KEYS:
        assert float(page.figures[key][0]) == result["assessment"][key]
    value, shown = page.figures["accuracy"]
    assert shown == f"{100 * result['test_accuracy']:.2f} %"
    assert float(value) == result["test_correct"] / result["test_images"]
    assert int(page.figures["parameters"][0]) == result["cost"]["parameters"] > 0
    # The CSV of predictions counts the same.
    with (finished.workdir / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["test_images"] == 37
    assert sum(int(row["right"]) for row in rows) == result["test_correct"]
    assert [row["true"] == row["predicted"] for row in rows] == [
        row["right"] == "1" for row in rows
    ]
    matrix = np.array(result["assessment"]["confusion_matrix"])
    for row in rows:
        at = [finished.outcome.data.class_names.index(row[name]) for name in ("true", "predicted")]
        matrix[tuple(at)] -= 1
    assert not matrix.any()


def test_the_page_needs_nothing_else_and_says_what_its_images_show(finished):
    path = finished.workdir / "report.html"
    assert path.stat().st_size < MAX_BYTES
    page = page_of(finished.workdir)
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert all(image.get("alt", "").strip() for image in page.images)
    # Three curves, two diagrams, the filters, and each shown test image with its map.
    wrong = min(12, 37 - finished.test.tally.correct)
    assert len(page.images) == 3 + 2 + 1 + 2 * (12 + wrong)


def test_names_of_classes_are_text_and_not_markup(finished):
    page = page_of(finished.workdir)
    assert "<b>one</b>" in page.text
    assert "<b>" not in (finished.workdir / "report.html").read_text()


def test_the_page_tells_the_recipe_and_how_to_make_it_again(finished):
    page = page_of(finished.workdir)
    description = json.loads((finished.workdir / "recipe.json").read_text())
    for name, value in flat_recipe(description["recipe"]):
        assert f"{name} {value}" in page.text
    (sitting,) = json.loads((finished.workdir / "sittings.json").read_text())
    assert sitting["command"] in page.text and sitting["packages"]["jax"] in page.text
    assert f"cnn-jax predict {finished.workdir} IMAGE" in page.text


@pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_an_error_and_without_a_request(finished, tmp_path, width):
    path, log = finished.workdir / "report.html", tmp_path / "net.json"
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900",
            f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr",
            f"--log-net-log={log}", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    page = Page(done.stdout)
    result = json.loads((finished.workdir / "result.json").read_text())
    assert float(page.figures["accuracy"][0]) == result["test_accuracy"]
    asked = set(re.findall(r'"url":"([^"]+)"', log.read_text()))
    ours = {url for url in asked if url.startswith("file:")}
    assert ours <= {path.as_uri()}
    assert not any(str(finished.workdir) in url for url in asked - ours)


def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished.workdir, tmp_path / "copy"))


def test_a_report_is_written_anew_from_the_directory(finished, tmp_path):
    workdir = copied(finished, tmp_path).rename(tmp_path / "my copy")
    before = page_of(workdir)
    (workdir / "report.html").unlink()
    assert report_on_run(workdir) == workdir / "report.html"
    after = page_of(workdir)
    assert f"cnn-jax evaluate '{workdir}'" in after.text
    assert after.figures == before.figures
    assert after.images == before.images


def test_an_unfinished_run_is_reported_and_said_to_be_one(finished, tmp_path):
    workdir = copied(finished, tmp_path)
    (workdir / "result.json").unlink()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    (workdir / "metrics.jsonl").write_text("\n".join(lines[:1]) + '\n{"torn')
    report_on_run(workdir)
    page = page_of(workdir)
    assert "This run has not come to its end: 1 of 3 epochs are done." in page.text
    assert float(page.figures["accuracy"][0]) == finished.test_accuracy


def test_a_run_without_a_checkpoint_is_reported_without_images(finished, tmp_path):
    workdir = copied(finished, tmp_path)
    (workdir / "result.json").unlink()
    (workdir / "metrics.jsonl").unlink()
    shutil.rmtree(workdir / "checkpoints")
    report_on_run(workdir)
    page = page_of(workdir)
    assert "none of 3 epochs is" in page.text
    assert "holds no checkpoint yet: continue the run (--resume)" in page.text
    assert not page.images and not page.figures


def test_a_run_that_lost_its_best_checkpoint_says_so(finished, tmp_path):
    workdir = copied(finished, tmp_path)
    best = json.loads((workdir / "result.json").read_text())["step"]
    shutil.rmtree(workdir / "checkpoints" / f"{best}")
    with pytest.raises(InputError, match=rf"has lost its best checkpoint, of step {best}: put it"):
        load_run(workdir)


def test_figures_stay_where_the_images_are_gone_or_others(finished, tmp_path):
    workdir = copied(finished, tmp_path)
    description = json.loads((workdir / "recipe.json").read_text())
    gone = tmp_path / "scans.npz"
    description["data"]["name"] = str(gone)
    (workdir / "recipe.json").write_text(json.dumps(description))
    report_on_run(workdir)
    page = page_of(workdir)
    assert "Images are left out" in page.text and len(page.images) == 3 + 2
    assert float(page.figures["accuracy"][0]) == finished.test_accuracy
    others = {"x_train": scans(100)[0], "y_train": scans(100)[1]}
    np.savez(gone, **others, x_test=scans(30, seed=2)[0], y_test=scans(30, seed=2)[1])
    report_on_run(workdir)
    assert "the 30 test images of" in page_of(workdir).text
    with pytest.raises(InputError, match="are not the 37 that this run was measured on"):
        report_on_run(workdir, data=str(gone))


def test_a_network_without_stages_is_shown_without_maps(recipe, tmp_path):
    result = run(replace(recipe, data=replace(recipe.data, validation=None)), tmp_path, quiet=True)
    page = page_of(result.workdir)
    assert "Without maps" in page.text and "Without validation images no temp" in page.text
    assert "the last one" in page.text


def test_answers_that_are_not_finite_are_said_to_be_so(finished, tmp_path):
    outcome = finished.outcome
    logits = outcome.test.logits.copy()
    logits[3, 1] = np.inf
    outcome = replace(outcome, test=Evaluation(outcome.test.tally, logits))
    figures = final_figures(outcome)
    assert figures["assessment"] is None and figures["test_correct"] == outcome.test.tally.correct
    workdir = copied(finished, tmp_path)
    write_report(workdir, figures=figures)
    assert "An answer of the network is not finite" in page_of(workdir).text


def test_many_classes_are_drawn_without_their_names(tmp_path):
    matrix = np.arange(40**2).reshape(40, 40)
    names = [f"class {k}" for k in range(40)]
    drawn = base64.b64decode(charts.confusion(matrix, names).partition(",")[2]).decode()
    assert "class 7" not in drawn and "<image" in drawn
    few = base64.b64decode(charts.confusion(matrix[:5, :5], names[:5]).partition(",")[2]).decode()
    assert "class 4" in few and "<image" not in few
    assert "#000000" not in few and "prefers-color-scheme" in few


def test_what_is_no_run_is_refused_and_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a run directory"):
        report_on_run(tmp_path)
    with pytest.raises(InputError, match="is not a run directory"):
        write_report(tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_runs_are_compared_by_what_their_files_say(finished, recipe, tmp_path):
    other = copied(finished, tmp_path)
    result = json.loads((other / "result.json").read_text())
    rows = (other / "predictions.csv").read_text().splitlines()
    right = [number for number, row in enumerate(rows[1:]) if row.split(",")[-2] == "1"]
    for number in right[:3]:  # three images that the other takes for something else
        cells = rows[number + 1].rsplit(",", 2)
        rows[number + 1] = f"{cells[0]},0,{cells[2]}"
    (other / "predictions.csv").write_text("\n".join(rows) + "\n")
    result["test_accuracy"] -= 3 / 37
    (other / "result.json").write_text(json.dumps(result))
    unfinished = run(recipe, tmp_path / "other data", quiet=True).workdir
    (unfinished / "result.json").unlink()
    page = Page(
        write_comparison([finished.workdir, other, unfinished], tmp_path / "page.html").read_text()
    )
    assert float(page.figures["accuracy-0"][0]) == finished.test_accuracy
    assert float(page.figures["accuracy-1"][0]) == result["test_accuracy"]
    assert page.figures["accuracy-2"] == ["", "–"]
    # Three to none: 2 of 8 throws of three coins fall as unevenly.
    assert "3 only right there, 0 only here: p = 0.25" in page.text
    assert "unfinished" in page.text and "the best" in page.text
    assert all(image["alt"] for image in page.images)
    assert "epochs 3 3 2" in page.text
    assert "log_every" in page.text and "eval_batch_size" in page.text
    assert "precision float32" not in page.text  # what is the same in all


@pytest.mark.parametrize(
    ("names", "out", "words"),
    [
        (["run"], "page.html", "`runs` are 1: name two or more"),
        (["run", "run/."], "page.html", "twice: name each run once"),
        (["run", "nothing"], "page.html", "nothing is not a run directory"),
        (["run", "copy"], "page.txt", r"`out` \(=.*page.txt\) must end in .html"),
        (["run", "copy"], "gone/page.html", "lies in no folder that exists"),
        (["run", "copy"], "mine.html", "is a file of something else: choose another name"),
    ],
)
def test_comparisons_that_cannot_be_made_are_told(finished, tmp_path, names, out, words):
    for name in ("run", "copy"):
        shutil.copytree(finished.workdir, tmp_path / name)
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(InputError, match=words):
        write_comparison([f"{tmp_path}/{name}" for name in names], tmp_path / out)
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert not (tmp_path / "page.html").exists()
