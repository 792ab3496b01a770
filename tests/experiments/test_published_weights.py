"""Published weights give what they give in PyTorch, and what is in the pictures."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.predict import pretrained_classifier, rank

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "experiments"
DATA = ROOT.parent / "shared" / "data" / "cifar10-jpeg.zip"
WEIGHTS = ROOT.parent / "shared" / "weights" / "resnet20-12fca82f.th"

SEEN = {
    "china.jpg": "palace",
    "camera.png": "tripod",
    "chelsea.png": "tiger cat",
    "coffee.png": "espresso",
    "motorcycle_left.png": "moped",
    "rocket.jpg": "missile",
}


def test_efficientnet_lite0_names_what_is_in_photographs():
    pytest.importorskip("skimage", reason="scikit-image, whose photographs are shown")
    experiment = runpy.run_path(str(EXPERIMENTS / "pretrained_predictions.py"))
    classifier = pretrained_classifier(experiment["MODEL"])
    ours, theirs = experiment["compare"](classifier)
    assert np.abs(ours - theirs).max() < 1e-3
    named = {
        path.name: rank(logits, classifier.class_names, top_k=1)[0].name
        for path, logits in zip(experiment["photographs"](), ours, strict=True)
    }
    assert {name: named[name] for name in SEEN} == SEEN


@pytest.mark.skipif(
    not (DATA.is_file() and WEIGHTS.is_file()),
    reason=f"{DATA.name} and {WEIGHTS.name} are not beside the project, in ../shared",
)
def test_resnet20_on_cifar10():
    """A twentieth of the test images; the experiment's docstring has the figure of all."""
    experiment = runpy.run_path(str(EXPERIMENTS / "cifar10_resnet20_weights.py"))
    images, labels = experiment["read_test_images"](DATA, every=20)
    assert images.shape == (500, 32, 32, 3)
    ours = experiment["our_logits"](images, WEIGHTS)
    theirs = experiment["pytorch_logits"](images, WEIGHTS)
    assert np.abs(ours - theirs).max() < 1e-3
    assert np.sum(ours.argmax(1) != theirs.argmax(1)) == 0
    assert np.mean(ours.argmax(1) == labels) == pytest.approx(0.81, abs=0.05)
