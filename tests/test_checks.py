"""What is looked at before a training."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from cnn_jax import augment, models, rate_range, rundir, schedules
from cnn_jax.checks import check_batch
from cnn_jax.data import array_source, make_dataset
from cnn_jax.data.statistics import Normalization
from cnn_jax.errors import InputError
from cnn_jax.overfit import overfit_batch
from cnn_jax.recipe import describe, staged
from cnn_jax.train import run
from cnn_jax.transfer import Stage
from tests.conftest import scans

GRAY = Normalization(mean=(0.3,), std=(0.2,))


def batch_of(count=12, **changes):
    images, labels = scans(count)
    return {"image": images, "label": labels, **changes}


def test_a_sound_batch_is_described():
    images, _ = scans(12)
    told = check_batch(batch_of(), num_classes=3, normalization=GRAY)
    pixels = (images / 255 - 0.3) / 0.2
    assert told == (
        f"12 images of 8x8x1, normalised to mean {pixels.mean():.2f} and deviation "
        f"{pixels.std():.2f}, labels of 3 of 3 classes"
    )


def test_pixels_that_were_divided_twice_are_noticed():
    faint = batch_of(image=(scans(12)[0] / 255 / 255).astype(np.float32))
    told = check_batch(faint, num_classes=3, normalization=GRAY)
    assert told.endswith("usual are 0 and 1: check the normalisation")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"image": np.zeros((12, 8, 8), np.uint8)},
            r"`image` \(of shape .* must be \[N, H, W, C\]",
        ),
        ({"image": np.zeros((12, 1, 8, 8), np.uint8)}, r"must have the 1 channels .* transpose it"),
        ({"image": np.full((12, 8, 8, 1), 255.0)}, r"from 255 to 255\) must be uint8 or lie"),
        ({"image": np.full((12, 8, 8, 1), np.nan)}, r"must be uint8 or lie between 0 and 1"),
        ({"label": np.full(12, 3)}, r"`labels` \(from 3 to 3\) must lie between 0 and 2"),
        ({"label": np.zeros(11, int)}, r"must be integers of shape \(12,\)"),
    ],
)
def test_a_wrong_batch_is_refused(change, words):
    with pytest.raises(InputError, match=words):
        check_batch(batch_of(**change), num_classes=3, normalization=GRAY)


def test_a_network_learns_a_batch_by_heart_and_a_broken_one_does_not(recipe):
    """Shuffled labels are learnt, too; without a learning rate nothing is."""
    sound = overfit_batch(recipe, steps=40)
    assert sound.learnt
    assert sound.losses[-1] < 0.1 < sound.losses[0]
    still = replace(recipe, schedule=partial(schedules.constant, learning_rate=1e-9))
    broken = overfit_batch(still, steps=40)
    assert not broken.learnt
    assert broken.losses[-1] == pytest.approx(broken.losses[0], rel=1e-3)
    with pytest.raises(InputError, match=r"`steps` \(=0\) must be a whole number"):
        overfit_batch(recipe, steps=0)


def test_the_suggested_rate_trains_and_ten_thousand_times_less_does_not(recipe):
    found = rate_range.range_test(recipe, low=1e-5, high=100.0, steps=60)
    np.testing.assert_allclose(found.rates[:2], [1e-5, 1e-5 * 1e7 ** (1 / 59)], rtol=1e-5)
    assert len(found.rates) == len(found.losses)
    outcomes = [
        overfit_batch(
            replace(recipe, schedule=partial(schedules.constant, learning_rate=rate)), steps=60
        )
        for rate in (found.suggestion, found.suggestion / 1e4)
    ]
    assert outcomes[0].learnt
    assert not outcomes[1].learnt


def test_the_range_test_stops_where_descent_must_burst(recipe):
    """Labels at random: steps that learn one batch by heart ruin the next one."""
    images, _ = scans(100)
    labels = np.random.default_rng(0).integers(0, 3, 100)
    data = make_dataset(array_source(images, labels, name="noise"), name="noise", validation=10)
    plain = replace(recipe, data=data, model=models.create_model("mlp", num_classes=3, widths=()))
    found = rate_range.range_test(plain, low=1e-4, high=1e4, steps=60)
    assert found.rates[-1] < 1e4
    assert found.losses[-1] <= 4 * found.losses.min()
    assert found.suggestion == found.rates[found.losses.argmin()] / 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"low": 0.0}, r"`low` \(=0.0\) must be positive"),
        ({"low": 1.0, "high": 0.5}, r"`high` \(=0.5\) must be above `low` \(=1.0\)"),
        ({"steps": 5}, r"`steps` \(=5\) must be a whole number of at least 10"),
    ],
)
def test_wrong_ranges_are_refused(recipe, options, words):
    with pytest.raises(InputError, match=words):
        rate_range.range_test(recipe, **options)


def test_a_loss_that_only_rises_suggests_nothing():
    with pytest.raises(InputError, match="the loss rises from the lowest rate on: choose a lower"):
        rate_range.suggested([0.1, 1.0], [2.0, 3.0])


def _in_two_stages(recipe, **schedule):
    stages = (Stage("head", 1, (("head", 1.0),)), Stage("all", 1, (("*", 1.0),)))
    warm = partial(schedules.warmup, schedule=recipe.schedule, **schedule)
    return staged(replace(recipe, schedule=warm), stages)


# What is seen where the engine is made, where the first steps are traced, and in the first batch.
REFUSED_LATE = {
    "mode": (lambda recipe: recipe, {"mode": "pmpa"}, r"`mode` \(='pmpa'\) is unknown: did you"),
    "stage": (
        partial(_in_two_stages, steps=8),
        {},
        r"`steps` \(=8\) of the warm-up must not exceed",
    ),
    "augment": (
        lambda recipe: replace(recipe, augment=(partial(augment.shifted_crop, padding=-1),)),
        {},
        r"`padding` \(=-1\)",
    ),
    "mix": (
        lambda recipe: replace(recipe, mix=partial(augment.mixup, alpha=-1.0)),
        {"mode": "pmap"},
        r"`alpha` \(=-1.0\)",
    ),
    "batch": (
        lambda recipe: replace(recipe, normalization=Normalization(mean=(0.5,) * 3, std=(1,) * 3)),
        {},
        "must have the 3 channels of the normalisation",
    ),
}


@pytest.mark.parametrize("case", REFUSED_LATE)
def test_a_recipe_that_is_refused_late_touches_nothing_either(recipe, tmp_path, case):
    """No file of a run that is there, with or without leave to overwrite it; and none is made."""
    change, options, words = REFUSED_LATE[case]
    wrong, there = change(recipe), tmp_path / "there"
    with rundir.opened_run(there, {"recipe": describe(wrong)}, resume=False, overwrite=False):
        (there / rundir.METRICS).write_text("precious")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for workdir, how in ((tmp_path / "new", {}), (there, {"overwrite": True})):
        with pytest.raises(InputError, match=words):
            run(wrong, workdir, quiet=True, **how, **options)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
