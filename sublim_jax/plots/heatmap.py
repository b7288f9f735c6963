"""Heat maps side by side: one quantity each, over the same rows and columns."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle

from sublim_jax.plots.style import STYLE

# With more cells than this, numbers in them could not be read.
MOST_NUMBERS = 80
# Where colours may saturate, they end at so many times the value that nine cells in ten stay below.
SATURATION = 2
CELL_HEIGHT, CELL_WIDTH = 0.2, 0.26
NUMBER_WIDTH = 0.52
# With half widths below the numbers.
TALL, WIDE = 0.42, 0.62


class Heat(NamedTuple):
    """One heat map.

    Attributes:
        title: the quantity.
        values: ``[rows, columns]``; NaN is undefined.
        signed: whether the colours are symmetric about 0, rather than starting from it.
        saturated: whether the colours may end below the largest values, as they should where a few
            cells dwarf the others; the bar of colours then ends in an arrow.
        half: half the width of an interval, written below each number; NaN is unknown.
    """

    title: str
    values: Float[np.ndarray, "rows columns"]
    signed: bool
    saturated: bool = False
    half: Float[np.ndarray, "rows columns"] | None = None


def heat_maps(
    maps: Sequence[Heat],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    present: Bool[np.ndarray, "rows columns"] | None = None,
) -> Figure:
    """Draw heat maps that share their rows, with undefined cells hatched.

    Args:
        maps: the quantities, from left to right.
        rows: labels from top to bottom.
        columns: labels from left to right.
        title: the title.
        present: which cells there are, by default all; the others are left blank.
    """
    shape = len(rows), len(columns)
    present = np.ones(shape, bool) if present is None else present
    numbers = present.sum() <= MOST_NUMBERS
    halves = numbers and any(heat.half is not None for heat in maps)
    cell = WIDE if halves else NUMBER_WIDTH if numbers else CELL_WIDTH
    labels = 0.075 * max(map(len, rows))
    width = labels + len(maps) * (max(cell * len(columns), 1.3) + 0.75)
    height = (TALL if halves else CELL_HEIGHT) * len(rows) + 0.075 * max(map(len, columns)) + 1.3
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(max(width, 5.0), max(height, 2.4)), layout="constrained")
        grid = figure.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        hatched = False
        for axes, heat in zip(grid, maps, strict=True):
            image = _draw(axes, heat, present)
            hatched |= _hatch(axes, present & np.isnan(heat.values))
            if numbers:
                _write(axes, heat, present, image)
            ends = _ends(image) if heat.saturated else "neither"
            figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02, aspect=30, extend=ends)
            axes.set_title(heat.title)
            axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
        grid[0].set_yticks(range(len(rows)), rows, fontsize=8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        if hatched:
            figure.legend(handles=[_undefined()], loc="outside lower right")
    return figure


def _draw(axes: Axes, heat: Heat, present: Bool[np.ndarray, "rows columns"]) -> AxesImage:
    shown = np.ma.masked_invalid(np.where(present, heat.values, np.nan))
    sizes = np.abs(shown.compressed())
    most = float(sizes.max(initial=0))
    if heat.saturated and most:
        usual = SATURATION * float(np.quantile(sizes, 0.9))
        most = min(most, usual) if usual else most
    most = most or 1.0
    image = axes.imshow(
        shown,
        cmap="RdBu_r" if heat.signed else "viridis",
        vmin=-most if heat.signed else 0.0,
        vmax=most,
        aspect="auto",
        interpolation="nearest",
    )
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    # White lines between the cells.
    rows, columns = heat.values.shape
    axes.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=0.8)
    axes.tick_params(which="minor", length=0)
    return image


def _ends(image: AxesImage) -> str:
    """Say at which ends of the colours there are values beyond."""
    low, high = image.get_clim()
    values = np.ma.asarray(image.get_array()).compressed()
    below, above = bool((values < low).any()), bool((values > high).any())
    return ("neither", "max", "min", "both")[2 * below + above]


def _hatch(axes: Axes, undefined: Bool[np.ndarray, "rows columns"]) -> bool:
    for row, column in np.argwhere(undefined):
        corner = column - 0.5, row - 0.5
        axes.add_patch(Rectangle(corner, 1, 1, fc="#EDEDED", ec="#A0A0A0", hatch="////", lw=0))
    return bool(undefined.any())


def _undefined() -> Patch:
    return Patch(fc="#EDEDED", ec="#A0A0A0", hatch="////", lw=0, label="undefined")


def _write(
    axes: Axes, heat: Heat, present: Bool[np.ndarray, "rows columns"], image: AxesImage
) -> None:
    values = heat.values
    half = np.full(values.shape, np.nan) if heat.half is None else heat.half
    bright = image.to_rgba(values)[..., :3] @ np.array([0.3, 0.59, 0.11]) > 0.5
    for row, column in np.argwhere(present & np.isfinite(values)):
        known = np.isfinite(half[row, column])
        below = f"\n±{_short(float(half[row, column]))}" if known else ""
        axes.text(
            *(column, row, _short(float(values[row, column])) + below),
            ha="center",
            va="center",
            fontsize=7,
            color="black" if bright[row, column] else "white",
        )


def _short(value: float) -> str:
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.0005 else f"{value:.0e}"
