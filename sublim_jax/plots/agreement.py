"""A figure of students that move elsewhere and do the same."""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.style import GREY, STYLE, Look, dots, looks, panels

SAME, OTHERS = "students of one teacher", "students of different teachers"
ANOTHER = "a student with another A"
SPREAD = 0.18  # of points that lie above each other, in distances of columns


class Alike(NamedTuple):
    """Cosines between what two students do.

    Attributes:
        same: of students of one teacher.
        others: of students of different teachers.
    """

    same: Float[np.ndarray, " pairs"]
    others: Float[np.ndarray, " pairs"]


class Diluted(NamedTuple):
    """Cosines of parameters with the own teacher, a point for each student.

    Attributes:
        expected: for another A, from the cosine with a shared one.
        found: with another A.
        shared: with a shared one.
    """

    expected: Float[np.ndarray, " students"]
    found: Float[np.ndarray, " students"]
    shared: Float[np.ndarray, " students"]


def agreement_figure(alike: Mapping[str, Alike], diluted: Diluted | None, *, title: str) -> Figure:
    """Draw how alike students with the teacher's A and with another are, in what they do and where.

    Args:
        alike: by what they do.
        diluted: by where they go, if it is known.
        title: what the figure shows.
    """
    look = looks([SAME, OTHERS, ANOTHER])
    figure, grid = panels(1 + (diluted is not None), title=title, size=(5.2, 4.3))
    with mpl.rc_context(STYLE):
        for place, pair in enumerate(alike.values()):
            for values, name, side in zip(pair, (SAME, OTHERS), (-1, 1), strict=True):
                beside = place + SPREAD * (side + np.linspace(-0.7, 0.7, len(values)))
                dots(grid[0], beside, values, look[name], "" if place else name, size=5)
        grid[0].axhline(0, color=GREY, lw=0.8)
        grid[0].set_xticks(range(len(alike)), list(alike))
        grid[0].set(
            ylabel="cosine of what two students do,\none with the teacher's A, one with another"
        )
        grid[0].set_ylim(top=1.06)
        if diluted is not None:
            _diluted(grid[1], diluted, look[ANOTHER])
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def _diluted(axes: Axes, diluted: Diluted, look: Look) -> None:
    dots(axes, diluted.expected, diluted.found, look, ANOTHER, size=5)
    most = 1.15 * max(np.max(diluted.expected), np.max(diluted.found), 0.0)
    axes.plot([0, most], [0, most], color=GREY, lw=1, ls="--", label="as expected")
    axes.axhline(0, color=GREY, lw=0.8)
    axes.locator_params(axis="x", nbins=4)
    axes.set(
        xlabel="expected: matrix by matrix,\nrank / width of that with a shared A",
        ylabel="cosine of parameters\nwith the own teacher's",
    )
    axes.set_title(
        f"with a shared A it is {np.mean(diluted.shared):.3f} on average",
        loc="left",
        fontsize=8,
        color=GREY,
    )
