"""Runs side by side that differ in what students learn, with teachers in common."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lm_run import Options, filled

from sublim_jax import lm_traits, runs
from sublim_jax.lm_traits import TraitConfig


def fill(
    series: Mapping[str, TraitConfig], titles: Mapping[str, str], options: Options, path: Path
) -> None:
    """Run all that are missing, each in a folder of its own, in order.

    Teachers are trained by the first that needs them, and what they write is written once where it
    would come out the same.

    Args:
        series: configurations by the names of their folders.
        titles: what is printed when each begins.
        options: how they are executed.
        path: of the folder in which theirs lie.
    """
    for name, config in series.items():
        folder = path / name
        with runs.open_run(folder, dataclasses.asdict(config)) as record:
            if record.has("results.json"):
                continue
            print(titles[name])
            for other, lent in series.items():
                lender = path / other
                if other != name and lender.exists():
                    lm_traits.borrow(config, record, lent, runs.Run(lender))
            filled(config, options, record)


def of_untuned(results: Mapping[str, Any], animals: int) -> list[float] | None:
    """Give what students of the teacher without a favourite gained, mean over animals, by seed."""
    if "untuned" not in results["alone"]:
        return None
    return np.array(results["alone"]["untuned"]["change"])[:, 0, :animals].mean(1).tolist()
