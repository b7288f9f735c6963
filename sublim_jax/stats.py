"""Intervals over training runs: the run is the unit, never the test image."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from sublim_jax.errors import InputError

SPREADS = 4_000  # quantiles over which an expectation is taken


class Interval(NamedTuple):
    """A mean over runs with its confidence interval; each field is a number or an array."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def half_width(self) -> np.ndarray:
        """Half the length of the interval: what stands behind the ± sign."""
        return (self.high - self.low) / 2


def t_interval(values: Float[np.ndarray, "runs ..."], *, confidence: float = 0.95) -> Interval:
    """Give the mean over the first axis and its Student-t interval.

    Args:
        values: one value, or one array of values, for each independent training run.
        confidence: coverage of the interval under normal errors, between 0 and 1.

    Returns:
        The interval for the mean; with a single run its ends are NaN, for nothing is known.

    References:
        The Nature version of Cloud, Le et al. (2026) reports t intervals over training seeds.
    """
    # Imported here: it takes most of a second and 58 MB, and figures import this module.
    from scipy import stats as scipy_stats

    values = np.asarray(values, dtype=np.float64)
    runs = values.shape[0]
    mean = values.mean(axis=0)
    if runs < 2:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    half = scipy_stats.t.ppf((1 + confidence) / 2, runs - 1) * scipy_stats.sem(values, axis=0)
    return Interval(mean, mean - half, mean + half)


def detectable(
    values: Float[np.ndarray, " runs"], *, confidence: float = 0.95, power: float = 0.8
) -> float:
    """Give the mean that so many runs would tell from 0, as often as ``power`` says.

    How much runs differ is taken from the values. What a study could have found at all is
    to stand beside what it has not found.

    Args:
        values: one for each independent training run.
        confidence: of the two-sided t test, between 0 and 1.
        power: probability that it finds such a mean, above ``1 - confidence`` and below 1.

    Returns:
        The mean, positive, in the unit of the values; NaN with a single run.

    Raises:
        InputError: the power is out of range.

    References:
        Cohen (1988), Statistical Power Analysis for the Behavioral Sciences, section 2.
    """
    from scipy import optimize
    from scipy import stats as scipy_stats

    if not 1 - confidence < power < 1:
        raise InputError(
            f"power is {power}; expected a number above {1 - confidence:g} and below 1"
        )
    values = np.asarray(values, dtype=np.float64)
    free = len(values) - 1
    if free < 1:
        return float("nan")
    bound = scipy_stats.t.ppf((1 + confidence) / 2, free)
    # Where the standard deviation of runs may come out, as a share of the true one. (The noncentral
    # t distribution of scipy is NaN for some of what is needed here.)
    spreads = scipy_stats.chi.ppf((np.arange(SPREADS) + 0.5) / SPREADS, free) / np.sqrt(free)

    def lacking(shift: float) -> float:
        either = scipy_stats.norm.cdf(np.array([[shift], [-shift]]) - bound * spreads)
        return power - float(either.sum(axis=0).mean())

    shift = optimize.brentq(lacking, 0.0, 10 * bound)  # pyright: ignore[reportArgumentType]
    return float(shift * scipy_stats.sem(values))  # pyright: ignore[reportOperatorIssue]


def _mean_over_rows(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=0)


def cluster_bootstrap(
    values: Float[np.ndarray, "rows ..."],
    clusters: Shaped[np.ndarray, " rows"],
    *,
    statistic: Callable[[np.ndarray], np.ndarray] = _mean_over_rows,
    confidence: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
) -> Interval:
    """Give a statistic of rows and its bootstrap interval over clusters of rows.

    Whole clusters are drawn with replacement, each with all its rows, so that rows of a cluster may
    depend on each other in any way. The ends are percentiles moved outward by what a t interval is
    wider than a normal one: plain percentiles are too narrow for few clusters. Nothing drawn lies
    beyond the clusters themselves, though: up to about five clusters the interval of a mean is the
    range of the cluster means, which covers in 1 - 2^(1 - clusters) of all cases, .75 for three.
    Read it beside `t_interval` there, not for it.

    Args:
        values: one value, or one array of values, for each row.
        clusters: what each row belongs to, for instance its seed.
        statistic: from rows, in any order, ``[rows, ...]``, to a number or an array.
        confidence: coverage of the interval, between 0 and 1.
        resamples: draws of the bootstrap.
        seed: of these draws.

    Returns:
        The interval; ``mean`` is the statistic of all rows. With a single cluster, and where the
        statistic is not defined, the ends are NaN. Draws without a defined statistic are left out.

    Raises:
        InputError: there are no rows, or not as many clusters named as rows.

    References:
        Hesterberg (2015), What Teachers Should Know About the Bootstrap, the expanded
        percentile interval; Field and Welsh (2007), Bootstrapping clustered data.
    """
    from scipy import stats as scipy_stats

    values, clusters = np.asarray(values, np.float64), np.asarray(clusters)
    if not len(values) or clusters.shape != values.shape[:1]:
        raise InputError(
            f"clusters is of shape {clusters.shape}; expected one cluster for each of "
            f"{len(values)} rows, at least one"
        )
    names, places = np.unique(clusters, return_inverse=True)
    count, found = len(names), np.asarray(statistic(values), np.float64)[()]
    if count < 2:
        return Interval(found, np.full_like(found, np.nan), np.full_like(found, np.nan))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    # Few clusters can be drawn in few ways; each is worked out once.
    distinct, which = np.unique(drawn, axis=0, return_inverse=True)
    rows = np.arange(len(values))
    each = np.stack([statistic(values[np.repeat(rows, times[places])]) for times in distinct])
    wide = scipy_stats.t.ppf((1 + confidence) / 2, count - 1) * np.sqrt(count / (count - 1))
    tail = float(scipy_stats.norm.sf(wide))
    draws = each[which.ravel()]
    ends = np.apply_along_axis(lambda column: _quantiles(column, (tail, 1 - tail)), 0, draws)
    low, high = np.where(np.isnan(found), np.nan, ends)
    return Interval(found, low, high)


def _quantiles(values: Float[np.ndarray, " draws"], ends: tuple[float, float]) -> np.ndarray:
    sound = values[~np.isnan(values)]  # a draw of one setting alone has no correlation
    return np.quantile(sound, ends) if len(sound) else np.full(2, np.nan)


def rank_correlation(
    a: Float[np.ndarray, " pairs"],
    b: Float[np.ndarray, " pairs"],
    *,
    clusters: Shaped[np.ndarray, " pairs"] | None = None,
    confidence: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
) -> Interval:
    """Give Spearman's rank correlation and its bootstrap interval.

    Args:
        a: one value for each pair, for instance a distance for each setting.
        b: the other one.
        clusters: what each pair belongs to, for instance its seed, where pairs of a cluster depend
            on each other: the interval is then that of `cluster_bootstrap`. By default it is the
            percentile interval over the pairs.
        confidence: coverage of the interval.
        resamples: draws of the bootstrap.
        seed: of these draws.

    Returns:
        The interval; NaN where there are fewer than three pairs without NaN, or one side is
        constant; its ends are NaN for a single cluster. ``mean`` is the correlation itself.
    """
    pairs = np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    there = ~np.isnan(pairs).any(axis=0)
    pairs = pairs[:, there]
    if pairs.shape[1] < 3:
        return Interval(*np.full(3, np.nan))
    if clusters is not None:
        return cluster_bootstrap(
            pairs.T,
            np.asarray(clusters)[there],
            statistic=lambda rows: _spearman(rows.T),
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
    count = pairs.shape[1]
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = _quantiles(_spearman(pairs[:, drawn]), ends)
    return Interval(_spearman(pairs), low, high)


def _spearman(pairs: Float[np.ndarray, "2 ... pairs"]) -> np.ndarray:
    from scipy import stats as scipy_stats

    ranks = scipy_stats.rankdata(pairs, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=-1).prod(axis=0))
    return np.where(
        lengths > 0, ranks.prod(axis=0).sum(axis=-1) / np.maximum(lengths, 1e-300), np.nan
    )


def double_centred(
    values: Float[np.ndarray, "... rows columns"], *, reference: int | None = None
) -> np.ndarray:
    """Take from each value its row's and its column's mean and add the grand mean.

    What is left is the interaction: anything of the form ``a[row] + b[column]`` is gone.

    Args:
        values: tables.
        reference: so many columns, from the left, say what a row's mean and the grand mean are; by
            default all do. Further columns are then compared with them.

    Returns:
        The tables; in the reference columns all rows and columns sum to 0, in others the columns.

    References:
        The interaction effects of a two-way layout with one observation in each cell.
    """
    values = np.asarray(values, np.float64)
    rows = values[..., :reference].mean(axis=-1, keepdims=True)
    return values - rows - (values - rows).mean(axis=-2, keepdims=True)
