"""Figures of arms: who learns, how they move, and how the two go together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, STYLE, dots, looks
from sublim_jax.stats import t_interval


class Published(NamedTuple):
    """A published mean and the half width of its interval."""

    mean: float
    half_width: float


def interval_bars(
    values: Mapping[str, Float[np.ndarray, " members"]],
    *,
    published: Mapping[str, Published],
    published_label: str,
    xlabel: str,
    title: str,
    chance: float | None = None,
) -> Figure:
    """Draw a bar for each arm: mean and 95 % interval over members, every member, the literature.

    Args:
        values: one value for each member, by arm, drawn from top to bottom.
        published: what others have measured, by arm, for some of the arms.
        published_label: who they are.
        xlabel: the quantity with its unit.
        title: the title.
        chance: where to draw a line for guessing, if anywhere.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.62 * len(values) + 1.4), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for row, (look, members) in enumerate(
            zip(looks(list(values)).values(), values.values(), strict=True)
        ):
            _bar(axes, row, members, look.color)
        rows = {name: row for row, name in enumerate(values)}
        there = [name for name in published if name in rows]
        if there:
            axes.errorbar(
                [published[name].mean for name in there],
                [rows[name] + 0.34 for name in there],
                xerr=[published[name].half_width for name in there],
                fmt="D",
                ms=4.5,
                color="black",
                capsize=2,
                lw=1,
                label=published_label,
            )
        if chance is not None:
            axes.axvline(chance, color=GREY, lw=1, ls=":", label="chance")
        axes.errorbar([], [], xerr=[], fmt="none", ecolor="black", capsize=4, label="95 % interval")
        axes.plot([], [], "o", ms=3, color=GREY, alpha=0.7, label="one member")
        axes.set(yticks=range(len(values)), yticklabels=list(values), xlabel=xlabel, xlim=(0, 1.0))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        axes.invert_yaxis()
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _bar(axes: Axes, row: int, members: Float[np.ndarray, " members"], color: str) -> None:
    interval = t_interval(members)
    axes.barh(row, interval.mean, height=0.52, color=color, alpha=0.75)
    if len(members) > 1:
        axes.errorbar(
            interval.mean, row, xerr=interval.half_width, fmt="none", ecolor="black", capsize=4
        )
    # Spread over the height of the bar so that equal values stay apart.
    spread = row + np.linspace(-0.17, 0.17, len(members))
    axes.plot(members, spread, "o", ms=3, mec="white", mew=0.4, color=GREY, alpha=0.7)
    axes.annotate(
        f"{interval.mean:.3f}",
        (max(np.nanmax([interval.high, members.max()]), interval.mean), row),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
    )


class Panel(NamedTuple):
    """One panel of curves.

    Attributes:
        ylabel: the quantity with its unit.
        curves: by arm, one curve for each member, ``[members, steps]``.
        levels: where to draw labelled horizontal lines.
        limits: ends of the vertical axis, None where the curves decide.
    """

    ylabel: str
    curves: Mapping[str, Float[np.ndarray, "members steps"]]
    levels: Mapping[str, float]
    limits: tuple[float | None, float | None] = (None, None)


def curve_panels(
    steps: Sequence[int],
    panels: Sequence[Panel],
    *,
    names: Sequence[str],
    xlabel: str,
    title: str,
) -> Figure:
    """Draw mean curves with their 95 % band over members, one panel for each quantity.

    Args:
        steps: where the curves were observed.
        panels: the quantities, two in a row.
        names: all arms of the run, so that each keeps its colour from figure to figure.
        xlabel: what the steps are.
        title: the title.
    """
    look_of = looks(names)
    with mpl.rc_context(STYLE):
        rows = -(-len(panels) // 2)
        figure = Figure(figsize=(9.0, 2.9 * rows + 1.0), layout="constrained")
        grid = figure.subplots(rows, 2, sharex=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            for name, curves in panel.curves.items():
                look = look_of[name]
                interval = t_interval(curves)
                axes.plot(steps, interval.mean, look.dashes, color=look.color, label=name)
                axes.fill_between(
                    steps, interval.low, interval.high, color=look.color, alpha=0.18, lw=0
                )
            for label, level in panel.levels.items():
                axes.axhline(level, color=GREY, lw=1, ls=":")
                axes.text(
                    *(1, level, label),
                    transform=axes.get_yaxis_transform(),
                    ha="left",
                    va="center",
                    fontsize=8,
                    color=GREY,
                )
            axes.set_ylim(*panel.limits)
            axes.set_ylabel(panel.ylabel)
        for axes in grid[-1]:
            axes.set_xlabel(xlabel)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles = grid.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


class Cloud(NamedTuple):
    """Points of one panel: by arm, one value for each member."""

    xlabel: str
    points: Mapping[str, Float[np.ndarray, " members"]]


def scatter_panels(
    clouds: Sequence[Cloud],
    heights: Mapping[str, Float[np.ndarray, " members"]],
    *,
    names: Sequence[str],
    ylabel: str,
    title: str,
) -> Figure:
    """Draw one point for each member and arm, in panels that share their vertical axis.

    Args:
        clouds: a panel each, the horizontal values.
        heights: the vertical values, the same in all panels.
        names: all arms of the run, so that each keeps its colour from figure to figure.
        ylabel: the vertical quantity with its unit.
        title: the title.
    """
    look_of = looks(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(clouds) + 0.8, 4.3), layout="constrained")
        grid = figure.subplots(1, len(clouds), sharey=True, squeeze=False)[0]
        for axes, cloud in zip(grid, clouds, strict=True):
            for name, points in cloud.points.items():
                dots(axes, points, heights[name], look_of[name], name)
            axes.set_xlabel(cloud.xlabel)
        grid[0].set_ylabel(ylabel)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure
