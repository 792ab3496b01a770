"""Reduce-on-plateau against PyTorch's, early stopping against its sentence, both as records."""

import json
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch

from cnn_jax.errors import InputError
from cnn_jax.plateau import Plateau, Stopping, keeps_best, lower_on_plateau, stop_early


def noisy_losses(count=200, *, seed=0):
    """Losses that fall, get stuck, jump, and are NaN once."""
    rng = np.random.default_rng(seed)
    losses = np.exp(-np.arange(count) / 30) + 0.05 * rng.standard_normal(count) + 0.3
    losses[40:60] = losses[40]
    losses[77] = np.nan
    return [float(loss) for loss in losses]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"factor": 0.5, "patience": 5}, {"factor": 0.5, "patience": 5}),
        ({"patience": 0, "factor": 0.9}, {"patience": 0, "factor": 0.9}),
        ({"patience": 2, "cooldown": 7}, {"patience": 2, "cooldown": 7}),
        ({"patience": 3, "floor": 0.03}, {"patience": 3, "min_lr": 0.03 * 0.2}),
        (
            {"patience": 3, "threshold": 0.01, "relative": False},
            {"patience": 3, "threshold": 0.01, "threshold_mode": "abs"},
        ),
        ({"patience": 4, "mode": "max"}, {"patience": 4, "mode": "max"}),
        (
            {"patience": 4, "mode": "max", "threshold": 0.02, "relative": False},
            {"patience": 4, "mode": "max", "threshold": 0.02, "threshold_mode": "abs"},
        ),
    ],
)
def test_two_hundred_evaluations_are_pytorchs(ours, theirs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.2)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0, **theirs)
    state, rates, expected = Plateau(), [], []
    for loss in noisy_losses():
        state = lower_on_plateau(state, loss, **ours)
        scheduler.step(loss)
        rates.append(0.2 * state.scale)
        expected.append(optimizer.param_groups[0]["lr"])
    assert len(set(expected)) > 2
    np.testing.assert_allclose(rates, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("values", "options", "stops_after", "best_step"),
    [
        ([3, 2, 1, 2, 2, 0], {"patience": 2}, 4, 2),
        ([3, 2, 1, 2, 0.5, 1, 1], {"patience": 2}, 6, 4),
        ([1, 2], {"patience": 1}, 1, 0),
        ([3, 2, 1, 0], {"patience": 1}, None, 3),
        ([1, 1, 1], {"patience": 2}, 2, 0),
        ([1, 0.95, 0.91, 0.8], {"patience": 2, "min_delta": 0.1}, 2, 0),
        ([0.5, 0.6, 0.4, 0.5], {"patience": 2, "mode": "max"}, 3, 1),
        ([float("nan"), 1, float("nan"), float("nan")], {"patience": 2}, 3, 1),
        ([float("nan"), float("nan")], {"patience": 2}, 1, None),
    ],
)
def test_early_stopping(values, options, stops_after, best_step):
    state, stopped = Stopping(), None
    for step, value in enumerate(values):
        state = stop_early(state, value, step=step, **options)
        if state.stop:
            stopped = step
            break
    assert stopped == stops_after
    assert state.best_step == best_step


def test_a_stopped_run_stays_stopped():
    state = Stopping(best=1.0, best_step=3, waited=5, stop=True)
    assert stop_early(state, 0.5, step=9, patience=5).stop


def test_records_come_back_from_a_file_and_go_on_as_if_nothing_had_happened():
    lower = partial(lower_on_plateau, factor=0.7, patience=3, cooldown=2)
    stop = partial(stop_early, patience=50)
    whole, resumed = (Plateau(), Stopping()), (Plateau(), Stopping())
    for step, loss in enumerate(noisy_losses()):
        whole = lower(whole[0], loss), stop(whole[1], loss, step=step)
        saved = json.dumps([asdict(record) for record in resumed])
        plateau, stopping = json.loads(saved)
        resumed = (
            lower(Plateau(**plateau), loss),
            stop(Stopping(**stopping), loss, step=step),
        )
        assert resumed == whole
    assert 0 < whole[0].scale < 1


@pytest.mark.parametrize(("mode", "kept"), [("min", [1, 4, 5]), ("max", [1, 2])])
def test_the_best_is_the_latest_of_equals_and_never_nan(mode, kept):
    found, best = [], None
    for step, value in enumerate([np.nan, 2.0, 3.0, np.nan, 1.0, 1.0, 2.0]):
        if keeps_best(value, best, mode=mode):
            found, best = [*found, step], value
    assert found == kept
    # What was saved by a run whose first value was NaN.
    assert keeps_best(1.0, np.nan, mode=mode)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (partial(lower_on_plateau, Plateau(), 1.0, factor=1.0), r"`factor` \(=1.0\) must be"),
        (partial(lower_on_plateau, Plateau(), 1.0, factor=0.0), r"`factor` \(=0.0\) must be"),
        (partial(lower_on_plateau, Plateau(), 1.0, patience=-1), r"`patience` \(=-1\) must be"),
        (partial(lower_on_plateau, Plateau(), 1.0, cooldown=0.5), r"`cooldown` \(=0.5\) must be"),
        (partial(lower_on_plateau, Plateau(), 1.0, floor=2), r"`floor` \(=2\) must be"),
        (
            partial(lower_on_plateau, Plateau(best=1.0), 1.0, threshold=-1.0),
            r"`threshold` \(=-1.0\) must not be negative",
        ),
        (partial(lower_on_plateau, Plateau(), 1.0, mode="up"), r"`mode` \(=up\) must be min or"),
        (partial(stop_early, Stopping(), 1.0, step=0, patience=0), r"`patience` \(=0\) must be"),
        (
            partial(stop_early, Stopping(), 1.0, step=0, min_delta=-0.1),
            r"`min_delta` \(=-0.1\) must not be negative: 0 counts every improvement",
        ),
    ],
)
def test_bad_options_are_named(call, words):
    with pytest.raises(InputError, match=words):
        call()
