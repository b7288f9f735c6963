"""Figures of what comes through channels, against how much goes in."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, STYLE, looks, panels, whiskers

COUNTS = 8  # at the axis at most


class Curve(NamedTuple):
    """A quantity of one channel.

    Attributes:
        x: how much goes in, ascending.
        values: ``[places, runs]``, one value for each repetition.
    """

    x: Float[np.ndarray, " places"]
    values: Float[np.ndarray, "places runs"]


class Panel(NamedTuple):
    """A panel: a curve for each channel, and marks on its axis.

    Attributes:
        curves: by channel.
        xlabel: what goes in.
        ylabel: what comes through.
        marks: by channel a place on the axis.
        meaning: of the marks.
    """

    curves: Mapping[str, Curve]
    xlabel: str
    ylabel: str
    marks: Mapping[str, float] = {}
    meaning: str = ""


def channels_figure(drawn: Sequence[Panel], *, title: str) -> Figure:
    """Draw what comes through each channel: means with 95 % t intervals over repetitions.

    Args:
        drawn: the panels.
        title: what the figure shows.
    """
    names = list(dict.fromkeys(name for panel in drawn for name in panel.curves))
    look = looks(names)
    figure, grid = panels(len(drawn), title=title, size=(5.0, 4.2))
    with mpl.rc_context(STYLE):
        for axes, panel in zip(grid, drawn, strict=True):
            axes.axhline(0, color=GREY, lw=0.8)
            for place, (name, curve) in enumerate(panel.curves.items()):
                # Points that lie above each other are set apart a little.
                whiskers(axes, curve.x * (1 + 0.04 * place), curve.values, look[name], name)
            for name, x in panel.marks.items():
                axes.axvline(x, color=look[name].color, ls=":", lw=1.2)
            axes.set(xscale="log", xlabel=panel.xlabel, ylabel=panel.ylabel)
            _name_counts(axes, np.unique(np.concatenate([c.x for c in panel.curves.values()])))
            if panel.meaning:
                axes.set_title(panel.meaning, loc="left", fontsize=8, color=GREY)
        handles = {
            label: handle
            for axes in grid
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    return figure


def _name_counts(axes: Axes, x: Float[np.ndarray, " places"]) -> None:
    """Where the places are a few counts, let these stand at the axis and not powers of ten."""
    if len(x) <= COUNTS and np.all(x == np.round(x)):
        axes.set_xticks(x, [f"{count:,.0f}" for count in x])
        axes.minorticks_off()
