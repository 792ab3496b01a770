"""What a recipe may ask of a run: plateau, early stopping, averages, teachers, half precision."""

import csv
from dataclasses import replace
from functools import partial

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import averaging, gradients, load_run, losses, metrics, models, optim, rundir
from cnn_jax.data import array_source, make_dataset
from cnn_jax.errors import InputError
from cnn_jax.journal import Diverged
from cnn_jax.parameter_rules import Rule, by_path
from cnn_jax.plateau import lower_on_plateau, stop_early
from cnn_jax.precision import TYPES, dynamic_loss_scale, with_precision
from cnn_jax.state import init_state
from cnn_jax.steps import make_train_step, normalize, skipping_nonfinite, to_float
from cnn_jax.train import run
from tests.conftest import scans
from tests.test_steps import MODEL, batch_of, state_of

ALL_EQUAL = partial(jax.tree.map, np.testing.assert_array_equal)


def test_the_rate_of_the_state_multiplies_the_learning_rate():
    state, batch = state_of(MODEL, optax.sgd(0.5)), batch_of(12)
    halved = make_train_step(MODEL, lambda rate: optax.sgd(rate * 0.5))
    after, _ = halved(state.replace(rate=jnp.float32(0.5)), batch)
    plain, _ = make_train_step(MODEL, optax.sgd(0.25))(state, batch)
    chex.assert_trees_all_close(after.params, plain.params, rtol=1e-6)


def test_a_plateau_halves_the_rate_of_the_following_epochs(recipe, tmp_path):
    """With a bar that no epoch clears, the rate falls after each one but the first."""
    lower = partial(lower_on_plateau, factor=0.5, patience=0, threshold=10.0, relative=False)
    recipe = replace(recipe, plateau=lower, monitor="train_loss", epochs=4)
    result = run(recipe, tmp_path / "run", quiet=True)
    assert result.state.rate == 0.5 ** (len(result.history) - 1)
    base = [recipe.schedule(23)(record["step"] - 1) for record in result.history]
    rates = [record["learning_rate"] for record in result.history]
    np.testing.assert_allclose(rates, np.array(base) * [1, 1, 0.5, 0.25], rtol=1e-6)


def test_early_stopping_ends_a_run_for_good_and_keeps_the_best(recipe, tmp_path):
    stop = partial(stop_early, patience=2, min_delta=10.0)
    recipe = replace(recipe, stopping=stop, monitor="validation_loss", epochs=9)
    for resume in (False, True):
        result = run(recipe, tmp_path / "run", resume=resume, quiet=True)
        assert [record["epoch"] for record in result.history] == [1, 2, 3]
        assert result.figures["stopped_early"]
        best = min(result.history, key=lambda record: record["validation_loss"])
        assert result.figures["step"] == best["step"]


def test_what_is_evaluated_and_loaded_is_the_average(recipe, tmp_path):
    """A decay of 1 - 1e-9 keeps the initial parameters, whatever the training does."""
    keep = partial(averaging.ema, decay=1 - 1e-9, optimizer=recipe.optimizer)
    result = run(replace(recipe, optimizer=keep), tmp_path / "run", quiet=True)
    fresh = init_state(
        recipe.model, optax.sgd(1.0), jax.random.key(recipe.seed), image_shape=(8, 8, 1)
    )
    chex.assert_trees_all_close(result.state.averaged_variables, fresh.variables, atol=1e-6)
    assert not np.allclose(result.state.params["fc1"]["kernel"], fresh.params["fc1"]["kernel"])
    loaded = load_run(tmp_path / "run")
    chex.assert_trees_all_equal(loaded.variables, result.state.averaged_variables)
    trained = run(recipe, tmp_path / "plain", quiet=True)
    assert result.test_accuracy < trained.test_accuracy


def test_sam_takes_the_gradient_further_up():
    """One step of algorithm 1, with a linear model whose gradient NumPy knows."""
    model, radius = models.create_model("mlp", num_classes=3, widths=()), 0.5
    tx = gradients.sam(0.1, optimizer=optax.sgd, radius=radius)
    state, batch = state_of(model, tx), batch_of(12)
    after, _ = jax.jit(make_train_step(model, tx))(state, batch)

    x = batch["image"].reshape(12, -1).astype(np.float64) / 255
    weights = np.asarray(state.params["fc1"]["kernel"], np.float64)
    bias = np.asarray(state.params["fc1"]["bias"], np.float64)

    def gradient(weights, bias):
        exponents = np.exp(x @ weights + bias)
        wrong = exponents / exponents.sum(1, keepdims=True) - np.eye(3)[batch["label"]]
        return x.T @ wrong / 12, wrong.mean(0)

    of_weights, of_bias = gradient(weights, bias)
    length = np.sqrt((of_weights**2).sum() + (of_bias**2).sum())
    above, _ = gradient(weights + radius * of_weights / length, bias + radius * of_bias / length)
    np.testing.assert_allclose(after.params["fc1"]["kernel"], weights - 0.1 * above, atol=2e-6)


@pytest.mark.parametrize("around", [averaging.ema, averaging.lookahead])
def test_averages_hand_the_gradient_function_to_sam(around):
    sam = partial(gradients.sam, optimizer=optax.sgd, radius=0.5)
    batch = batch_of(12)
    states = []
    for tx in (around(0.1, optimizer=sam), sam(0.1)):
        after, _ = make_train_step(MODEL, tx)(state_of(MODEL, tx), batch)
        states.append(after.params)
    chex.assert_trees_all_close(*states, atol=1e-7)


def test_soft_labels_of_one_class_train_as_its_number_does():
    batch, tx = batch_of(12), optax.sgd(0.1)
    one_hot = {**batch, "label": np.eye(3, dtype=np.float32)[batch["label"]]}
    step = make_train_step(MODEL, tx)
    (by_number, told), (by_chances, also_told) = (
        step(state_of(MODEL, tx), batch) for batch in (batch, one_hot)
    )
    chex.assert_trees_all_close(by_number.params, by_chances.params, atol=1e-7)
    assert told["correct"] == also_told["correct"]


def test_several_labels_at_once_are_learnt():
    """Class k is there where the image's sector k is bright: independent of the others."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (64, 3)).astype(np.float32)
    images = np.repeat(np.repeat(labels[:, :, None, None], 8, 2), 8, 3).transpose(0, 2, 3, 1)
    batch = {**batch_of(64), "image": images, "label": labels}
    model, tx = models.create_model("mlp", num_classes=3, widths=(16,)), optax.adam(0.02)
    state = init_state(model, tx, jax.random.key(0), image_shape=(8, 8, 3))
    step = jax.jit(
        make_train_step(model, tx, loss=losses.binary_cross_entropy, correct=metrics.all_right)
    )
    for _ in range(40):
        state, told = step(state, batch)
    assert told["correct"] == 64
    measured = metrics.multi_label(labels, model.apply(state.variables, images))
    assert measured["mean_average_precision"] == 1.0


def test_metrics_of_several_labels_are_the_hand_computed_ones():
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    scores = np.array([[0.9, 0.6, 0.1], [0.3, 0.7, 0.2], [0.4, 0.2, 0.6]])
    # Ranked by score, class 0 is right, wrong, right and class 1 right, wrong, right: precisions
    # 1 and 2/3 where right. No image has class 2, so its average precision does not exist.
    measured = metrics.multi_label(labels, scores)
    assert measured["mean_average_precision"] == pytest.approx((1 + 2 / 3) / 2)
    # Called: class 0 once, rightly; class 1 twice, once rightly; class 2 once, wrongly.
    assert measured["micro_f1"] == pytest.approx(2 * 2 / (4 + 4))
    assert measured["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    with pytest.raises(InputError, match="`labels` must be 0 or 1 to be measured against"):
        metrics.multi_label(labels / 2, scores)


def test_a_student_learns_from_a_run_alone(recipe, tmp_path):
    """With all weight on the teacher the labels do not matter: they are shuffled here."""
    run(replace(recipe, epochs=10), tmp_path / "teacher", quiet=True)
    teacher = load_run(tmp_path / "teacher")
    images, labels = scans(100)
    shuffled = np.random.default_rng(0).permutation(labels)
    data = make_dataset(
        array_source(images, shuffled, name="shuffled"), recipe.data.test, name="s", validation=10
    )
    student = replace(
        recipe,
        data=data,
        teacher=teacher.teacher(),
        normalization=teacher.normalization,
        loss=partial(losses.distillation, alpha=1.0),
        epochs=10,
    )
    result = run(student, tmp_path / "student", quiet=True)
    assert result.test_accuracy > 0.9
    told = rundir.read_description(tmp_path / "student")["recipe"]["teacher"]
    assert told["model"]["name"] == "mlp"
    assert len(told["variables"]["params"]["fc1"]["kernel"]["sha256"]) == 64


class LargeGradient(nn.Module):
    """Float16 overflows in its gradient as long as the loss scale exceeds about 2,000."""

    dtype: jnp.dtype = jnp.float16

    @nn.compact
    def __call__(self, images, *, train=False):
        x = images.reshape(len(images), -1)[:, :3].astype(self.dtype)
        return nn.Dense(3, dtype=self.dtype, kernel_init=nn.initializers.zeros)(x) * 32


def test_float16_recovers_from_an_overflow():
    model, tx = LargeGradient(), optax.sgd(1e-3)
    scale = dynamic_loss_scale(growth_interval=3)
    state = init_state(
        model, tx, jax.random.key(0), image_shape=(8, 8, 1), loss_scale=scale
    ).replace(loss_scale=scale.replace(scale=jnp.float32(2.0**24)))
    step, batch = jax.jit(make_train_step(model, tx)), batch_of(12)
    scales, counts = [], []
    for _ in range(24):
        before = state
        state, told = step(state, batch)
        scales.append(float(told["loss_scale"]))
        counts.append(int(told["count"]))
        if not told["count"]:
            ALL_EQUAL(before.params, state.params)
            assert told["finite"].all()
            assert told["loss"] == 0
    assert counts[0] == 0  # the overflow
    assert scales[0] == 2.0**23
    assert counts.index(12) >= 2
    first_good = counts.index(12)
    assert scales[first_good + 3] == 2 * scales[first_good]  # grown after three without one
    assert state.step == 24
    assert np.isfinite(state.params["Dense_0"]["kernel"]).all()


def test_an_overflow_that_is_excused_is_none_of_the_steps_to_skip():
    model, tx = LargeGradient(), optax.sgd(1e-3)
    scale = dynamic_loss_scale(initial=2.0**24)
    state = init_state(model, tx, jax.random.key(0), image_shape=(8, 8, 1), loss_scale=scale)
    step = jax.jit(skipping_nonfinite(make_train_step(model, tx)))
    after, told = step(state, batch_of(12))
    assert not np.isfinite(told["gradient_norm"])
    assert told["count"] == 0
    assert not told["skipped"]
    assert told["loss_scale"] == after.loss_scale.scale == 2.0**23


class Constant(nn.Module):
    """Answers three parameters, in float16, whatever it sees."""

    @nn.compact
    def __call__(self, images, *, train=False):
        logits = self.param("logits", nn.initializers.constant(0.01), (3,))
        return jnp.tile(logits.astype(jnp.float16), (len(images), 1))


@pytest.mark.parametrize(
    ("factor", "scale", "overflows"),
    [
        (1e-7, 2.0**16, False),  # too small for float16 unless scaled
        (1.0, 2.0**20, True),  # too large further up alone, where it is a hundred times as large
    ],
)
def test_float16_scales_the_gradient_further_up_as_well(factor, scale, overflows):
    """Of SAM, at a loss whose gradient is `2 * factor * logits`."""

    def loss(logits, labels):
        return factor * jnp.square(logits.astype(jnp.float32)).sum(-1)

    tx = gradients.sam(0.1 / factor, optimizer=optax.sgd, radius=1.0)
    state = init_state(
        Constant(), tx, jax.random.key(0), image_shape=(8, 8, 1),
        loss_scale=dynamic_loss_scale(initial=scale),
    )  # fmt: skip
    after, told = jax.jit(make_train_step(Constant(), tx, loss=loss))(state, batch_of(12))
    assert np.isfinite(told["gradient_norm"])
    assert told["count"] == (0 if overflows else 12)
    assert after.loss_scale.scale == told["loss_scale"] == (scale / 2 if overflows else scale)
    expected = 0.01 if overflows else 0.01 - 0.2 * (0.01 + 1 / np.sqrt(3))
    np.testing.assert_allclose(after.params["logits"], [expected] * 3, rtol=2e-3)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_an_overflow_at_the_lowest_scale_is_divergence(broken):
    """Of the gradient alone too, by the slope of a root at 0."""

    def loss(logits, labels):
        each = losses.cross_entropy(logits, labels)
        return each * jnp.nan if broken == "loss" else each + jnp.sqrt(logits - logits).sum(-1)

    model, tx = LargeGradient(), optax.sgd(1e-3)
    scale = dynamic_loss_scale(initial=1.0)
    state = init_state(model, tx, jax.random.key(0), image_shape=(8, 8, 1), loss_scale=scale)
    after, told = make_train_step(model, tx, loss=loss)(state, batch_of(12))
    assert told["count"] == 12
    assert np.isnan(told["loss"])
    assert told["finite"].all() == (broken == "gradient")
    ALL_EQUAL(after.params, state.params)


def test_a_run_ends_where_its_gradient_overflows_at_the_lowest_scale(recipe, tmp_path):
    def loss(logits, labels):
        return losses.cross_entropy(logits, labels) + jnp.sqrt(logits - logits).sum(-1)

    recipe = replace(recipe, precision="float16", loss=loss, epochs=4)
    with pytest.raises(Diverged, match=r"^the gradient of step 17 is not finite; the check"):
        run(recipe, tmp_path / "run", quiet=True)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_holds_what_the_policy_says(precision):
    """Types of every layer's output, of parameters and statistics, and of the gradient."""
    model = with_precision(
        models.create_model("three_block_cnn", widths=(4, 4, 4), hidden=8), precision
    )
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    chex.assert_type(jax.tree.leaves(variables), jnp.float32)
    train = partial(
        model.apply, train=True, rngs={"dropout": jax.random.key(1)},
        capture_intermediates=True, mutable=["intermediates", "batch_stats"],
    )  # fmt: skip
    _, seen = jax.eval_shape(train, variables, images)
    outputs = jax.tree.leaves(seen["intermediates"])
    assert len(outputs) > 12
    chex.assert_type(outputs, TYPES[precision])
    chex.assert_type(jax.tree.leaves(seen["batch_stats"]), jnp.float32)

    def loss(variables, images):
        logits = model.apply(variables, images)
        assert logits.dtype == TYPES[precision]
        return losses.cross_entropy(logits, jnp.array([0, 1])).mean()

    value, gradient = jax.eval_shape(jax.value_and_grad(loss), variables, images)
    chex.assert_type([value, *jax.tree.leaves(gradient)], jnp.float32)


def test_the_statistics_of_batchnorm_are_those_of_float32():
    """Mean and variance of numbers that bfloat16 cannot add up."""
    from cnn_jax import layers

    x = jnp.asarray(100 + np.random.default_rng(0).normal(size=(64, 8, 8, 1)), jnp.bfloat16)
    norm = layers.BatchNorm(dtype=jnp.bfloat16, momentum=0.0)
    variables = norm.init(jax.random.key(0), x, train=True)
    _, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], exact.mean(), rtol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["var"], exact.var(ddof=1), rtol=1e-2)


def test_a_loss_that_is_not_finite_names_its_images(recipe, tmp_path):
    """The loss of class 2 is poisoned: the images named are those of class 2 in batch 1."""

    def poisoned(logits, labels):
        return losses.cross_entropy(logits, labels) + jnp.where(labels == 2, jnp.nan, 0)

    with pytest.raises(Diverged) as stopped:
        run(replace(recipe, loss=poisoned), tmp_path / "run", quiet=True)
    from cnn_jax.data.batches import batch_positions

    positions, _ = batch_positions(recipe.seed, 0, batch_size=16, size=90)
    culprits = positions[recipe.data.train.labels[positions] == 2]
    assert 0 < len(culprits) <= 8
    named = ", ".join(map(str, culprits))
    assert f"the loss of step 1 is nan, from the training images at {named}; " in str(stopped.value)


def test_parameters_do_what_the_table_in_the_run_directory_says(recipe, tmp_path, capsys):
    """Of a rule that freezes and one that spares: bitwise, and by the size of the decay."""
    rules = (Rule("fc1/*", frozen=True), Rule("*/bias", learning_rate=2.0, decay=True))
    optimizer = partial(by_path, optimizer=optim.sgd, rules=rules, weight_decay=0.5)
    zero = lambda logits, labels: 0 * logits.sum(-1)  # noqa: E731, so that only the decay acts
    recipe = replace(recipe, optimizer=optimizer, loss=zero, epochs=1)
    result = run(recipe, tmp_path / "run")
    printed = capsys.readouterr().out
    with (tmp_path / "run" / "parameters.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    fresh = init_state(
        recipe.model, optax.sgd(1.0), jax.random.key(recipe.seed), image_shape=(8, 8, 1)
    )
    paths = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(fresh.params)
    }
    assert set(rows) == set(paths)
    for path, before in paths.items():
        module, leaf = path.split("/")
        after = result.state.params[module][leaf]
        unchanged = rows[path]["frozen"] == "True" or float(rows[path]["decay"]) == 0
        assert (rows[path]["frozen"] == "True") == (module == "fc1")
        assert np.array_equal(before, after) == (unchanged or not before.any())
        assert path in printed
    assert "frozen" in printed
    assert "x 2" in printed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precision": "float8"}, r"`precision` \(='float8'\) is unknown: did you mean 'float32'"),
        ({"monitor": "f1"}, r"`monitor` \(='f1'\) is unknown: known are"),
        (
            {"plateau": partial(lower_on_plateau, factor=2.0)},
            r"`factor` \(=2.0\) must be at least 0 and below 1",
        ),
        ({"stopping": partial(stop_early, patience=0)}, r"`patience` \(=0\) must be a whole"),
        (
            {"loss": partial(losses.cross_entropy, class_weights=[1.0, 2.0])},
            r"`class_weights` \(of shape \(2,\)\) must have one value for each of the 3 classes",
        ),
        (
            {
                "optimizer": partial(
                    by_path, optimizer=optim.sgd, rules=(Rule("fc9*", frozen=True),)
                )
            },
            r"`pattern` \(=fc9\*\) matches no parameter: the nearest are fc",
        ),
        ({"optimizer": partial(optim.sgd, momentum=2)}, r"`momentum` \(=2\) must be at least 0"),
    ],
)
def test_wrong_options_are_told_before_anything_is_touched(recipe, tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        run(replace(recipe, **change), tmp_path / "run", quiet=True)
    assert not list(tmp_path.iterdir())


def test_watching_validation_images_needs_some(recipe, tmp_path):
    without = replace(recipe, data=replace(recipe.data, validation=None), stopping=stop_early)
    with pytest.raises(InputError, match="needs validation images, and scans has none: hold some"):
        run(without, tmp_path / "run", quiet=True)


def test_the_norms_in_the_metrics_are_those_of_the_step():
    tx = optax.sgd(0.5)
    state, batch = state_of(MODEL, tx), batch_of(12)
    after, told = jax.jit(make_train_step(MODEL, tx))(state, batch)
    change = jax.tree.map(lambda a, b: np.asarray(a - b, np.float64), after.params, state.params)
    length = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(change)))
    np.testing.assert_allclose(told["update_norm"], length, rtol=1e-5)
    np.testing.assert_allclose(told["gradient_norm"], 2 * length, rtol=1e-5)


def test_a_model_without_a_type_stays_in_float32():
    class Untyped(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            return nn.Dense(3)(images.reshape(len(images), -1))

    assert with_precision(Untyped(), "float32").__class__ is Untyped
    with pytest.raises(InputError, match="needs a model with an attribute `dtype`, which Untyped"):
        with_precision(Untyped(), "bfloat16")
    assert normalize(to_float(jnp.zeros((1, 1, 1, 1))), mean=(0,), std=(1,)).dtype == jnp.float32
