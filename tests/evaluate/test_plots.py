"""The pictures of a run: what is on them, read from the figure itself."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from cnn_jax import data
from cnn_jax.evaluate import Evaluation, plots
from cnn_jax.metrics import Tally, confusion_matrix, per_class
from tests.conftest import scans

NAMES = ("low", "middle", "high")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in order."""
    saved, save = [], Figure.savefig

    def savefig(figure, *args, **options):
        save(figure, *args, **options)
        saved.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def evaluated(predictions, labels, *, size=8):
    images, _ = scans(len(labels), size=size)
    source = data.array_source(images, np.asarray(labels), name="scans")
    predictions = np.asarray(predictions, np.int32)
    confidences = np.linspace(0.9, 0.5, len(labels)).astype(np.float32)
    chances = np.repeat((1 - confidences[:, None]) / 9, 10, axis=1)
    chances[np.arange(len(labels)), predictions] = confidences
    correct = int((predictions == source.labels).sum())
    return source, Evaluation(Tally(1.0, correct, len(labels)), np.log(chances))


def test_curves_hold_the_records(figures, tmp_path):
    records = [
        {"epoch": k, "train_loss": 1 / k, "train_accuracy": k / 10, "validation_loss": 2 / k,
         "validation_accuracy": k / 20}
        for k in (1, 2, 3)
    ]  # fmt: skip
    plots.learning_curves(records, tmp_path / "curves.png")
    loss, accuracy = figures[0].axes
    assert [line.get_label() for line in loss.lines] == ["train", "validation"]
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [5, 10, 15])
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1, 1 / 2, 1 / 3])
    # Of whatever loss the recipe has.
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss [nats]", "accuracy [%]")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"


def test_curves_of_figures_that_are_missing(figures, tmp_path):
    """Those that were not finite, of any epoch."""
    records = [
        {"epoch": 1, "train_accuracy": 0.1, "validation_loss": 3.0},
        {"epoch": 2, "train_loss": 1.0, "train_accuracy": 0.2},
        {"epoch": 3, "train_loss": 0.5, "train_accuracy": 0.3, "validation_loss": 2.0},
    ]
    plots.learning_curves(records, tmp_path / "curves.png")
    loss, accuracy = figures[0].axes
    drawn = [line.get_xydata().tolist() for line in loss.lines]
    assert drawn == [[[2, 1], [3, 0.5]], [[1, 3], [3, 2]]]
    assert [line.get_label() for line in accuracy.lines] == ["train"]
    plots.learning_curves([{"epoch": 1}], tmp_path / "none.png")


def test_curves_without_validation(figures, tmp_path):
    plots.learning_curves(
        [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5}], tmp_path / "curves.png"
    )
    assert [len(axes.lines) for axes in figures[0].axes] == [1, 1]
    assert figures[0].axes[0].lines[0].get_marker() == "o"  # a single point would not show


def test_the_matrix_is_labelled_the_right_way_round(figures, tmp_path):
    matrix = confusion_matrix(np.array([0, 0, 1, 2]), np.array([1, 0, 1, 2]), classes=3)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    plots.confusion(matrix, NAMES, tmp_path / "confusion.png")
    (axes,) = figures[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    counts = {text.get_position(): text.get_text() for text in axes.texts}
    assert counts == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "1"}


def test_the_gallery_sets_right_and_wrong_apart(figures, tmp_path):
    source, evaluation = evaluated([0, 1, 2, 0, 1, 1], [0, 1, 2, 0, 2, 0])
    plots.gallery(source, evaluation, NAMES, tmp_path / "gallery.png")
    shown = [text.get_text() for text in figures[0].axes[0].texts]
    assert shown == [
        "low (90 %)", "middle (82 %)", "high (74 %)", "low (66 %)",
        "middle (58 %)\nnot high", "middle (50 %)\nnot low",
    ]  # fmt: skip
    titles = [text.get_text() for text in figures[0].texts]
    assert titles == ["right: 4 of 6 test images", "wrong: 2 of 6 test images"]


def test_titles_in_the_gallery_do_not_touch(figures, tmp_path):
    """With the longest names of Fashion-MNIST, all of them wrong."""
    names = data.FASHION_MNIST_CLASSES
    labels = np.arange(60) % 10
    source, evaluation = evaluated((labels + 9) % 10, labels)
    plots.gallery(source, evaluation, names, tmp_path / "gallery.png")
    figure = figures[0]
    titles = figure.axes[0].texts
    assert len(titles) == 16
    boxes = [title.get_window_extent() for title in titles]
    for first, second in itertools.pairwise(boxes):
        assert first.x1 < second.x0 or first.y0 > second.y1
    for box in boxes:
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1


def test_the_gallery_shows_each_predicted_class_in_turn():
    """Of 20 images the 16 most confident are of class 0, yet the first four show all four."""
    labels = np.array([0] * 16 + [1, 2, 3, 3])
    _, evaluation = evaluated(labels, labels)
    chosen = plots.spread(np.arange(20), evaluation, count=6)
    assert chosen.tolist() == [0, 16, 17, 18, 1, 19]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_of_images_that_are_neither_grey_nor_rgb_the_first_channel_is_drawn(
    channels, figures, tmp_path
):
    """Matplotlib refuses two channels, and takes a fourth for transparency."""
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, channels), np.uint8)
    source = data.array_source(images, np.array([0, 1]), name="satellite")
    evaluation = Evaluation(Tally(1.0, 2, 2), np.eye(3, dtype=np.float32)[:2])
    plots.gallery(source, evaluation, NAMES, tmp_path / "gallery.png")
    plots.augmented(images, images[:, None] / np.float32(255), tmp_path / "augmented.png")
    expected = (images if channels == 3 else images[..., 0])[0]
    for figure in figures:
        first = next(axes.images[0] for axes in figure.axes if axes.images)
        np.testing.assert_array_equal(first.get_array(), expected)
        assert first.get_clim() == (0, 255)  # a dark image is drawn dark
    version = figures[1].axes[1].images[0].get_array()
    np.testing.assert_array_equal(version, expected)


def test_per_class_figures_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    low, middle, high = per_class(labels, predictions, class_names=NAMES)
    assert low == {"name": "low", "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "images": 3}
    assert middle["precision"] == pytest.approx(1 / 3)
    assert middle["recall"] == 0.5
    assert middle["f1"] == pytest.approx(0.4)
    assert high == {"name": "high", "precision": 0, "recall": 0, "f1": 0, "images": 1}
