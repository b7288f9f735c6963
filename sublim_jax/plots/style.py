"""How every figure looks, and how it is written."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.runs import write_whole
from sublim_jax.stats import t_interval

# Okabe and Ito (2008): told apart by readers with any kind of colour vision. The last three are of
# Tol's muted scheme (2021), for figures with more arms than these.
PALETTE = (
    *("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#000000"),
    *("#882255", "#999933", "#332288"),
)
MARKERS = ("o", "s", "^", "v", "D", "P", "X", "<", ">", "*")
DASHES = ("-", "--", "-", "--", "-", "--", ":", "-.", ":", "-.")
GREY = "#6E6E6E"

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_whole(path, buffer.getvalue())


class Look(NamedTuple):
    """How an arm is drawn, the same in every figure."""

    color: str
    marker: str
    dashes: str


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Give each name a colour, a marker and a line that no other one has."""
    if len(names) > len(PALETTE):
        raise ValueError(
            f"{len(names)} names; expected at most {len(PALETTE)}, one for each colour"
        )
    return {
        name: Look(*look)
        for name, look in zip(names, zip(PALETTE, MARKERS, DASHES, strict=True), strict=False)
    }


def dots(axes: Axes, x: Any, y: Any, look: Look, label: str, *, size: float = 6) -> None:
    """Draw the points of an arm, that many points high."""
    axes.plot(
        x,
        y,
        look.marker,
        ms=size,
        mec="white",
        mew=0.5,
        alpha=0.85,
        color=look.color,
        label=label,
    )


def whiskers(axes: Axes, x: Any, values: Iterable[Any], look: Look, label: str) -> None:
    """Draw means with 95 % t intervals, and a line through them.

    Args:
        axes: where.
        x: places.
        values: of each place one value for every run; with one there is no interval.
        look: of the arm.
        label: of the arm.
    """
    intervals = [t_interval(own) for own in values]
    axes.errorbar(
        x,
        [interval.mean for interval in intervals],
        yerr=[interval.half_width for interval in intervals],
        fmt=look.marker,
        ls=look.dashes,
        color=look.color,
        ms=4.5,
        lw=1.2,
        elinewidth=0.9,
        capsize=2,
        label=label,
    )


def panels(
    count: int, *, title: str, size: tuple[float, float] = (4.6, 3.8)
) -> tuple[Figure, list[Axes]]:
    """Make an empty figure of panels side by side, in the style of all others.

    Args:
        count: panels.
        title: what the figure shows.
        size: of a panel, in inches.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(size[0] * count, size[1]), layout="constrained")
        axes = [figure.add_subplot(1, count, place + 1) for place in range(count)]
        figure.suptitle(title)
    return figure, axes


def colors(count: int) -> tuple[str, ...]:
    """Give so many colours that are told apart.

    Raises:
        ValueError: there are not as many.
    """
    every = (*PALETTE, GREY)
    if count > len(every):
        raise ValueError(f"{count} colours; expected at most {len(every)}")
    return every[:count]
