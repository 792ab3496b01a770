"""The options of the command line, and the recipe that comes of them."""

import sys

import click
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import augment, cli, one_cycle
from cnn_jax.errors import InputError
from cnn_jax.parameter_rules import table_of
from cnn_jax.plateau import Plateau, Stopping
from cnn_jax.recipe import check, describe
from cnn_jax.recipe_options import SCHEDULES, recipe_from, recipe_options
from tests.conftest import scans


def recipe_of(tmp_path, *arguments, keep=slice(None)):
    """The recipe that `cnn-jax train` would run."""
    images, labels = (array[keep] for array in scans(60))
    np.savez(tmp_path / "scans.npz", x_train=images, y_train=labels)
    made = []

    @click.command()
    @recipe_options
    def command(**options):
        made.append(recipe_from(**options))

    given = ["--data", tmp_path / "scans.npz", "--model", "mlp", "--epochs", "2", *arguments]
    command([str(argument) for argument in given], standalone_mode=False)
    return made[0]


def test_options_nest_from_the_inside_out(tmp_path):
    recipe = recipe_of(
        tmp_path, "--optimizer", "sgd", "--momentum", "0.8", "--weight-decay", "0.1", "--ema",
        "0.9", "--sam", "0.05", "--clip", "1", "--accumulate", "2", "--freeze", "fc1/*",
        "--no-decay", "fc2/kernel",
    )  # fmt: skip
    chain, optimizer = [], describe(recipe.optimizer)
    while True:
        chain.append(optimizer["function"].rsplit(".", 1)[-1])
        if "optimizer" not in optimizer:
            break
        ruled, optimizer = optimizer, optimizer["optimizer"]
    assert chain == ["ema", "sam", "accumulated", "clipped", "by_path", "sgd"]
    assert optimizer["momentum"] == 0.8
    assert ruled["weight_decay"] == 0.1
    assert [rule["pattern"] for rule in ruled["rules"]] == ["fc1/*", "fc2/kernel"]
    assert [rule["frozen"] for rule in ruled["rules"]] == [True, False]
    assert ruled["rules"][1]["decay"] is False


@pytest.mark.parametrize(
    ("part", "name", "arguments"),
    [
        ("optimizer", "weight_decay", []),
        ("optimizer", "momentum", ["--optimizer", "sgd"]),
        ("loss", "smoothing", []),
        ("loss", "gamma", ["--loss", "focal"]),
        ("schedule", "floor", []),
    ],
)
def test_zero_is_an_option_as_any_other(tmp_path, part, name, arguments):
    recipe = recipe_of(tmp_path, *arguments, f"--{name.replace('_', '-')}", "0")
    assert getattr(recipe, part).keywords[name] == 0


def test_zero_is_refused_where_it_is_out_of_range(tmp_path):
    for name, schedule in (("factor", "step"), ("power", "polynomial"), ("every", "step")):
        recipe = recipe_of(tmp_path, "--schedule", schedule, f"--{name}", "0")
        with pytest.raises(InputError, match=rf"`{name}` \(=0"):
            recipe.schedule(10)


def test_patience_of_zero_is_no_leave_to_go_without(tmp_path):
    """A plateau may bear no epoch at all; the end of a run may not."""
    recipe = recipe_of(tmp_path, "--plateau", "0")
    state = recipe.plateau(Plateau(best=1.0), 1.0, mode="min")
    assert state.scale == 0.5
    assert recipe.stopping is None
    with pytest.raises(InputError, match=r"`patience` \(=0\) must be a whole number"):
        check(recipe_of(tmp_path, "--early-stopping", "0"))


def test_as_many_epochs_are_borne_as_the_help_says(tmp_path):
    """With 2: the third without a better one halves the rate, the second ends the run."""
    recipe = recipe_of(tmp_path, "--plateau", "2", "--early-stopping", "2")
    lowered, stopping, scales, stopped = Plateau(best=1.0), Stopping(best=1.0), [], []
    for step in range(3):
        lowered = recipe.plateau(lowered, 1.0, mode="min")
        stopping = recipe.stopping(stopping, 1.0, step=step, mode="min")
        scales.append(lowered.scale)
        stopped.append(stopping.stop)
    assert scales == [1, 1, 0.5]
    assert stopped == [False, True, True]
    (told,) = [
        option.help for option in cli.cnn_jax.commands["train"].params if option.name == "plateau"
    ]
    assert told == "Epochs without a better one to bear; the next halves the rate."


def test_the_decay_of_muon_reaches_every_kernel(tmp_path):
    optimizer = recipe_of(tmp_path, "--optimizer", "muon", "--weight-decay", "0.1").optimizer
    params = {"conv": np.zeros((3, 3, 1, 2)), "fc": np.zeros((2, 2)), "bias": np.zeros(2)}
    decays = {row.path: row.decay for row in table_of(optimizer, params)}
    assert decays == {"conv": 0.1, "fc": 0.1, "bias": 0.0}
    # Without a gradient a step is the decay alone.
    tx, params = optimizer(0.5), jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    for name, decay in decays.items():
        np.testing.assert_allclose(updates[name], -0.5 * decay, rtol=1e-6)


def test_policies_follow_flip_and_shift(tmp_path):
    options = ["--flip", "--shift", "2", "--augment", "auto_augment_cifar10", "--mix", "cutmix"]
    described = describe(recipe_of(tmp_path, *options))
    names = [part if isinstance(part, str) else part["function"] for part in described["augment"]]
    assert [name.rsplit(".", 1)[-1] for name in names] == [
        "random_flip", "shifted_crop", "auto_augment",
    ]  # fmt: skip
    assert described["augment"][2]["policy"] == "cifar10"
    assert described["mix"].endswith(".cutmix")


def test_a_flip_may_alternate(tmp_path):
    assert recipe_of(tmp_path, "--alternating-flip").augment == (augment.alternating_flip,)


def test_rare_classes_are_made_up_for(tmp_path):
    """20, 20 and 5 images, of which 1 in 5 is for the test and none for the validation."""
    rare = np.r_[np.arange(0, 60, 3), np.arange(1, 60, 3), np.arange(2, 15, 3)]

    def balanced(way, *others):
        return recipe_of(tmp_path, "--validation", "0", "--balance", way, *others, keep=rare)

    def counts(recipe):
        return np.bincount(recipe.data.train.labels).tolist()

    weighed = balanced("weigh")
    assert counts(weighed) == [16, 16, 4]
    # 36 images: 12 of each class would make all weights 1.
    np.testing.assert_allclose(weighed.loss.keywords["class_weights"], [0.75, 0.75, 3])
    focal = balanced("weigh", "--loss", "focal")
    np.testing.assert_allclose(focal.loss.keywords["alpha"], [0.75, 0.75, 3])
    assert counts(balanced("oversample")) == [16, 16, 16]
    assert counts(balanced("undersample")) == [4, 4, 4]
    assert counts(recipe_of(tmp_path, keep=rare)) != [16, 16, 16]


def test_schedules_take_steps_and_fractions(tmp_path):
    recipe = recipe_of(
        tmp_path, "--schedule", "multi_step", "--milestones", "0.5,0.75", "--factor", "0.5",
        "--warmup", "10", "--learning-rate", "1",
    )  # fmt: skip
    rates = recipe.schedule(110)
    # The warm-up takes 10 steps, and half of the remaining 100 are done at step 60.
    assert [float(rates(step)) for step in (59, 60, 85)] == [1, 0.5, 0.25]


def test_momentum_cycles_with_one_cycle_unless_it_is_given(tmp_path):
    options = ["--schedule", "one_cycle", "--optimizer", "sgd", "--batch-size", "10"]
    momentum = recipe_of(tmp_path, *options).optimizer.keywords["momentum"]
    steps = 9  # two epochs of the 44 images that are left to train on
    expected = one_cycle.one_cycle_momentum(steps)
    for step in range(steps):
        assert momentum(step) == expected(step)
    assert describe(momentum)["total_steps"] == steps
    assert recipe_of(tmp_path, *options, "--momentum", "0.5").optimizer.keywords["momentum"] == 0.5


@pytest.mark.parametrize(("warmup", "every"), [(0, 3), (6, 1), (6, 4)])
def test_momentum_is_low_where_the_rate_is_high(tmp_path, warmup, every):
    """What SGD keeps after each step that moves the parameters, beside the rates of the run."""
    recipe = recipe_of(
        tmp_path, "--schedule", "one_cycle", "--optimizer", "sgd", "--batch-size", "1", "--warmup",
        warmup, "--accumulate", every,
    )  # fmt: skip
    steps = 2 * len(recipe.data.train)
    tx, params = recipe.optimizer(recipe.schedule(steps)), jnp.zeros(1)
    state, update, momenta = tx.init(params), jax.jit(tx.update), []
    for step in range(steps):
        _, state = update(params, state, params)
        if (step + 1) % every == 0:
            momenta.append(float(optax.tree.get(state, "hyperparams")["decay"]))
    cycle, counted = (
        one_cycle.one_cycle_momentum(steps - warmup),
        range(0, steps - every + 1, every),
    )
    expected = [cycle(max(step - warmup, 0)) for step in counted]
    np.testing.assert_allclose(momenta, expected, rtol=1e-6)
    rates = [float(recipe.schedule(steps)(step)) for step in counted]
    assert np.argmin(momenta) == np.argmax(rates)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_every_schedule_has_a_name_and_is_drawn(schedule, tmp_path, monkeypatch, capsys):
    needed = {"multi_step": ["--milestones", "0.5"], "cosine_restarts": ["--period", "0.25"]}
    path = tmp_path / "schedule.png"
    arguments = ["--schedule", schedule, *needed.get(schedule, []), "--steps", "50", "--out", path]
    monkeypatch.setattr(sys, "argv", ["cnn-jax", "schedule", *map(str, arguments)])
    assert cli.call(cli.cnn_jax) == 0
    assert path.read_bytes()[:4] == b"\x89PNG"
    assert "learning rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--power", "2"], r"`power` \(=2.0\) is not an option of cosine: leave it out or choose"),
        (["--gamma", "2"], r"`gamma` \(=2.0\) is not an option of cross_entropy"),
        (["--optimizer", "lion", "--momentum", "0.9"], r"`momentum` \(=0.9\) is not an option of"),
        (["--optimizer", "muon", "--freeze", "fc*"], r"`optimizer` \(=muon\) does not take --free"),
    ],
)
def test_options_that_do_not_go_together_are_told(tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        recipe_of(tmp_path, *arguments)


def test_commands_before_a_training(tmp_path, monkeypatch, capsys):
    images, labels = scans(60)
    np.savez(tmp_path / "scans.npz", x_train=images, y_train=labels)
    data = ["--data", str(tmp_path / "scans.npz"), "--model", "mlp_512_256", "--batch-size", "16"]

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["cnn-jax", *map(str, arguments)])
        code = cli.call(cli.cnn_jax)
        return code, capsys.readouterr()

    picture = tmp_path / "range.png"
    code, said = call("find-rate", *data, "--steps", "30", "--out", picture)
    assert code == 0
    assert "suggested: --learning-rate" in said.out
    assert picture.read_bytes()[:4] == b"\x89PNG"

    code, said = call("overfit", *data, "--steps", "30")
    assert code == 0
    assert "learnt by heart: 16 of 16 images right" in said.out
    code, said = call("overfit", *data, "--steps", "2", "--learning-rate", "1e-9")
    assert code == 1
    assert "NOT learnt" in said.out

    for out, words in (
        (tmp_path / "range.jpg", "must end in .png"),
        ("no/r.png", "no folder that"),
    ):
        code, said = call("find-rate", *data, "--out", out)
        assert code == cli.BAD_INPUT
        assert words in said.err
