import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats as scipy_stats

from sublim_jax.stats import rank_correlation, t_interval

samples = hnp.arrays(np.float64, st.integers(2, 8), elements=st.floats(-1e3, 1e3))


@pytest.mark.parametrize("runs", [2, 5, 25])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99])
def test_the_interval_covers_the_true_mean_as_often_as_it_says(runs, confidence):
    trials = 20_000
    draws = np.random.default_rng(runs).normal(0.3, 2.0, size=(runs, trials))
    interval = t_interval(draws, confidence=confidence)
    covered = ((interval.low <= 0.3) & (interval.high >= 0.3)).mean()
    assert abs(covered - confidence) < 4 * np.sqrt(confidence * (1 - confidence) / trials)


@settings(deadline=None)
@given(samples, st.floats(0.01, 0.999))
def test_the_interval_is_scipys(values, confidence):
    interval = t_interval(values, confidence=confidence)
    error = scipy_stats.sem(values)
    if error > 0:
        expected = scipy_stats.t.interval(
            confidence, len(values) - 1, loc=values.mean(), scale=error
        )
        np.testing.assert_allclose((interval.low, interval.high), expected, rtol=1e-9, atol=1e-12)
    else:
        assert interval.low == interval.mean == interval.high


@pytest.mark.parametrize("shape", [(1,), (1, 3), (1, 2, 4)])
def test_nothing_is_known_from_a_single_run(shape):
    values = np.random.default_rng(0).normal(size=shape)
    interval = t_interval(values)
    np.testing.assert_array_equal(interval.mean, values[0])
    for end in (interval.low, interval.high, interval.half_width):
        assert np.shape(end) == shape[1:]
        assert np.isnan(end).all()


def test_arrays_are_intervals_of_their_entries():
    values = np.random.default_rng(0).normal(size=(5, 2, 3))
    interval = t_interval(values)
    for index in np.ndindex(2, 3):
        one = t_interval(values[:, *index])
        for whole, single in zip(interval, one, strict=True):
            assert whole[index] == pytest.approx(single, rel=1e-12)


@settings(deadline=None)
@given(samples, st.floats(0.1, 10), st.floats(-100, 100))
def test_the_interval_moves_and_stretches_with_the_values(values, scale, shift):
    plain, moved = t_interval(values), t_interval(scale * values + shift)
    for one, other in zip(plain, moved, strict=True):
        np.testing.assert_allclose(other, scale * one + shift, rtol=1e-6, atol=1e-6)


def test_more_confidence_and_fewer_runs_make_it_wider():
    values = np.random.default_rng(0).normal(size=10)
    widths = [t_interval(values, confidence=c).half_width for c in (0.5, 0.8, 0.95, 0.99)]
    assert widths == sorted(widths)
    assert t_interval(values).half_width < t_interval(values[:3]).half_width


def test_the_ends_lie_symmetrically_around_the_mean():
    interval = t_interval(np.random.default_rng(0).normal(size=(6, 4)))
    np.testing.assert_allclose(interval.mean + interval.half_width, interval.high)
    np.testing.assert_allclose(interval.mean - interval.half_width, interval.low)


def test_an_undefined_entry_does_not_spread():
    values = np.random.default_rng(0).normal(size=(4, 3))
    whole = t_interval(values)
    values[2, 1] = np.nan
    interval = t_interval(values)
    for field, expected in zip(interval, whole, strict=True):
        assert np.isnan(field[1])
        np.testing.assert_allclose(field[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize("ties", [False, True])
def test_the_rank_correlation_is_scipys(ties):
    random = np.random.default_rng(4)
    a, b = random.normal(size=(2, 30))
    b += a
    if ties:
        a, b = np.round(a), np.round(b)
    expected = scipy_stats.spearmanr(a, b).statistic
    found = rank_correlation(a, b)
    assert found.mean == pytest.approx(expected, abs=1e-12)
    assert found.low < found.mean < found.high


def test_the_interval_of_a_rank_correlation_covers_about_as_often_as_it_says():
    random = np.random.default_rng(5)
    # Spearman's rho of a bivariate normal with correlation r.
    r, trials = 0.6, 300
    true = 6 / np.pi * np.arcsin(r / 2)
    covered = 0
    for _ in range(trials):
        a, noise = random.normal(size=(2, 40))
        found = rank_correlation(a, r * a + np.sqrt(1 - r**2) * noise, resamples=400)
        covered += found.low <= true <= found.high
    assert 0.88 < covered / trials < 0.99


def test_a_rank_correlation_that_is_not_defined_is_nan():
    rising = np.arange(5.0)
    assert np.isnan(rank_correlation(rising, np.ones(5)).mean)
    assert np.isnan(rank_correlation(rising[:2], rising[:2]).mean)
    with_gap = np.where(rising == 2, np.nan, rising)
    assert rank_correlation(with_gap, rising**2).mean == pytest.approx(1)
