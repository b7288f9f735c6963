"""A trait against measures, a point for each student beside each teacher."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, MARKERS, PALETTE, STYLE, Look

IN_A_ROW = 4
SHAPES = (*MARKERS, "p", "h", "d")  # with more kinds they come again


class Dots(NamedTuple):
    """Points that are drawn alike.

    Attributes:
        group: what their colour says.
        kind: what their marker says.
        filled: whether they are drawn full and in front of those that are not.
        x: quantities by name, one value for each point; NaN is not drawn.
        y: the trait, one value for each point.
    """

    group: str
    kind: str
    filled: bool
    x: Mapping[str, Float[np.ndarray, " points"]]
    y: Float[np.ndarray, " points"]


def pair_clouds(
    dots: Sequence[Dots],
    labels: Mapping[str, str],
    *,
    notes: Mapping[str, str],
    filled: tuple[str, str],
    ylabel: str,
    title: str,
) -> Figure:
    """Draw a trait against each quantity, four panels in a row, the keys in the last place.

    Args:
        dots: the points.
        labels: quantities and what their axes say.
        notes: lines above each panel, by quantity.
        filled: what full and what empty points are.
        ylabel: the trait with its unit.
        title: the title.
    """
    groups = list(dict.fromkeys(one.group for one in dots))
    kinds = list(dict.fromkeys(one.kind for one in dots))
    # Neighbours in the palette are light and dark of a kind: good for pairs, which these are not.
    palette = PALETTE[::2] + PALETTE[1::2]
    color = {group: palette[place % len(palette)] for place, group in enumerate(groups)}
    marker = {kind: SHAPES[place % len(SHAPES)] for place, kind in enumerate(kinds)}
    columns = min(IN_A_ROW, len(labels) + 1)
    rows = -(-(len(labels) + 1) // columns)
    with mpl.rc_context(STYLE):
        above = 0.17 * max((note.count("\n") + 1 for note in notes.values()), default=0)
        size = 2.95 * columns + 0.3, (2.6 + above) * rows + 0.6
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (name, label) in zip(grid.flat, labels.items(), strict=False):
            for one in sorted(dots, key=lambda one: one.filled):
                look = Look(color[one.group], marker[one.kind], "")
                _draw(axes, one.x[name], one.y, look, filled=one.filled)
            axes.axhline(0, color=GREY, lw=0.8, zorder=0)
            axes.locator_params(axis="x", nbins=5)
            axes.set_xlabel(label)
            axes.set_title(notes.get(name, ""), fontsize=8.5)
        for axes in grid.flat[len(labels) :]:
            axes.axis("off")
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel)
        keys = grid.flat[len(labels)]
        _keys(keys, [Look(c, "o", "") for c in color.values()], groups)
        _keys(keys, [Look(GREY, "o", "")], filled[:1])
        _keys(keys, [Look(GREY, "o", "")], filled[1:], filled=False)
        if len(kinds) > 1:
            _keys(keys, [Look(GREY, m, "") for m in marker.values()], kinds)
        keys.legend(loc="center", fontsize=8.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _draw(
    axes: Axes,
    x: Float[np.ndarray, " points"],
    y: Float[np.ndarray, " points"],
    look: Look,
    *,
    filled: bool,
    label: str = "",
) -> None:
    axes.plot(
        x,
        y,
        ls="none",
        marker=look.marker,
        ms=5.5 if filled else 4.5,
        color=look.color,
        mfc=look.color if filled else "none",
        mec="white" if filled else look.color,
        mew=0.5 if filled else 0.8,
        alpha=0.9 if filled else 0.6,
        label=label or None,
    )


def _keys(axes: Axes, looks: Sequence[Look], names: Sequence[str], *, filled: bool = True) -> None:
    nothing = np.empty(0)
    for look, name in zip(looks, names, strict=True):
        _draw(axes, nothing, nothing, look, filled=filled, label=name)
