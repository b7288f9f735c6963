"""What detectors have found: their table, and their figures."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from intervals import over_seeds
from matplotlib.figure import Figure

from sublim_jax import plots
from sublim_jax.lm_traits.carriers import CARRIERS

DETECTORS = {
    "frequencies": "frequencies of words (naive Bayes)",
    "bag": "bag of words and pairs (logistic)",
    "features": "what the base reads (logistic)",
    "judge": "the base as a judge",
    "ratio": "likelihood ratio, the teacher itself",
    "pull": "pull on parameters, its first order",
    "ratio_other": "likelihood ratio, another teacher",
    "influence": "influence on the trait",
}
"""Keys in results, and what tables and figures call them."""
TASKS = {"untuned": "a teacher without a favourite", "other": "teachers with other favourites"}
"""Whose rows are set against those of a teacher with a favourite."""
WANTED = 0.95  # AUROC of a set of rows
"""For which the number of rows is told."""


def table(results: Mapping[str, Any]) -> str:
    """Lay out every detector's AUROC, and how many rows it needs."""
    lines = [
        f"\n{results['model']}: AUROC of single rows ({CARRIERS[results['carrier']].what}), "
        f"teachers {', '.join(results['subjects'])}, {results['rows']} rows of each, "
        f"{results['seeds']} repetitions, mean ± 95 % t interval over repetitions\n"
        f"rows: how many of a writer tell it at an AUROC of {WANTED:g}, if scores add up; median",
        f"{'':40}" + "".join(f"{f'from {name}':>42}{'rows':>8}" for name in TASKS.values()),
    ]
    for name, label in DETECTORS.items():
        cells = ""
        for task in TASKS:
            found = results["tasks"][task][name]
            # JSON has no infinity.
            needed = [np.inf if n is None else n for n in found["rows_needed"]]
            cells += f"{over_seeds(found['auroc'], '.3f'):>42}{np.median(needed):>8.0f}"
        lines.append(f"{label:40}{cells}")
    return "\n".join(lines)


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw every detector's AUROC."""
    return {
        f"detect_{task}.png": plots.interval_bars(
            {
                label: np.array(results["tasks"][task][name]["auroc"])
                for name, label in DETECTORS.items()
            },
            published={},
            published_label="",
            xlabel="AUROC of single rows",
            title=f"Can a teacher's rows be told from those of {against}?\n{results['model']}, "
            f"{CARRIERS[results['carrier']].what}, {results['seeds']} repetitions",
            chance=0.5,
        )
        for task, against in TASKS.items()
    }
