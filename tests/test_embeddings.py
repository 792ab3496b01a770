"""Features computed once, and what classifies them."""

import functools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from cnn_jax import optim, schedules
from cnn_jax.data.source import ArraySource, Subset
from cnn_jax.embeddings import embeddings
from cnn_jax.errors import InputError
from cnn_jax.head_training import train_head
from cnn_jax.layers import Dense
from cnn_jax.linear_probe import linear_probe
from cnn_jax.losses import cross_entropy
from cnn_jax.models import create_model
from cnn_jax.models.heads import FeatureHead, embed, feature_head, get_head, put_head
from cnn_jax.models.hidden_head import HiddenHead
from cnn_jax.neighbours import nearest_neighbours
from cnn_jax.steps import normalize, to_float
from tests.conftest import scans

MODEL = create_model("mlp", num_classes=3, widths=(16,))
PREPROCESS = partial(normalize, mean=(0.25,), std=(0.5,))


class Counted(ArraySource):
    """Scans that note which of them were read."""

    @functools.cached_property
    def seen(self) -> list[int]:
        return []

    def read(self, indices):
        self.seen.extend(np.asarray(indices).tolist())
        return super().read(indices)


@pytest.fixture(scope="module")
def variables():
    return MODEL.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


def source_of(count: int = 10, *, seed: int = 0) -> Counted:
    images, labels = scans(count, seed=seed)
    return Counted(images, labels.astype(np.int32))


def test_each_image_once_and_in_order(variables):
    source = source_of()
    features = embeddings(MODEL, variables, source, preprocess=PREPROCESS, batch_size=4)
    expected = embed(MODEL, variables, PREPROCESS(to_float(jnp.asarray(source.images))))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert source.seen == [*range(10), 0, 0]  # the last batch is filled up
    turned = Subset(source, np.arange(10)[::-1])
    again = embeddings(MODEL, variables, turned, preprocess=PREPROCESS, batch_size=64)
    np.testing.assert_allclose(again, features[::-1], rtol=1e-5, atol=1e-6)


def test_what_is_kept_is_found_for_the_same_and_for_nothing_else(variables, tmp_path):
    keeping = partial(embeddings, keep=True, cache_dir=tmp_path / "cache", batch_size=16)
    source = source_of()
    features = keeping(MODEL, variables, source, preprocess=PREPROCESS)
    (path,) = (tmp_path / "cache").iterdir()
    assert path.suffix == ".npz"

    def computed(model=MODEL, variables=variables, source=source, preprocess=PREPROCESS) -> bool:
        source.seen.clear()
        keeping(model, variables, source, preprocess=preprocess)
        return bool(source.seen)

    assert not computed()
    assert not computed(preprocess=lambda images: (images - 0.25) / 0.5)  # does the same
    np.testing.assert_array_equal(
        keeping(MODEL, variables, source, preprocess=PREPROCESS), features
    )
    changed = jax.tree.map(lambda leaf: leaf + 1e-3, variables)
    others = {
        "weights": {"variables": changed},
        "images": {"source": source_of(seed=1)},
        "preprocessing": {"preprocess": partial(normalize, mean=(0.2,), std=(0.5,))},
        "network": {"model": MODEL.clone(dtype=jnp.bfloat16)},
    }
    for what, other in others.items():
        assert computed(**other), what
        assert not computed(**other), what

    for damaged in (path.read_bytes()[:-100], path.read_bytes().replace(b"\x3f", b"\x40"), b""):
        path.write_bytes(damaged)
        assert computed()
        assert not computed()
    np.testing.assert_array_equal(
        keeping(MODEL, variables, source, preprocess=PREPROCESS), features
    )
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_folder_that_cannot_be_written_costs_only_the_time(variables, tmp_path):
    (tmp_path / "file").touch()
    features = embeddings(
        MODEL, variables, source_of(), preprocess=PREPROCESS, keep=True, cache_dir=tmp_path / "file"
    )
    assert features.shape == (10, 16)


def test_a_probe_in_the_place_of_the_head(variables):
    source = source_of(30)
    features = embeddings(MODEL, variables, source, preprocess=PREPROCESS)
    probe = linear_probe(features, source.labels)
    network = put_head(MODEL, variables, probe.head, image_shape=source.image_shape)
    logits = MODEL.apply(network, PREPROCESS(to_float(jnp.asarray(source.images))))
    np.testing.assert_allclose(logits, probe(features), rtol=1e-4, atol=1e-4)
    assert np.mean(probe(features).argmax(1) == source.labels) > 0.9


def test_a_step_on_features_is_a_step_of_the_network_with_all_else_frozen(variables):
    source = source_of(12)
    inputs, labels = PREPROCESS(to_float(jnp.asarray(source.images))), jnp.asarray(source.labels)
    features = embeddings(MODEL, variables, source, preprocess=PREPROCESS)

    def mean_loss(head):
        network = put_head(MODEL, variables, head, image_shape=source.image_shape)
        return cross_entropy(MODEL.apply(network, inputs), labels).mean()

    params = get_head(MODEL, variables, image_shape=source.image_shape)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(mean_loss)(params))
    trained = train_head(
        feature_head(MODEL, image_shape=source.image_shape),
        params,
        features,
        labels,
        optimizer=optim.sgd,
        schedule=partial(schedules.constant, learning_rate=0.5),
        epochs=1,
    )
    chex.assert_trees_all_close(trained.params, expected, rtol=1e-4, atol=1e-6)


def test_a_hidden_head_learns_what_no_linear_one_can():
    """The exclusive or; the best epoch by the validation features is kept, and seeds repeat."""
    rng = np.random.default_rng(0)
    features = rng.choice([-1.0, 1.0], (200, 2)) + rng.normal(0, 0.2, (200, 2))
    labels = (features[:, 0] > 0) ^ (features[:, 1] > 0)
    features, labels = np.split(features, 2), np.split(labels.astype(np.int32), 2)
    head = FeatureHead(HiddenHead(2, hidden=16, drop_rate=0.1))
    params = head.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    train = partial(train_head, head, params, features[0], labels[0], batch_size=32)
    train = partial(train, schedule=partial(schedules.constant, learning_rate=0.05))
    validated = train(validation=(features[1], labels[1]), epochs=12)
    assert validated.accuracy > 0.95
    assert 1 <= validated.epoch <= 12
    again = train(epochs=validated.epoch)
    chex.assert_trees_all_equal(again.params, validated.params)
    assert (again.epoch, again.accuracy) == (validated.epoch, None)
    probe = linear_probe(features[0], labels[0])
    assert np.mean(probe(features[1]).argmax(1) == labels[1]) < 0.8


def test_every_step_drops_other_features():
    """A row of the kernel has a gradient where its feature was kept: one half, of two steps 3/4."""
    head, ones = FeatureHead(Dense(2), drop_rate=0.5), np.ones((1, 400))
    params = head.init(jax.random.key(0), jnp.asarray(ones))["params"]
    for epochs, share in ((1, 0.5), (2, 0.75)):
        trained = train_head(
            head, params, ones, np.array([0]), optimizer=optim.sgd, epochs=epochs
        ).params
        changed = np.any(np.asarray(trained["kernel"] != params["kernel"]), axis=1)
        assert changed.mean() == pytest.approx(share, abs=0.1)


def clouds(count: int = 90, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that overlap, in features of very different scales; one is constant."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, count, p=(0.5, 0.3, 0.2))
    features = rng.normal(labels[:, None] * np.array([1.0, 0.5, 0.0, 0.0]), 1.0, (count, 4))
    features = features * np.array([100.0, 1.0, 0.01, 1.0]) + np.array([0.0, 50.0, 0.0, 0.0])
    return np.concatenate([features, np.full((count, 1), 7.0)], 1), labels


@pytest.mark.parametrize("class_weights", [None, (1.0, 2.0, 0.5)])
def test_the_probe_is_scikit_learn_s_optimum(class_weights):
    features, labels = clouds()
    strength = 0.03
    probe = linear_probe(features, labels, strengths=(strength,), class_weights=class_weights)
    scale = np.where(features.std(0) > 0, features.std(0), 1)
    standard = (features - features.mean(0)) / scale
    theirs = LogisticRegression(C=1 / (strength * len(labels)), tol=1e-10, max_iter=10_000)
    weights = np.ones(3) if class_weights is None else np.array(class_weights)
    theirs.fit(standard, labels, sample_weight=weights[labels])
    ours = np.asarray(jax.nn.softmax(probe(features)))
    np.testing.assert_allclose(ours, theirs.predict_proba(standard), atol=1e-3)
    # A bias without regularisation makes the mean prediction of a class its frequency.
    shares = np.bincount(labels, weights[labels]) / weights[labels].sum()
    np.testing.assert_allclose(np.average(ours, 0, weights[labels]), shares, atol=1e-4)


def test_the_units_of_the_features_do_not_matter():
    features, labels = clouds()
    probe = linear_probe(features, labels)
    other = linear_probe(3 * features - 5, labels)
    np.testing.assert_allclose(other(3 * features - 5), probe(features), atol=5e-3)


def test_the_strength_is_chosen_by_validation():
    (features, labels), validation = clouds(45), clouds(2000, seed=1)
    chosen = linear_probe(features, labels, validation=validation, strengths=(0.001, 0.1, 100.0))
    assert chosen.strength == 0.1
    accuracy = np.mean(chosen(validation[0]).argmax(1) == validation[1])
    assert chosen.accuracy == pytest.approx(accuracy)
    alone = linear_probe(features, labels, strengths=(0.1,))
    np.testing.assert_allclose(chosen(features), alone(features), atol=2e-2)


def test_of_two_classes_and_of_one_image_of_a_class():
    features = np.array([[0.0, 1.0], [0.2, 0.9], [3.0, 1.1]])
    probe = linear_probe(features, np.array([0, 0, 1]))
    assert probe.kernel.shape == (2, 2)
    assert probe(features).argmax(1).tolist() == [0, 0, 1]


@pytest.mark.parametrize("k", [2, 6])
def test_neighbours_are_scikit_learn_s(k):
    """Every training image is there twice, under two labels: equally near, both vote."""
    rng = np.random.default_rng(0)
    half = rng.normal(size=(40, 5))
    train, labels = np.repeat(half, 2, axis=0), rng.integers(0, 4, 80)
    queries = np.concatenate([rng.normal(size=(30, 5)), 5 * half[:3]])
    theirs = KNeighborsClassifier(
        k, weights=lambda distances: np.exp((1 - distances) / 0.07), metric="cosine"
    )
    theirs.fit(train, labels)
    ours = nearest_neighbours(train, labels, queries, k=k)
    np.testing.assert_allclose(ours, theirs.predict_proba(queries), atol=1e-4)


def test_of_equally_near_neighbours_the_earlier_votes():
    train = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    votes = nearest_neighbours(train, np.array([2, 1, 0, 3]), np.array([[1.0, 0.0]]), k=1)
    assert votes.tolist() == [[0, 0, 1, 0]]
    # cosines 1, 0, 1 and, of a vector without a direction, 0
    votes = nearest_neighbours(
        train, np.array([2, 1, 0, 3]), np.array([[1.0, 0.0]]), k=9, temperature=1.0
    )
    e = np.e
    np.testing.assert_allclose(votes, np.array([[e, 1, e, 1]]) / (2 * e + 2), rtol=1e-5)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    train, queries, labels = rng.normal(size=(20, 3)), rng.normal(size=(11, 3)), np.arange(20) % 3
    whole = nearest_neighbours(train, labels, queries, k=3)
    monkeypatch.setattr("cnn_jax.neighbours._AT_ONCE", 20 * 4)
    np.testing.assert_allclose(nearest_neighbours(train, labels, queries, k=3), whole, atol=1e-6)


EYE, TWO = np.eye(2), np.array([0, 1])
BAD_INPUT = {
    "k": (lambda: nearest_neighbours(EYE, TWO, EYE, k=0), "`k` (=0) must be at least 1"),
    "temperature": (
        lambda: nearest_neighbours(EYE, TWO, EYE, temperature=0),
        "`temperature` (=0) must be above 0",
    ),
    "widths": (
        lambda: nearest_neighbours(EYE, TWO, np.ones((1, 3))),
        "`train_features` (2, 2) and `features` (1, 3) must be [M, D] and [N, D]",
    ),
    "labels": (
        lambda: nearest_neighbours(EYE, TWO, EYE, num_classes=1),
        "`labels` go from 0 to 1: they must be 0 to 0",
    ),
    "count": (
        lambda: linear_probe(EYE, np.array([0])),
        "`labels` are int64 (1,): they must be integers, one for each of 2 images",
    ),
    "flat": (lambda: linear_probe(np.ones(2), TWO), "`features` (2,) must be [N, D]"),
    "absent": (
        lambda: linear_probe(EYE, TWO, num_classes=4),
        "`labels` hold no image of class 2 and of 1 more: each class needs at least one",
    ),
    "feature not finite": (
        lambda: linear_probe(np.add(EYE, [[0], [np.nan]]), TWO, validation=(EYE, TWO)),
        "`features` of image 1 are not finite: leave the image out",
    ),
    "validation not finite": (
        lambda: linear_probe(EYE, TWO, validation=(np.add(EYE, [[np.inf], [0]]), TWO)),
        "`validation` of image 0 are not finite",
    ),
    "weight not finite": (
        lambda: linear_probe(EYE, TWO, class_weights=(1.0, np.nan), validation=(EYE, TWO)),
        "must be 2 numbers, one for each class",
    ),
    "strength": (
        lambda: linear_probe(EYE, TWO, strengths=(0.0,)),
        "`strengths` (=(0.0,)) must be numbers above 0",
    ),
    "no validation": (
        lambda: linear_probe(EYE, TWO, strengths=(1.0, 2.0)),
        "are 2, to choose from by validation features",
    ),
    "weights": (
        lambda: linear_probe(EYE, TWO, class_weights=(1.0,)),
        "`class_weights` (=(1.0,)) must be 2 numbers, one for each class",
    ),
    "epochs": (
        lambda: train_head(FeatureHead(HiddenHead(2)), {}, EYE, TWO, epochs=0),
        "`epochs` (=0) must be at least 1",
    ),
    "one label": (
        lambda: train_head(FeatureHead(HiddenHead(2)), {}, EYE, TWO[:1]),
        "`features` (2, 2) and `labels` (1,) must be [N, D] and [N]",
    ),
    "batch": (
        lambda: embeddings(MODEL, {}, source_of(), preprocess=PREPROCESS, batch_size=0),
        "`batch_size` (=0) must be at least 1",
    ),
    "not finite": (
        lambda: embeddings(
            MODEL,
            {"params": {"fc1": {"kernel": np.full((64, 16), np.nan), "bias": np.ones(16)}}},
            source_of(),
            preprocess=PREPROCESS,
        ),
        "features of image 0 are not finite: use other weights",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case):
    make, words = BAD_INPUT[case]
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
