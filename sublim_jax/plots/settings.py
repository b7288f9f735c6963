"""Figures of many settings: distances against the trait, factors, and which distance tells it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, MARKERS, PALETTE, STYLE, Look, whiskers
from sublim_jax.stats import Interval, t_interval


class Dot(NamedTuple):
    """A setting in a cloud.

    Attributes:
        group: what it is grouped with, by colour.
        kind: what its marker says; the first kind is drawn large, the others small and pale.
        x: quantities by name, one value for each member.
        y: the trait, one value for each member.
    """

    group: str
    kind: str
    x: Mapping[str, Float[np.ndarray, " members"]]
    y: Float[np.ndarray, " members"]


class Named(NamedTuple):
    """A dot that a panel names: which quantity's panel, its place and what stands beside it."""

    x: float
    y: float
    text: str


def clouds(
    dots: Sequence[Dot],
    labels: Mapping[str, str],
    *,
    named: Mapping[str, Sequence[Named]],
    notes: Mapping[str, str],
    ylabel: str,
    title: str,
) -> Figure:
    """Draw one dot for each setting and kind, in a panel for each quantity.

    Args:
        dots: the settings; means over members, with 95 % intervals of the first kind.
        labels: quantities and what their axes say.
        named: dots with a text, by quantity.
        notes: a line above each panel, by quantity.
        ylabel: the trait with its unit.
        title: the title.
    """
    groups = list(dict.fromkeys(dot.group for dot in dots))
    kinds = list(dict.fromkeys(dot.kind for dot in dots))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.1 * len(labels) + 0.6, 5.6), layout="constrained")
        grid = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
        for axes, (name, label) in zip(grid, labels.items(), strict=True):
            for dot in sorted(dots, key=lambda dot: -kinds.index(dot.kind)):
                color = PALETTE[groups.index(dot.group) % len(PALETTE)]
                _dot(axes, dot, name, Look(color, MARKERS[kinds.index(dot.kind)], "-"), kinds[0])
            _name(axes, named.get(name, ()))
            axes.set_xlabel(label)
            axes.set_title(notes.get(name, ""), loc="left", fontsize=9)
            axes.margins(0.12, 0.06)
        grid[0].set_ylabel(ylabel)
        for group, color in zip(groups, PALETTE, strict=False):
            grid[0].plot([], [], "o", color=color, label=group)
        for kind, marker in zip(kinds, MARKERS, strict=False):
            grid[0].plot([], [], marker, color=GREY, ls="none", mfc="none", label=kind)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def _dot(axes: Axes, dot: Dot, name: str, look: Look, first: str) -> None:
    x, y = t_interval(dot.x[name]), t_interval(dot.y)
    main = dot.kind == first
    if main:
        bars: dict[str, Any] = {"xerr": x.half_width, "yerr": y.half_width}
        axes.errorbar(x.mean, y.mean, **bars, fmt="none", ecolor=look.color, lw=0.7, alpha=0.45)
    axes.plot(
        x.mean,
        y.mean,
        look.marker,
        ms=6.5 if main else 4,
        color=look.color,
        alpha=0.9 if main else 0.45,
        mec="white" if main else look.color,
        mew=0.5,
    )


def _name(axes: Axes, named: Sequence[Named]) -> None:
    """Write the names inside the panel, one below the other on the side where there is room."""
    for dot in named:
        left = dot.x > np.mean(axes.get_xlim())
        axes.annotate(
            dot.text,
            (dot.x, dot.y),
            xytext=(-9 if left else 9, 9 if dot.y < np.mean(axes.get_ylim()) else -11),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": GREY},
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
        )


class Line(NamedTuple):
    """A quantity over the levels of a factor.

    Attributes:
        name: of the quantity or arm.
        look: how it is drawn.
        values: for each level one value for each member, or None where it was not measured.
    """

    name: str
    look: Look
    values: Sequence[Float[np.ndarray, " members"] | None]


class Factor(NamedTuple):
    """A panel: a factor, its levels and its lines."""

    name: str
    levels: Sequence[str]
    lines: Sequence[Line]


def factor_panels(factors: Sequence[Factor], *, ylabel: str, title: str) -> Figure:
    """Draw quantities over the levels of each factor: means with 95 % intervals over members.

    Args:
        factors: a panel each, at most four in a row.
        ylabel: what all quantities are measured in.
        title: the title.
    """
    with mpl.rc_context(STYLE):
        across = min(4, len(factors))
        rows = -(-len(factors) // across)
        size = max(3.25 * across, 7.0), 3.3 * rows + 0.9
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, across, sharey=True, squeeze=False)
        for axes, factor in zip(grid.flat, factors, strict=False):
            for line in factor.lines:
                _line(axes, line)
            long = max(map(len, factor.levels)) * len(factor.levels) > 28
            axes.set_xticks(
                range(len(factor.levels)),
                factor.levels,
                rotation=40 if long else 0,
                ha="right" if long else "center",
                fontsize=8,
            )
            axes.set_xlim(-0.5, len(factor.levels) - 0.5)
            axes.set_title(factor.name, loc="left")
        for axes in grid.flat[len(factors) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(6, 2 * across)
        )
    return figure


def _line(axes: Axes, line: Line) -> None:
    there = [i for i, values in enumerate(line.values) if values is not None]
    known = [values for values in line.values if values is not None]
    whiskers(axes, there, known, line.look, line.name)


def ranking(
    correlations: Mapping[str, Mapping[str, Interval]],
    *,
    xlabel: str,
    title: str,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw a bar for each predictor and set of settings, the most telling on top.

    Args:
        correlations: by set of settings and predictor, with intervals; the first set decides the
            order.
        xlabel: the measure.
        title: the title.
        notes: lines beside the bars: where they fail.
    """
    first = next(iter(correlations.values()))
    order = sorted(first, key=lambda name: np.nan_to_num(float(first[name].mean)), reverse=True)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 0.62 * len(order) + 1.9), layout="constrained")
        axes, text = figure.subplots(1, 2, width_ratios=(1.25, 1))
        axes.grid(visible=False, axis="y")
        height = 0.76 / len(correlations)
        for row, (name, found) in enumerate(correlations.items()):
            places = np.arange(len(order)) + (row - (len(correlations) - 1) / 2) * height
            means = np.array([found[predictor].mean for predictor in order], float)
            ends = np.array([found[predictor][1:] for predictor in order], float).T
            axes.barh(places, means, height * 0.9, color=PALETTE[row], alpha=0.75, label=name)
            spans = np.abs(np.nan_to_num(ends - means))
            axes.errorbar(means, places, xerr=spans, fmt="none", ecolor="black", capsize=3, lw=1)
        axes.axvline(0, color=GREY, lw=0.8)
        axes.set(yticks=range(len(order)), yticklabels=order, xlabel=xlabel, xlim=(None, 1.0))
        axes.invert_yaxis()
        text.axis("off")
        text.text(0, 1, "\n".join(notes), va="top", fontsize=8.5, transform=text.transAxes)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.legend(loc="outside lower left", ncols=len(correlations))
    return figure
