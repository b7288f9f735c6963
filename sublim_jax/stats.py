"""Intervals over training runs: the run is the unit, never the test image."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats as scipy_stats


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
    values = np.asarray(values, dtype=np.float64)
    runs = values.shape[0]
    mean = values.mean(axis=0)
    if runs < 2:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    half = scipy_stats.t.ppf((1 + confidence) / 2, runs - 1) * scipy_stats.sem(values, axis=0)
    return Interval(mean, mean - half, mean + half)
