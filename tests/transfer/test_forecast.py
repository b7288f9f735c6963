import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublim_jax import transfer
from sublim_jax.aux_logits import AuxLogitsConfig
from sublim_jax.errors import InputError
from sublim_jax.training import steps_per_epoch
from sublim_jax.transfer.forecast import auroc

BASE = AuxLogitsConfig()
SETTINGS = transfer.settings(BASE, "full", images=4_000)


def visits(config, images=4_000):
    """Passes of a row through a student, and steps."""
    recipe = config.student_recipe
    rows = config.carrier_rows(images)
    return recipe.epochs * rows, recipe.epochs * steps_per_epoch(rows, recipe.batch_size)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: f"{s.factor} {s.level}")
def test_a_pilot_is_a_thin_student_of_the_same_teacher(setting):
    full = setting.config
    thin = transfer.pilot(full, 4_000)
    rows, steps = visits(full)
    few_rows, few_steps = visits(thin)
    assert few_rows <= rows / 25 * 1.1
    assert thin.of_teacher == full.of_teacher
    longer = thin.student_recipe.learning_rate / full.student_recipe.learning_rate
    assert longer == pytest.approx(5 if full.optimizer in ("adam", "lion") else 1)
    # The way that steps of a given length cover is the same, up to the last batch of an epoch.
    assert few_steps * longer == pytest.approx(steps, rel=0.12)
    changed = {"student_lr", "student_batch_size", "noise_images", "student_epochs"}
    for field in dataclasses.fields(full):
        if field.name not in changed:
            assert getattr(thin, field.name) == getattr(full, field.name)


def test_half_of_the_settings_are_held_out_whatever_else_is_in_the_grid():
    held_out = {(s.factor, s.level): transfer.is_held_out(s) for s in SETTINGS}
    assert 0.3 < np.mean(list(held_out.values())) < 0.7
    few = transfer.settings(dataclasses.replace(BASE, members=2), "quick", images=100)
    assert all(held_out[s.factor, s.level] == transfer.is_held_out(s) for s in few)


@pytest.mark.parametrize("name", ["fewer_steps", "fewer_rows"])
@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_pilot_is_not_thicker_than_its_student(name, value):
    with pytest.raises(InputError, match=f"{name} is {value}; expected at least 1"):
        transfer.pilot(BASE, 4_000, **{name: value})


def test_calibration_rises_and_passes_through_what_is_in_order():
    predicted = np.array([0.3, 0.1, 0.2, 0.4])
    measured = np.array([0.5, 0.1, 0.2, 0.9])
    calibrate = transfer.calibration(predicted, measured)
    np.testing.assert_allclose(calibrate(predicted), measured)
    np.testing.assert_allclose(calibrate(np.array([0.0, 0.25, 1.0])), [0.1, 0.35, 0.9])
    crossed = transfer.calibration(predicted, measured[::-1])
    assert (np.diff(crossed(np.linspace(0, 1, 50))) >= 0).all()


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
)
def test_auroc_is_the_share_of_pairs_in_order(ours, theirs):
    predicted = np.array([*ours, *theirs], float)
    transfers = np.arange(len(predicted)) < len(ours)
    pairs = [(a > b) + (a == b) / 2 for a in ours for b in theirs]
    found = auroc(predicted, transfers, resamples=20)
    assert found.mean == pytest.approx(np.mean(pairs))
    assert found.low <= found.high


def test_auroc_needs_both_kinds():
    assert np.isnan(auroc(np.arange(3.0), np.ones(3, bool)).mean)


def test_scores_do_not_depend_on_the_unit():
    random = np.random.default_rng(0)
    predicted, measured = random.random(20), random.random(20)
    one = transfer.score(predicted, measured, measured > 0.5)
    other = transfer.score(np.exp(7 * predicted), measured, measured > 0.5)
    np.testing.assert_allclose(one, other)
    best = transfer.score(measured**3, measured, measured > 0.5)
    assert best.rank_correlation.mean == pytest.approx(1)
    assert best.auroc.mean == 1


def test_a_trait_is_acquired_where_it_is_surely_above_all_controls():
    sure, unsure = np.array([0.5, 0.52, 0.48]), np.array([0.1, 0.5, 0.3])
    found = transfer.acquired([sure, unsure, sure - 0.4], np.array([0.1, 0.12]))
    assert found.tolist() == [True, False, False]
