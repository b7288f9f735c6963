"""Intervals as results files hold them and as tables write them."""

from collections.abc import Mapping

import numpy as np

from sublim_jax.stats import Interval


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
