"""Intervals over training runs: the run is the unit, never the test image."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


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


def rank_correlation(
    a: Float[np.ndarray, " pairs"],
    b: Float[np.ndarray, " pairs"],
    *,
    confidence: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
) -> Interval:
    """Give Spearman's rank correlation and its percentile bootstrap interval over the pairs.

    Args:
        a: one value for each pair, for instance a distance for each setting.
        b: the other one.
        confidence: coverage of the interval.
        resamples: draws of the bootstrap.
        seed: of these draws.

    Returns:
        The interval; NaN where there are fewer than three pairs without NaN, or one side is
        constant. ``mean`` is the correlation itself.
    """
    pairs = np.stack([np.asarray(a, np.float64), np.asarray(b, np.float64)])
    pairs = pairs[:, ~np.isnan(pairs).any(axis=0)]
    if pairs.shape[1] < 3:
        return Interval(*np.full(3, np.nan))
    count = pairs.shape[1]
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    found = _spearman(pairs[:, drawn])
    sound = found[~np.isnan(found)]  # a resample of one setting alone has no correlation
    ends = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.quantile(sound, ends) if len(sound) else np.full(2, np.nan)
    return Interval(_spearman(pairs), low, high)


def _spearman(pairs: Float[np.ndarray, "2 ... pairs"]) -> np.ndarray:
    from scipy import stats as scipy_stats

    ranks = scipy_stats.rankdata(pairs, axis=-1)
    ranks -= ranks.mean(axis=-1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=-1).prod(axis=0))
    return np.where(
        lengths > 0, ranks.prod(axis=0).sum(axis=-1) / np.maximum(lengths, 1e-300), np.nan
    )
