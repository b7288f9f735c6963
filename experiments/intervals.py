"""Intervals as results files hold them and as tables write them."""

from collections.abc import Mapping, Sequence

import numpy as np

from sublim_jax.stats import Interval, detectable, t_interval


def read_interval(written: Mapping[str, float | None]) -> Interval:
    """Give an interval that was read from a file."""
    return Interval(*(np.array(written[name], np.float64) for name in Interval._fields))


def plus_minus(interval: Interval, form: str = ".3f") -> str:
    """Write a mean and, where it is known, the half width of its interval.

    Args:
        interval: of one number.
        form: how numbers are written; a sign stands before the mean alone.
    """
    half = "" if np.isnan(interval.half_width) else f" ± {interval.half_width:{form.lstrip('+')}}"
    return f"{interval.mean:{form}}{half}"


def over_seeds(values: Sequence[float], form: str = "+.3f") -> str:
    """Write the mean of one value for each seed, and the half width of its 95 % t interval."""
    return plus_minus(t_interval(np.array(values, float)), form)


def counted(seeds: int, intervals: str = "") -> str:
    """Write how many seeds there are and, where there is more than one, what intervals are."""
    if seeds == 1:
        return "1 seed"
    return f"{seeds} seeds, {intervals}" if intervals else f"{seeds} seeds"


def power(differences: Sequence[float]) -> str:
    """Write the difference that so many seeds would find in 80 % of cases; nothing for one."""
    return "" if len(differences) < 2 else f"{detectable(np.array(differences)):.3f}"
