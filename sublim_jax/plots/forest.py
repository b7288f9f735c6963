"""Forest plots: an estimate with its interval in every line."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, PALETTE, STYLE, Look
from sublim_jax.stats import t_interval

MAIN, BESIDE = Look(PALETTE[0], "s", "-"), Look(GREY, "o", "--")
"""How what a line is about is drawn, and what it is compared with."""
APART = 0.16


class Panel(NamedTuple):
    """A quantity.

    Attributes:
        xlabel: its name with its unit.
        values: by line, one value for each seed; a line may have none.
        beside: what some lines are compared with, likewise.
    """

    xlabel: str
    values: Mapping[str, Float[np.ndarray, " seeds"]]
    beside: Mapping[str, Float[np.ndarray, " seeds"]] = {}


def forest_figure(drawn: Sequence[Panel], *, main: str, beside: str = "", title: str) -> Figure:
    """Draw means with 95 % t intervals over seeds, all panels with the same lines.

    Args:
        drawn: the panels; the first names the lines.
        main: what lines are about.
        beside: what they are compared with.
        title: what the figure shows.
    """
    lines = list(drawn[0].values)
    size = 4.2 * len(drawn) + 1.6, 0.34 * len(lines) + 1.7
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
        for axes, panel in zip(grid, drawn, strict=True):
            axes.axvline(0, color=GREY, lw=0.8)
            for place, name in enumerate(lines):
                if name in panel.beside:
                    _whisker(axes, panel.beside[name], place + APART, BESIDE, beside)
                if name in panel.values:
                    moved = APART if panel.beside else 0
                    _whisker(axes, panel.values[name], place - moved, MAIN, main)
            axes.set_xlabel(panel.xlabel)
        grid[0].set_yticks(range(len(lines)), lines)
        grid[0].set_ylim(len(lines) - 0.4, -0.6)
        legend = {
            label: handle
            for axes in grid
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if len(legend) > 1:
            figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _whisker(
    axes: Axes, values: Float[np.ndarray, " seeds"], y: float, look: Look, label: str
) -> None:
    found = t_interval(np.asarray(values, np.float64))
    half = float(found.half_width)
    axes.errorbar(
        *(found.mean, y),
        xerr=None if np.isnan(half) else half,
        fmt=look.marker,
        color=look.color,
        ms=5,
        capsize=2,
        label=label,
    )
