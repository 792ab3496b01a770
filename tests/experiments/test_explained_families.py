"""Grad-CAM of every family, shrunk: one narrow network, two steps, and the picture."""

import numpy as np
import pytest

from cnn_jax import create_model, explain, models
from experiments import explain_every_family as experiment
from tests.experiments.test_transfer_experiments import classifier  # noqa: F401
from tests.models.test_every_model import KINDS


def test_objects_lie_in_their_boxes():
    """The same picture, with objects that are black: what differs lies in the boxes."""
    objects, grounds = experiment.objects_and_grounds()
    made = experiment.planted(0, 20, objects, grounds)
    black = [image.point(lambda value: 0) for image in objects]
    other = experiment.planted(0, 20, black, grounds)
    assert made.images.shape == (20, 48, 48, 3) and set(made.labels) == set(range(4))
    differ = (made.images != other.images).any(-1)
    assert not (differ & ~made.boxes).any()
    ovals = differ.sum((1, 2)) / made.boxes.sum((1, 2))
    assert (ovals < 0.9).all() and np.mean(ovals) > 0.7  # a circle is 79 % of its square
    again = experiment.planted(0, 20, objects, grounds)
    np.testing.assert_array_equal(again.images, made.images)


def test_what_lies_in_boxes_is_counted():
    maps = np.zeros((3, 4, 4))
    boxes = np.zeros((3, 4, 4), bool)
    boxes[:, :2, :2] = True
    maps[0, 0, 0], maps[0, 3, 3] = 3, 1
    maps[1, 0, 1], maps[1, 2, 2] = 1, 4
    # The third is a map of nothing.
    inside, pointing = experiment.located(maps, boxes)
    assert inside == pytest.approx((3 / 4 + 1 / 5 + 0) / 3)
    assert pointing == pytest.approx(1 / 3)


def test_every_family_with_maps_is_there():
    tried = {type(create_model(name)) for name in experiment.NETWORKS}
    without_maps = {type(create_model(name)) for name in ("mlp", "cnn1d")}
    assert tried == {type(create_model(name)) for name in KINDS} - without_maps
    for name, options in experiment.NETWORKS.items():
        assert name in models.VARIANTS
        create_model(name, num_classes=4, **options)


def test_a_network_is_trained_explained_kept_and_drawn(classifier, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(experiment, "pretrained_classifier", lambda name: classifier)
    # Of the methods only the first: each is a program of its own.
    monkeypatch.setattr("experiments.explain_photographs.METHODS", {"Grad-CAM": explain.grad_cam})
    monkeypatch.setattr(experiment, "STEPS", 2)
    monkeypatch.setattr(experiment, "TESTED", 8)
    monkeypatch.setitem(experiment.NETWORKS, "simple_cnn", {"widths": (4, 4), "hidden": 8})
    first = experiment.of_family("simple_cnn", tmp_path)
    assert first[0].stage == "conv2" and first[0].steps == 2
    assert first[1].shape == (8, 48, 48)
    again = experiment.of_family("simple_cnn", tmp_path)
    assert again[0] == first[0]
    np.testing.assert_array_equal(again[1], first[1])
    experiment.draw({"simple_cnn": first}, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
