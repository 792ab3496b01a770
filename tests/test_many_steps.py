"""Several steps in one dispatch: the same steps with the same images, and a run that says so."""

import itertools
import signal
from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from cnn_jax import augment, journal, layers, make_train_step, optim, plateau, rundir, schedules
from cnn_jax.checkpoints import Checkpoints
from cnn_jax.data.batches import epochs_done, train_batch, train_batches
from cnn_jax.data.source import ArraySource
from cnn_jax.errors import InputError
from cnn_jax.interrupts import Interrupted
from cnn_jax.journal import Diverged
from cnn_jax.many_steps import dispatches, many_steps
from cnn_jax.recipe import describe
from cnn_jax.state import init_state
from cnn_jax.train import run

STEPS, BATCH = 3, 4


class Network(nn.Module):
    """What steps could get wrong: gradients of convolutions, running statistics, dropout."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.relu(layers.BatchNorm()(layers.Conv(4, padding=1)(x), train=train))
        x = layers.Dropout(0.5, deterministic=not train)(layers.Conv(3, stride=2)(x))
        return x.mean((1, 2))


def check(actual, expected):
    def near(a, b):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    jax.tree.map(near, actual, expected)


def test_steps_in_a_loop_are_single_steps():
    """A network with BatchNorm and dropout, and ten images."""
    model, tx = Network(), optim.sgd(0.1, momentum=0.9)
    step = make_train_step(model, tx, augment=(augment.random_flip,))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (10, 8, 8, 3), np.uint8)
    source = ArraySource(images, rng.integers(0, 3, 10, np.int32))
    state = jax.jit(partial(init_state, model, tx, image_shape=(8, 8, 3)))(jax.random.key(0))
    single, after, metrics = jax.jit(step), state, []
    for number in range(STEPS):
        after, found = single(after, train_batch(source, 7, number, batch_size=BATCH))
        metrics.append(found)
    together = jax.tree.map(lambda *each: np.stack(each), *metrics)
    batches = train_batches(source, 7, range(STEPS), batch_size=BATCH)
    check(jax.jit(many_steps(step), donate_argnums=0)(state, batches), (after, together))


def test_several_batches_are_those_of_the_steps():
    rng = np.random.default_rng(0)
    source = ArraySource(rng.integers(0, 256, (10, 2, 3, 1), np.uint8), np.arange(10))
    for part in ((0, 1), (1, 2)):
        single = [train_batch(source, 3, step, batch_size=BATCH, part=part) for step in (1, 2, 3)]
        stacked = jax.tree.map(lambda *each: np.stack(each), *single)
        found = train_batches(source, 3, range(1, 4), batch_size=BATCH, part=part)
        jax.tree.map(np.testing.assert_array_equal, found, stacked)
        assert found["image"].shape == (3, BATCH // part[1], 2, 3, 1)


@pytest.mark.parametrize("every", [None, 7])
def test_nothing_that_the_host_has_to_do_is_within_a_dispatch(every):
    size = {"batch_size": 16, "size": 90}
    cut = partial(dispatches, most=4, **size, checkpoint_every=every)
    whole = list(cut(range(23)))
    assert list(itertools.chain(*whole)) == list(range(23))
    assert {len(each) for each in whole} == {1, 4}
    for each in whole:
        for step in each[:-1]:  # counted from 0: steps taken are one more
            assert epochs_done(step + 1, **size) == epochs_done(step, **size)
            assert not every or (step + 1) % every
        # From the end of any dispatch on it is the same: where a run may have been stopped.
        assert list(cut(range(each.stop, 23))) == whole[whole.index(each) + 1 :]
    # Steps 1 to 6 of an epoch of 5.6, 7 to 12 of the next: four together, then two singly.
    assert [len(each) for each in cut(range(12), checkpoint_every=None)] == [4, 1, 1] * 2


@pytest.fixture
def looped(recipe):
    """The run of 12 steps in 2 epochs of 5.6, four together where they fit; a line each step."""
    return replace(recipe, steps_per_dispatch=4, log_every=1)


@pytest.fixture
def sent(monkeypatch):
    """How many steps each dispatch had, and a signal with the one that ends at a step."""
    note, sizes = journal.Journal.note, {"sizes": [], "signal after": None}

    def noted(self, step, metrics):
        sizes["sizes"].append(len(metrics["loss"]))
        note(self, step, metrics)
        if step == sizes["signal after"]:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(journal.Journal, "note", noted)
    return sizes


def metrics_of(workdir):
    """The metrics file but for the times, which are to be positive."""
    records = rundir.read_metrics(workdir)
    assert all(0 < record["images_per_second"] < 1e9 for record in records)
    times = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in times} for record in records]


def near(ours, theirs, tolerance=1e-5):
    assert [list(record) for record in ours] == [list(record) for record in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, rel=tolerance, abs=1e-6)


def test_a_run_in_dispatches_is_the_run_in_single_steps(looped, sent, tmp_path):
    lower = partial(plateau.lower_on_plateau, patience=1, threshold=100.0, relative=False)
    changed = partial(
        replace,
        looped,
        plateau=lower,
        stopping=partial(plateau.stop_early, patience=3, min_delta=100.0),
        epochs=7,
        checkpoint_every=9,
    )
    results = [
        run(each, tmp_path / name, quiet=True)
        for name, each in (("singly", changed(steps_per_dispatch=1)), ("together", changed()))
    ]
    singly, together = (metrics_of(tmp_path / name) for name in ("singly", "together"))
    # By the first epoch's measure, none after it is better: of 40 steps it takes four epochs'.
    ends = {6, 9, 12, 17, 18, 23}
    assert sent["sizes"] == [1] * 23 + [4, 1, 1] + [1] * 6 + [4, 1, 1, 4, 1]
    near(together, singly)
    assert [record["step"] for record in together if "epoch" not in record] == [*range(1, 24)]
    speeds = [each["images_per_second"] for each in rundir.read_metrics(tmp_path / "together")[1:4]]
    assert speeds == pytest.approx([speeds[0]] * 3)  # all that is known of steps 1 to 4
    fell = together[-1]["learning_rate"] / changed().schedule(40)(22)
    assert fell == pytest.approx(0.1)
    check(results[1].state, results[0].state)
    kept = [Checkpoints(tmp_path / name / "checkpoints").steps for name in ("singly", "together")]
    assert kept[0] == kept[1]
    assert set(kept[1]) <= ends
    assert results[1].figures["stopped_early"]


def test_stopped_after_any_dispatch_it_ends_to_the_bit_as_if_not(looped, sent, tmp_path):
    """Among the single steps before the end of an epoch, and after four together."""
    straight = run(looped, tmp_path / "straight", quiet=True)
    assert sent["sizes"] == [4, 1, 1, 4, 1, 1]
    sent["sizes"].clear()
    for after in (5, 10):
        sent["signal after"] = after
        with pytest.raises(Interrupted, match=f"step {after} is saved"):
            run(looped, tmp_path / "stopped", resume=True, quiet=True)
    resumed = run(looped, tmp_path / "stopped", resume=True, quiet=True)
    assert sent["sizes"] == [4, 1, 1, 4, 1, 1]
    jax.tree.map(np.testing.assert_array_equal, straight.state.params, resumed.state.params)
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "stopped")


def test_a_step_within_a_dispatch_diverges_by_its_own_number(looped, tmp_path):
    wild, told = replace(looped, schedule=partial(schedules.constant, learning_rate=1e20)), []
    for name, together in (("singly", 1), ("together", 4)):
        with pytest.raises(Diverged) as ended:
            run(replace(wild, steps_per_dispatch=together), tmp_path / name, quiet=True)
        told.append(str(ended.value).partition(";")[0])
    assert told[0] == told[1]
    assert "the loss of step 2 is" in told[0] or "the loss of step 3 is" in told[0]
    near(metrics_of(tmp_path / "together"), metrics_of(tmp_path / "singly"))


def test_it_belongs_to_the_recipe(recipe, looped):
    """Since a loop may round otherwise; of single steps, which all runs before had, nothing."""
    assert describe(looped)["steps_per_dispatch"] == 4
    assert "steps_per_dispatch" not in describe(recipe)
    with pytest.raises(InputError, match=r"`steps_per_dispatch` \(=0\) must be a whole number"):
        run(replace(recipe, steps_per_dispatch=0), "nowhere", quiet=True)
