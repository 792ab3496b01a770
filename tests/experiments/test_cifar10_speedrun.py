"""The speed run, shrunk: the record's invariants, and PyTorch by the same recipe."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from click.testing import CliRunner

from cnn_jax import make_train_step
from experiments import cifar10_speedrun as speedrun
from experiments.bench import timing, torch_speedrun

SETTINGS = speedrun.Settings(epochs=4, batch_size=20, widths=(6, 26))


def pictures(count, seed, contrast=160):
    """Images of ten classes that colour and place tell apart. uint8 [N, 16, 16, 3]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 90, (count, 16, 16, 3))
    for number, label in enumerate(labels):
        images[number, 3 * (label // 2) : 3 * (label // 2) + 4, 2:14, label % 2] += contrast
    return images.astype(np.uint8), labels.astype(np.int32)


def arrays(*call):
    return dict(zip(("image", "label"), pictures(*call), strict=True))


@pytest.fixture(scope="module")
def built():
    """Data and compiled programs: 305 images for training, 61 for the test in three batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speedrun, "TEST_BATCH", 25)
        data = speedrun.on_device(arrays(305, 0), arrays(61, 1, 60))
    return data, speedrun.compiled(SETTINGS, data)


@pytest.fixture(scope="module")
def trained(built):
    """Data; the state before and after; how many test images are right."""
    data, (fresh, program, _) = built
    after, right = program(fresh(0), data)
    return data, fresh(0), after, int(right)


@pytest.fixture(autouse=True)
def one_thread():
    """PyTorch's threads wait busily, and there is little to do."""
    torch = torch_speedrun.torch
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def to_torch(network, params):
    """Give our parameters to PyTorch's network."""
    torch = torch_speedrun.torch

    def put(parameter, value):
        value = np.asarray(value)
        order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[value.ndim]
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(value.transpose(order).copy()))

    put(network.whiten.weight, params["whiten"]["kernel"])
    put(network.whiten.bias, params["whiten"]["bias"])
    put(network.head.weight, params["head"]["kernel"])
    for number, block in enumerate(network.blocks, start=1):
        for index in (1, 2):
            norm = params[f"block{number}_bn{index}"]
            conv = getattr(block, f"conv{index}")
            put(conv.weight, params[f"block{number}_conv{index}"]["kernel"])
            put(getattr(block, f"bn{index}").bias, norm["bias"])
    return network


def near(ours, theirs, *, atol):
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=atol)


def test_the_network_has_as_many_parameters_as_the_published_one():
    """312 + 13,824 + 36,864 + 147,456 + 3 x 589,824 + 2,560 and 2,304 of BatchNorm: 1.97 M."""
    shapes = jax.eval_shape(
        speedrun.Network().init, jax.random.key(0), jnp.zeros((1, 32, 32, 3), jnp.float32)
    )
    theirs = torch_speedrun.Network((64, 256, 256))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 1_972_792
    assert sum(parameter.numel() for parameter in theirs.parameters()) == 1_972_792


def test_what_is_frozen_stays_and_the_rest_does_not(trained):
    data, before, after, _ = trained
    first = data["train"]["image"][: speedrun.WHITENED_IMAGES]
    whitened = speedrun.with_whitening(before.params, first)
    parts = jax.tree_util.tree_map_with_path(speedrun.part_of, before.params)
    frozen = jax.tree.leaves(jax.tree.map(lambda part: part == "frozen", parts))
    assert sum(frozen) == 5  # the first layer's filters, four scales
    for stays, a, b in zip(
        frozen, jax.tree.leaves(whitened), jax.tree.leaves(after.params), strict=True
    ):
        difference = np.abs(a - b).max() / np.abs(b).max()
        assert difference < 1e-3 if stays else difference > 1e-2, (difference, b.shape)
    assert int(after.step) == 4 * (305 // 20)


def test_the_rest_of_the_run_asks_for_no_gradient_of_the_first_layer():
    tx = speedrun.without_first_layer(optax.sgd(1.0))
    params = {"whiten": {"bias": jnp.ones(2)}, "head": {"kernel": jnp.ones(3)}}
    gradients = {"whiten": {"bias": jnp.full(2, np.nan)}, "head": {"kernel": jnp.ones(3)}}
    updates, _ = tx.update(gradients, tx.init(params), params)
    assert updates["whiten"]["bias"].tolist() == [0, 0]
    assert updates["head"]["kernel"].tolist() == [-1, -1, -1]


def test_the_accuracy_is_over_six_views_of_every_test_image(trained):
    data, _, after, right = trained
    images, labels = pictures(61, 1, 60)
    pixels = np.asarray(speedrun.preprocess(images.astype(np.float32) / 255))
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    model = speedrun.Network(widths=SETTINGS.widths)
    views = [(2, pixels), (1, padded[:, :-2, :-2]), (1, padded[:, 2:, 2:])]
    stack = np.concatenate([side for _, view in views for side in (view, view[:, :, ::-1])])
    logits = jax.jit(model.apply)(after.variables, stack).reshape(6, 61, 10)
    mean = np.average(logits, axis=0, weights=[part for part, _ in views for _ in range(2)])
    found = jax.jit(partial(speedrun.answers, model))(after.variables, images)
    np.testing.assert_allclose(found, mean, atol=1e-4)
    assert np.abs(logits[0] - mean).max() > 0.01
    assert right == (mean.argmax(1) == labels).sum()
    assert data["test"]["label"].shape == (3, 25)
    assert (data["test"]["label"][2, 11:] == -1).all()


def test_steps_are_those_of_pytorch(built):
    """From the same parameters on the same images: four steps, after which the bias rests."""
    torch = torch_speedrun.torch
    settings = replace(SETTINGS, epochs=3, bias_epochs=1, batch_size=30, decay=1e-3)
    images, labels = pictures(30, 2)
    model = speedrun.Network(widths=settings.widths)
    tx = speedrun.make_optimizer(settings, steps_per_epoch=2)
    state = built[1][0](1)
    state = state.replace(
        params=speedrun.with_whitening(state.params, jnp.array(images)),
        opt_state=tx.init(state.params),
    )

    theirs = torch_speedrun.Network(settings.widths)
    theirs.redraw()
    pixels = np.asarray(speedrun.preprocess(images.astype(np.float32) / 255))
    pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    theirs.whiten_patches(pixels)
    ours = np.asarray(state.params["whiten"]["kernel"]).transpose(3, 2, 0, 1).reshape(24, 12)
    # An eigenvector's sign is free.
    signs = np.sign((ours * theirs.whiten.weight.detach().numpy().reshape(24, 12)).sum(1))
    near(ours * signs[:, None], theirs.whiten.weight.reshape(24, 12), atol=1e-2)

    to_torch(theirs, state.params)
    training = torch_speedrun.Training(theirs, settings, per_epoch=2, compiled=False)
    options = {"loss": speedrun.summed_loss(settings), "preprocess": speedrun.preprocess}
    batch = {"image": jnp.array(images), "label": jnp.array(labels)}
    step = jax.jit(make_train_step(model, tx, **options))
    for _ in range(4):
        state, _ = step(state, batch)
        training.step(pixels, torch.from_numpy(labels).long())
    for number, block in enumerate(theirs.blocks, start=1):
        for index in (1, 2):
            norm = getattr(block, f"bn{index}")
            statistics = state.batch_stats[f"block{number}_bn{index}"]
            near(statistics["mean"], norm.running_mean, atol=1e-3)
            near(statistics["var"], norm.running_var, atol=1e-3)
            near(state.params[f"block{number}_bn{index}"]["bias"], norm.bias, atol=1e-3)
    near(state.params["whiten"]["bias"], theirs.whiten.bias, atol=1e-3)
    near(state.params["head"]["kernel"].T, theirs.head.weight, atol=1e-3)
    logits = jax.jit(model.apply)(state.variables, speedrun.preprocess(images / np.float32(255)))
    near(logits, theirs.eval()(pixels), atol=1e-3)


def test_batches_of_the_peer_show_every_image_from_both_sides():
    torch = torch_speedrun.torch
    images = torch.from_numpy(pictures(40, 3)[0].transpose(0, 3, 1, 2).astype(np.float32).copy())
    settings = replace(SETTINGS, epochs=2)
    shown = list(torch_speedrun.batches(images, torch.arange(40), settings))
    assert len(shown) == 4
    for epoch in (shown[:2], shown[2:]):
        assert sorted(torch.cat([labels for _, labels in epoch]).tolist()) == list(range(40))
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    places = [(row, column) for row in range(5) for column in range(5)]
    sides = {}
    for epoch, batches in enumerate((shown[:2], shown[2:])):
        for batch, labels in batches:
            for image, label in zip(batch.numpy(), labels.tolist(), strict=True):
                straight, turned = (
                    any(
                        np.array_equal(padded[label, :, r : r + 16, c : c + 16], seen)
                        for r, c in places
                    )
                    for seen in (image, image[..., ::-1])
                )
                assert straight ^ turned
                sides[epoch, label] = turned
    assert all(sides[0, label] ^ sides[1, label] for label in range(40))
    assert 0 < sum(sides[0, label] for label in range(40)) < 40


def test_the_command_beside_pytorch(built, tmp_path, monkeypatch):
    data, programs = built

    def compiled(settings, given):
        assert settings == SETTINGS
        assert jax.tree.map(jnp.shape, given) == jax.tree.map(jnp.shape, data)
        return programs

    monkeypatch.setattr(speedrun, "TEST_BATCH", 25)
    monkeypatch.setattr(speedrun.Settings, "widths", (64, 256))
    monkeypatch.setattr(speedrun, "compiled", compiled)
    (x, y), (xt, yt) = pictures(400, 0), pictures(90, 1)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=xt, y_test=yt)
    options = ["--data", tmp_path / "data.npz", "--runs", 2, "--epochs", 4, "--batch-size", 20]
    options += ["--width", 0.1, "--limit", 305, "--peer", "--out", tmp_path / "found" / "out.json"]
    outcome = CliRunner().invoke(speedrun.main, map(str, options), catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert "305 images, 61 of the test" in outcome.output
    record = json.loads((tmp_path / "found" / "out.json").read_text())
    assert record["settings"]["widths"] == [6, 26]
    assert record["environment"]["packages"]["torch"]
    for name in ("cnn_jax", "PyTorch"):
        runs, result = record["runs"][name], record["results"][name]
        assert [run["seed"] for run in runs] == [0, 1]
        for figure, scale, digits in (("accuracy", 100, 2), ("seconds", 1, 3)):
            values = [run[figure] for run in runs]
            assert result[f"{figure}_mean"] == pytest.approx(np.mean(values))
            assert result[f"{figure}_deviation"] == pytest.approx(np.std(values, ddof=1))
            assert f"{scale * np.mean(values):.{digits}f}" in outcome.output
        assert result["accuracy_mean"] > 0.5


def test_runs_take_turns_after_one_for_nothing():
    called = []

    def program(name):
        return lambda seed: called.append((name, seed)) or (0.5, float(seed))

    programs = {name: program(name) for name in "ab"}
    told = []
    found = timing.runs_in_turns(programs, runs=2, warm_up=True, say=told.append)
    assert called == [("a", 2), ("b", 2), ("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert [run["seconds"] for run in found["b"]] == [0.0, 1.0]
    assert told[3] == "a, seed 1: 50.00 %, 1.000 s"
    assert timing.over_runs(found["a"][:1])["seconds_deviation"] == 0


def test_images_that_the_network_is_too_large_for_are_refused():
    outcome = CliRunner().invoke(speedrun.main, ["--data", "digits"])
    assert "must be images of 16x16 at least in 10 classes at most" in str(outcome.exception)
