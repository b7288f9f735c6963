"""Figures of the landscape: planes with the paths on them, and the barriers between their points.

A plane is that of `sublim_jax.drift.plane`: the student's initialisation at (0, 0), the teacher at
(1, 0), the student above the line between them.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from sublim_jax.errors import InputError
from sublim_jax.plots.arms import Panel
from sublim_jax.plots.style import GREY, PALETTE, STYLE, looks
from sublim_jax.stats import t_interval

BANDS = 14  # of colour
DECADES = 4  # of a logarithmic scale, at most
TEACHER = (1.0, 0.0)
PATH_COLOR = PALETTE[2]
HALO: list[patheffects.AbstractPathEffect] = [
    patheffects.withStroke(linewidth=3, foreground="white")
]


class Field(NamedTuple):
    """A quantity on a plane.

    Attributes:
        label: the quantity with its unit.
        values: on the grid, ``[rows, columns]``.
        log: whether its colours are logarithmic; what is not positive then gets the lowest.
        good: which end of the scale is drawn bright.
        limits: ends of the scale; by default those of the values.
    """

    label: str
    values: Float[np.ndarray, "rows columns"]
    log: bool = False
    good: str = "low"
    limits: tuple[float, float] | None = None


class Scene(NamedTuple):
    """A plane with a student's path on it.

    Attributes:
        title: what this plane is.
        xs: first coordinates of the columns of its grid.
        ys: second coordinates of the rows.
        fields: quantities on the grid, a panel each.
        path: where the student was, from its initialisation to its end, ``[points, 2]``.
        steps: at which steps that was.
    """

    title: str
    xs: Float[np.ndarray, " columns"]
    ys: Float[np.ndarray, " rows"]
    fields: Sequence[Field]
    path: Float[np.ndarray, "points 2"]
    steps: Sequence[int]


def plane_strip(scenes: Sequence[Scene], *, xlabel: str, ylabel: str, title: str) -> Figure:
    """Draw planes below each other, a panel for each quantity, with the student's path on all.

    A quantity has the same colours in all planes, bright where it is good.

    Args:
        scenes: the planes, with the same quantities in the same order.
        xlabel: the first coordinate with its unit.
        ylabel: the second coordinate.
        title: the title.

    Raises:
        InputError: the planes differ in their quantities, or a grid is not of its axes' lengths.
    """
    with mpl.rc_context(STYLE):
        figure, grid = _panels(scenes, title)
        for scene, row in zip(scenes, grid, strict=True):
            for axes in row:
                _draw_path(axes, scene.path, scene.steps)
            row[0].set_ylabel(f"{scene.title}\n{ylabel}")
        for axes in grid[-1]:
            axes.set_xlabel(xlabel)
        handles = grid[0, 0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=4)
    return figure


def growing_paths(
    scenes: Sequence[Scene], *, xlabel: str, ylabel: str, title: str
) -> Iterator[Figure]:
    """Draw the frames of a movie: planes side by side, the paths grown by one point in each.

    Args:
        scenes: the planes with the same steps and one quantity, the first, each.
        xlabel: the first coordinate with its unit.
        ylabel: the second coordinate.
        title: the title; the step is put behind it.

    Yields:
        The same figure, changed, once for each point of the paths.

    Raises:
        InputError: the planes differ in their steps or quantities, or a grid is not of its axes'
            lengths.
    """
    steps = [list(scene.steps) for scene in scenes]
    if any(other != steps[0] for other in steps):
        raise InputError(f"steps is {steps}; expected the same steps on every plane")
    with mpl.rc_context(STYLE):
        figure, grid = _panels(scenes, title, side_by_side=True)
        for scene, axes in zip(scenes, grid[0], strict=True):
            axes.set_title(scene.title)
            axes.set_xlabel(xlabel)
        grid[0, 0].set_ylabel(ylabel)
        legend = None
        for last, step in enumerate(steps[0]):
            drawn: list[Any] = []
            for scene, axes in zip(scenes, grid[0], strict=True):
                drawn += _draw_path(axes, scene.path[: last + 1])
            if legend is None:  # once, so that the panels keep their size
                handles = grid[0, 0].get_legend_handles_labels()
                legend = figure.legend(*handles, loc="outside lower center", ncols=4)
            figure.suptitle(f"{title}: step {step}", x=0.01, ha="left", fontsize=11)
            yield figure
            for artist in drawn:
                artist.remove()


def barrier_curves(
    places: Float[np.ndarray, " points"],
    panels: Sequence[Panel],
    *,
    names: Sequence[str],
    ends: tuple[str, str],
    title: str,
) -> Figure:
    """Draw quantities along a straight path: means and 95 % bands over members, and the chords.

    A chord is the straight line between the means at the ends: a loss that rises above its chord
    has a barrier.

    Args:
        places: fractions of the way, from 0 to 1.
        panels: the quantities, side by side, ``[members, points]`` for each arm.
        names: all arms of the run, so that each keeps its colour from figure to figure.
        ends: what lies at 0 and at 1.
        title: the title.
    """
    look_of = looks(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * len(panels) + 0.4, 4.3), layout="constrained")
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            for name, curves in panel.curves.items():
                look, interval = look_of[name], t_interval(curves)
                color = look.color
                axes.plot(places, interval.mean, look.dashes, color=color, label=name)
                axes.fill_between(
                    places, interval.low, interval.high, color=color, alpha=0.18, lw=0
                )
                axes.plot([0, 1], interval.mean[[0, -1]], color=color, lw=0.9, ls=":")
            for label, level in panel.levels.items():
                axes.axhline(level, color=GREY, lw=1, ls=":")
                axes.text(0.5, level, label, ha="center", va="bottom", fontsize=8, color=GREY)
            axes.set(xlim=(0, 1), ylim=panel.limits, title=panel.ylabel)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], [ends[0], "¼", "½", "¾", ends[1]])
        grid[0].plot([], [], color=GREY, lw=0.9, ls=":", label="straight line between the ends")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles = grid[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=3)
    return figure


def _panels(
    scenes: Sequence[Scene], title: str, *, side_by_side: bool = False
) -> tuple[Figure, np.ndarray]:
    """Draw the quantities, without paths: axes ``[scenes, fields]`` or ``[1, scenes]``."""
    _check(scenes)
    columns = 1 if side_by_side else len(scenes[0].fields)
    shape = (1, len(scenes)) if side_by_side else (len(scenes), columns)
    height = max(np.ptp(scene.ys) / np.ptp(scene.xs) for scene in scenes)
    figure = Figure(
        figsize=(3.6 * shape[1] + 0.6, (3.1 * height + 0.3) * shape[0] + 1.5), layout="constrained"
    )
    grid = figure.subplots(*shape, squeeze=False)
    for column in range(columns):
        fields = [scene.fields[column] for scene in scenes]
        levels, norm = _scale(fields)
        column_axes = list(grid.flat) if side_by_side else list(grid[:, column])
        for scene, field, axes in zip(scenes, fields, column_axes, strict=True):
            shown = np.clip(field.values, levels[0], levels[-1])
            axes.contourf(
                *(scene.xs, scene.ys, shown),
                levels=levels,
                norm=norm,
                cmap="viridis" if field.good == "high" else "viridis_r",
            )
            axes.set_aspect("equal")
            axes.grid(visible=False)
        # All panels of a column have the same levels.
        bar = figure.colorbar(
            column_axes[0].collections[0],
            ax=column_axes,
            location="top",
            pad=0.02,
            shrink=0.6 if side_by_side else 0.9,
            aspect=40 if side_by_side else 30,
        )
        bar.set_label(fields[0].label)
        if fields[0].log:
            bar.set_ticks(_nice_ticks(levels[0], levels[-1]), minor=False)
            bar.ax.xaxis.set_major_formatter("{x:g}")
            bar.ax.minorticks_off()
        else:
            bar.set_ticks(list(levels[::2]))
            bar.ax.xaxis.set_major_formatter("{x:.2g}")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure, grid


def _check(scenes: Sequence[Scene]) -> None:
    labels = [[field.label for field in scene.fields] for scene in scenes]
    if any(other != labels[0] for other in labels):
        raise InputError(f"fields is {labels}; expected the same quantities on every plane")
    for scene in scenes:
        shape = len(scene.ys), len(scene.xs)
        for field in scene.fields:
            if np.shape(field.values) != shape:
                raise InputError(
                    f"values of {field.label} has shape {np.shape(field.values)}; expected "
                    f"{shape}, rows and columns"
                )


def _scale(fields: Sequence[Field]) -> tuple[np.ndarray, Normalize]:
    """Choose the borders of the colour bands of a quantity on all planes."""
    values = np.concatenate([np.ravel(field.values) for field in fields])
    values = values[np.isfinite(values)]
    log, limits = fields[0].log, fields[0].limits
    if log:
        values = values[values > 0]
    low, high = limits if limits is not None else (values.min(), values.max())
    if log:
        low = max(low, high / 10**DECADES)
        return np.geomspace(low, high, BANDS + 1), LogNorm(low, high)
    return np.linspace(low, high, BANDS + 1 if limits is None else 11), Normalize(low, high)


def _nice_ticks(low: float, high: float) -> list[float]:
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    wide = high / low > 300
    ticks = [m * 10.0**e for e in exponents for m in ((1,) if wide else (1, 2, 5))]
    return [tick for tick in ticks if low <= tick <= high]


def _draw_path(
    axes: Axes, path: Float[np.ndarray, "points 2"], steps: Sequence[int] = ()
) -> list[Any]:
    """Draw the three points and the way so far; write some steps beside it."""
    ends = {
        "initialisation": ((0.0, 0.0), "o", 8, "white"),
        "teacher": (TEACHER, "*", 15, "white"),
        "student": (tuple(path[-1]), "D", 7, PATH_COLOR),
    }
    drawn: list[Any] = [
        *axes.plot(*path.T, "-", color="white", lw=3.2, solid_capstyle="round"),
        *axes.plot(*path.T, ".-", color=PATH_COLOR, ms=5, label="the student's path"),
    ]
    for name, (at, marker, size, color) in ends.items():
        drawn += axes.plot(
            *at, marker, ms=size, color=color, mec="black", mew=1.1, label=name, ls="none"
        )
    reach = 0.12 * max(np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim()))
    labelled = np.full(2, np.inf)
    for step, at in zip(steps, path[: len(steps)], strict=True):
        last = step == steps[-1]
        if np.linalg.norm(at - labelled) < reach and not last:
            continue
        if not last and np.linalg.norm(at - path[-1]) < reach:
            continue
        labelled = at
        text = axes.annotate(
            str(step), at, xytext=(-6, 5), textcoords="offset points", ha="right", fontsize=8
        )
        text.set_path_effects(HALO)
        drawn.append(text)
    return drawn
