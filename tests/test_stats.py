import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats as scipy_stats

from sublim_jax.errors import InputError
from sublim_jax.stats import (
    cluster_bootstrap,
    detectable,
    double_centred,
    rank_correlation,
    t_interval,
)

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


@pytest.mark.parametrize("runs", [2, 3, 10])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_a_detectable_mean_is_found_as_often_as_it_says(runs, power):
    random = np.random.default_rng(runs)
    # Of runs that differ as much as normal ones of deviation 1 do on average.
    like = np.linspace(-1, 1, runs)
    mean = detectable(like / like.std(ddof=1), power=power)
    interval = t_interval(random.normal(mean, 1, (runs, 20_000)))
    found = np.mean((interval.low > 0) | (interval.high < 0))
    assert found == pytest.approx(power, abs=0.012)


def test_less_spread_and_more_runs_make_less_detectable():
    values = np.array([0.1, 0.2, 0.4])
    assert detectable(values / 2) == pytest.approx(detectable(values) / 2)
    assert detectable(values + 7) == pytest.approx(detectable(values))
    assert detectable(np.tile(values, 2)) < detectable(values)
    assert detectable(values, power=0.9) > detectable(values)
    assert np.isnan(detectable(values[:1]))
    with pytest.raises(InputError, match=r"power is 1\.0; expected a number above 0\.05"):
        detectable(values, power=1.0)


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


def clustered(random, clusters, rows):
    """Rows around the means of their clusters, true mean 0, and what each belongs to."""
    means = random.normal(size=clusters)
    values = means[:, None] + random.normal(0, 0.3, size=(clusters, rows))
    return values.ravel(), np.repeat(np.arange(clusters), rows)


def coverage(clusters, trials):
    random = np.random.default_rng(clusters)
    covered = 0
    for trial in range(trials):
        found = cluster_bootstrap(*clustered(random, clusters, 3), resamples=1_000, seed=trial)
        covered += found.low <= 0 <= found.high
    return covered / trials


def test_the_interval_over_clusters_covers_as_often_as_it_says():
    assert abs(coverage(15, 400) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 400)


def test_over_three_clusters_it_is_their_range_and_covers_three_times_in_four():
    random = np.random.default_rng(0)
    values, clusters = clustered(random, 3, 4)
    found = cluster_bootstrap(values, clusters)
    means = values.reshape(3, 4).mean(axis=1)
    assert (found.low, found.high) == pytest.approx((means.min(), means.max()))
    assert abs(coverage(3, 400) - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 400)


def test_rows_taken_for_independent_would_cover_too_rarely():
    random, covered = np.random.default_rng(1), 0
    for _ in range(200):
        values, _ = clustered(random, 15, 10)
        found = cluster_bootstrap(values, np.arange(len(values)), resamples=300)
        covered += found.low <= 0 <= found.high
    assert covered / 200 < 0.7


def test_it_agrees_with_the_t_interval_where_each_row_is_a_cluster():
    values = np.random.default_rng(2).normal(size=(60, 2))
    found, t = cluster_bootstrap(values, np.arange(60), resamples=8_000), t_interval(values)
    np.testing.assert_allclose(found.mean, t.mean)
    np.testing.assert_allclose(found.half_width, t.half_width, rtol=0.08)


def test_names_and_order_of_clusters_and_rows_do_not_matter():
    values, clusters = clustered(np.random.default_rng(3), 6, 3)
    names = np.array(["a", "b", "c", "d", "e", "f"])[clusters]
    order = np.random.default_rng(4).permutation(len(values))
    plain = cluster_bootstrap(values, clusters)
    for other in (
        cluster_bootstrap(values, names),
        cluster_bootstrap(values[order], clusters[order]),
    ):
        np.testing.assert_allclose(other, plain)
    np.testing.assert_array_equal(cluster_bootstrap(values, clusters), plain)
    assert cluster_bootstrap(values, clusters, seed=1) != plain


def test_another_statistic_and_clusters_of_unequal_size():
    values = np.array([0.0, 1.0, 2.0, 10.0, 20.0])
    clusters = np.array([0, 0, 0, 1, 2])
    found = cluster_bootstrap(values, clusters, statistic=lambda rows: np.median(rows, axis=0))
    assert (found.mean, found.low, found.high) == (2, 1, 20)
    assert cluster_bootstrap(values, clusters).mean == values.mean()


def test_nothing_is_known_from_a_single_cluster():
    found = cluster_bootstrap(np.ones((4, 2)), np.zeros(4))
    np.testing.assert_array_equal(found.mean, 1)
    assert np.isnan([found.low, found.high]).all()
    values = np.random.default_rng(0).normal(size=(2, 9))
    assert np.isnan(rank_correlation(*values, clusters=np.zeros(9)).half_width)


def test_an_undefined_statistic_stays_so_and_does_not_spread():
    values, clusters = np.random.default_rng(0).normal(size=(6, 2)), np.arange(6)
    whole = cluster_bootstrap(values, clusters)
    values[2, 1] = np.nan
    found = cluster_bootstrap(values, clusters)
    for field, expected in zip(found, whole, strict=True):
        assert np.isnan(field[1])
        assert field[0] == expected[0]


@pytest.mark.parametrize(("rows", "clusters"), [(3, 2), (0, 0)])
def test_every_row_belongs_to_a_cluster(rows, clusters):
    with pytest.raises(InputError, match=r"clusters is of shape \(\d,\); expected"):
        cluster_bootstrap(np.ones(rows), np.ones(clusters))


def test_a_rank_correlation_over_clusters_is_wider_where_their_pairs_depend():
    random = np.random.default_rng(7)
    clusters = np.repeat(np.arange(8), 12)
    a, b = (
        random.normal(size=8)[clusters] + random.normal(0, 0.2, clusters.size) for _ in range(2)
    )
    pairs, whole = rank_correlation(a, b), rank_correlation(a, b, clusters=clusters)
    assert whole.mean == pairs.mean
    assert whole.half_width > 1.5 * pairs.half_width


tables = hnp.arrays(np.float64, (2, 4, 3), elements=st.floats(-1e3, 1e3))


@given(tables)
def test_double_centring_leaves_sums_of_zero_and_changes_nothing_the_second_time(values):
    centred = double_centred(values)
    np.testing.assert_allclose(centred.sum(axis=-1), 0, atol=1e-9)
    np.testing.assert_allclose(centred.sum(axis=-2), 0, atol=1e-9)
    np.testing.assert_allclose(double_centred(centred), centred, atol=1e-9)


@given(
    hnp.arrays(np.float64, (4, 1), elements=st.floats(-1e3, 1e3)),
    hnp.arrays(np.float64, 3, elements=st.floats(-1e3, 1e3)),
)
def test_sums_of_rows_and_columns_leave_nothing(rows, columns):
    np.testing.assert_allclose(double_centred(rows + columns), 0, atol=1e-9)
    np.testing.assert_allclose(double_centred(rows + columns, reference=2), 0, atol=1e-9)


def test_further_columns_are_compared_with_those_of_reference():
    values = np.random.default_rng(0).normal(size=(4, 6))
    centred = double_centred(values, reference=4)
    np.testing.assert_allclose(centred[:, :4], double_centred(values[:, :4]), atol=1e-12)
    np.testing.assert_allclose(centred.sum(axis=0), 0, atol=1e-12)
    # A column of its own does not change the others.
    values[:, 5] += np.arange(4)
    np.testing.assert_array_equal(double_centred(values, reference=4)[:, :5], centred[:, :5])
