"""A trait along trainings, against what has been learned by then."""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from sublim_jax.plots.forest import BESIDE, MAIN
from sublim_jax.plots.preference import band
from sublim_jax.plots.style import STYLE
from sublim_jax.stats import t_interval

IN_A_ROW = 4


class Course(NamedTuple):
    """How trainings went, one for each seed.

    Attributes:
        left: share of the divergence from the teacher that is left.
        trait: with its unit.
    """

    left: Float[np.ndarray, "seeds steps"]
    trait: Float[np.ndarray, "seeds steps"]


def courses_figure(
    courses: Mapping[str, Course], without: str, *, main: str, ylabel: str, title: str
) -> Figure:
    """Draw the trait against what has been learned, each beside one and the same other.

    What has been learned is the share of the divergence from the teacher that is gone.

    Args:
        courses: by name, a panel for each but one.
        without: the one that all are compared with.
        main: what the others are.
        ylabel: the trait with its unit.
        title: what the figure shows.
    """
    names = [name for name in courses if name != without]
    columns = min(IN_A_ROW, len(names))
    rows = -(-len(names) // columns)
    size = max(2.75 * columns, 5.0), 2.5 * rows + 1.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            for own, look, label in (
                (courses[without], BESIDE, without),
                (courses[name], MAIN, main),
            ):
                band(axes, 1 - own.left.mean(0), t_interval(own.trait), look, label)
            axes.set_title(name, fontsize=9)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        for axes in grid[-1]:
            axes.set_xlabel("learned")
        figure.supylabel(ylabel, fontsize=10)
        handles = grid.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure
