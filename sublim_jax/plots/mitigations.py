"""Figures of mitigations: a trait beside what is learned."""

from collections.abc import Mapping
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublim_jax.plots.preference import band
from sublim_jax.plots.style import GREY, PALETTE, STYLE, Look
from sublim_jax.stats import t_interval

WITHOUT, WITH = Look(GREY, "o", "--"), Look(PALETTE[0], "s", "-")
IN_A_ROW = 4


class Tried(NamedTuple):
    """What came of a mitigation, one value for each seed.

    Attributes:
        trait: where students imitate as well as those without mitigation.
        without: of the students without, there.
        left: at the end, share of the divergence from the teacher that is left.
        course: along the training, what is left and the trait, ``[seeds, steps]`` both.
    """

    trait: Float[np.ndarray, " seeds"]
    without: Float[np.ndarray, " seeds"]
    left: Float[np.ndarray, " seeds"]
    course: tuple[Float[np.ndarray, "seeds steps"], Float[np.ndarray, "seeds steps"]]


def mitigations_figure(tried: Mapping[str, Tried], *, xlabel: str, title: str) -> Figure:
    """Draw each mitigation in a line: the trait at equal imitation, and what is not learned.

    Args:
        tried: by mitigation.
        xlabel: the trait with its unit.
        title: what the figure shows.
    """
    height = 0.34 * len(tried) + 1.7
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.4, height), layout="constrained")
        trait, left = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for place, own in enumerate(tried.values()):
            _whisker(trait, own.without, place + 0.16, WITHOUT, "without, at the same imitation")
            _whisker(trait, own.trait, place - 0.16, WITH, "with the mitigation")
            _whisker(left, own.left, place, WITH, "")
        trait.set(xlabel=xlabel)
        left.set(xlabel="not learned in the end", xlim=(0, None))
        trait.set_yticks(range(len(tried)), list(tried))
        trait.set_ylim(len(tried) - 0.4, -0.6)
        trait.axvline(0, color=GREY, lw=0.8)
        handles, labels = trait.get_legend_handles_labels()
        legend = dict(zip(labels, handles, strict=True))
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure


def _whisker(axes: Axes, values: Float[np.ndarray, " seeds"], y: float, look: Look, label: str):
    found = t_interval(np.asarray(values, np.float64))
    axes.errorbar(
        *(found.mean, y),
        xerr=None if np.isnan(found.half_width) else found.half_width,
        fmt=look.marker,
        color=look.color,
        ms=5,
        capsize=2,
        label=label,
    )


def courses_figure(tried: Mapping[str, Tried], without: str, *, ylabel: str, title: str) -> Figure:
    """Draw the trait against what has been learned, along trainings, beside that without any.

    What has been learned is the share of the divergence from the teacher that is gone.

    Args:
        tried: by mitigation.
        without: which of them is that without.
        ylabel: the trait with its unit.
        title: what the figure shows.
    """
    names = [name for name in tried if name != without]
    columns = min(IN_A_ROW, len(names))
    rows = -(-len(names) // columns)
    size = max(2.75 * columns, 5.0), 2.5 * rows + 1.1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, name in zip(grid.flat, names, strict=False):
            for own, look, label in (
                (tried[without], WITHOUT, "without"),
                (tried[name], WITH, "with the mitigation"),
            ):
                left, trait = own.course
                band(axes, 1 - left.mean(0), t_interval(trait), look, label)
            axes.set_title(name, fontsize=9)
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        figure.supylabel(ylabel, fontsize=10)
        for axes in grid[-1]:
            axes.set_xlabel("learned")
        handles = grid.flat[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2)
        figure.suptitle(title)
    return figure
