"""What goes with a trait: measures of drift beside behaviour, and the shift layer by layer."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sublim_jax.errors import InputError
from sublim_jax.plots.preference import band
from sublim_jax.plots.style import GREY, STYLE, Look, dots, looks
from sublim_jax.stats import Interval, rank_correlation, t_interval

IN_A_ROW = 3
RHO = r"$\rho$"


def drift_figure(
    measures: Mapping[str, Float[np.ndarray, " runs"]],
    trait: Float[np.ndarray, " runs"],
    *,
    groups: Sequence[str],
    clusters: Shaped[np.ndarray, " runs"],
    ylabel: str,
    title: str,
    names: Sequence[str] | None = None,
    within: Mapping[str, Bool[np.ndarray, " runs"]] | None = None,
) -> Figure:
    """Draw a trait against each measure of drift, with rank correlations above.

    A run here is a student beside a teacher, its own or another animal's. The intervals are those
    of the bootstrap over clusters.

    Args:
        measures: by name, one value for each run; NaN where it is not defined.
        trait: change of log-probability of that teacher's animal in that student, in nats.
        groups: what each run is drawn as, for instance "own teacher, shared A".
        clusters: the seed of each run.
        ylabel: the trait with its unit.
        title: the title.
        names: all groups, so that each keeps its colour from figure to figure; by default those
            that there are, as they come; at most ten.
        within: runs that correlations are taken over, by name, a line above each panel; by default
            all runs. Own against other teachers alone gives a correlation: say one for the others.

    Returns:
        The figure, three panels in a row.

    Raises:
        InputError: a measure, the groups, the clusters or a mask are not as many as the trait, or a
            group is not in ``names``.
    """
    trait, drawn_as = np.asarray(trait, np.float64), np.asarray(groups)
    within = within or {"": np.ones(len(trait), bool)}
    look_of = looks(list(dict.fromkeys(groups)) if names is None else names)
    _check({"groups": drawn_as, "clusters": clusters, **measures, **within}, trait)
    strange = sorted(set(groups) - set(look_of))
    if strange:
        raise InputError(f"groups holds {strange[0]!r}; expected one of {list(look_of)}")
    columns = min(IN_A_ROW, len(measures))
    rows = -(-len(measures) // columns)
    width = max(3.05 * columns + 0.2, 4.6)
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(width, (2.75 + 0.17 * len(within)) * rows + 0.9),
            layout="constrained",
        )
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        for axes, (label, values) in zip(grid.flat, measures.items(), strict=False):
            values = np.asarray(values, np.float64)
            _cloud(axes, values, trait, drawn_as, look_of)
            found = {
                name: rank_correlation(
                    values[mask], trait[mask], clusters=np.asarray(clusters)[mask]
                )
                for name, mask in within.items()
            }
            axes.set_title("\n".join(map(_correlation, found, found.values())), fontsize=8.5)
            axes.set_xlabel(label)
        for axes in grid.flat[len(measures) :]:
            axes.remove()
        for axes in grid[:, 0]:
            axes.set_ylabel(ylabel)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        handles = grid.flat[0].get_legend_handles_labels()
        entry = 0.08 * max(map(len, look_of)) + 0.6  # width in inches
        ncols = max(1, min(len(look_of), int(width / entry)))
        figure.legend(*handles, loc="outside lower center", ncols=ncols)
    return figure


def _check(given: Mapping[str, np.ndarray], trait: np.ndarray) -> None:
    for name, values in given.items():
        if np.shape(values) != trait.shape:
            raise InputError(
                f"{name} is of shape {np.shape(values)}; expected that of trait, {trait.shape}"
            )


def _cloud(
    axes: Axes,
    values: Float[np.ndarray, " runs"],
    trait: Float[np.ndarray, " runs"],
    drawn_as: Shaped[np.ndarray, " runs"],
    look_of: Mapping[str, Look],
) -> None:
    for name, look in look_of.items():
        here = drawn_as == name
        dots(axes, values[here], trait[here], look, name, size=5.5)
    axes.axhline(0, color=GREY, lw=0.8, zorder=0)
    axes.locator_params(axis="x", nbins=5)


def _correlation(name: str, found: Interval) -> str:
    head = f"{name}: " if name else ""
    if np.isnan(found.mean):
        return f"{head}{RHO} undefined"
    if np.isnan(found.low):
        return f"{head}{RHO} = {found.mean:.2f}"
    return f"{head}{RHO} = {found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def layers_figure(
    overlap: Mapping[str, Float[np.ndarray, "seeds layers"]],
    *,
    layers: Sequence[int],
    names: Sequence[str],
    ylabel: str,
    title: str,
    trained_from: int | None = None,
) -> Figure:
    """Draw a quantity layer by layer: mean, 95 % t interval over seeds and every seed.

    Args:
        overlap: by arm or teacher (own, other), for instance the cosine of the student's and the
            teacher's shift of the residual stream.
        layers: which layers these are.
        names: all arms, so that each keeps its colour from figure to figure.
        ylabel: the quantity with its unit.
        title: the title.
        trained_from: the first layer that is trained, if those below are frozen: it is marked.

    Returns:
        The figure.

    Raises:
        InputError: an arm is not in ``names``, or does not have a value for each layer.
    """
    look_of = looks(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.9), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=GREY, lw=0.8)
        for name, values in overlap.items():
            if name not in look_of:
                raise InputError(f"overlap holds {name!r}; expected one of {list(names)}")
            if np.ndim(values) != 2 or np.shape(values)[1] != len(layers):
                raise InputError(
                    f"overlap of {name!r} is of shape {np.shape(values)}; expected "
                    f"[seeds, {len(layers)}]"
                )
            look = look_of[name]
            band(axes, np.asarray(layers), t_interval(values), look, name)
            # A line through a single layer would not be seen.
            each = "-" if len(layers) > 1 else look.marker
            axes.plot(layers, np.transpose(values), each, color=look.color, lw=0.6, alpha=0.5)
        if trained_from is not None:
            axes.axvline(trained_from, color=GREY, lw=1, ls=":", label="first trained layer")
        axes.set(xlabel="layer", ylabel=ylabel)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        figure.legend(loc="outside lower center", ncols=2)
    return figure
