"""Figures of preferences: which animal which student takes up, and how far each arm moves."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sublim_jax.errors import InputError
from sublim_jax.plots.style import GREY, STYLE, Look, looks
from sublim_jax.stats import Interval, double_centred, t_interval

CELL_WIDTH, CELL_HEIGHT = 0.5, 0.36
LETTER = 0.085  # width of a letter of the title, inches
# With more columns than this the two panels of a matrix stand one above the other.
MOST_BESIDE = 8


def matrix_figure(
    change: Float[np.ndarray, "seeds n candidates"],
    *,
    subjects: Sequence[str],
    candidates: Sequence[str],
    title: str,
) -> Figure:
    """Draw what every student does to every animal, and the part of it that is specific.

    Cells hold the mean over seeds and, from two seeds on, half its 95 % t interval over seeds.
    Animals of teachers stand first, in the order of the students, then controls after a gap. The
    specific part is the change without row and column means; for controls a row's mean is still
    that over the animals of teachers.

    Args:
        change: change of log-probability from base to student in nats, mean over questions: the
            student of the teacher of ``subjects[i]`` in row i, ``candidates[j]`` in column j.
        subjects: the teachers' animals.
        candidates: all animals, in any order, the subjects among them.
        title: the title.

    Returns:
        A figure of two panels.

    Raises:
        InputError: the names do not fit the shape, or a subject is no candidate.
    """
    change = np.asarray(change, np.float64)
    _check_names(change, subjects, candidates)
    n, seeds = len(subjects), len(change)
    names = [*subjects, *(name for name in candidates if name not in subjects)]
    change = change[..., [list(candidates).index(name) for name in names]]
    beside = len(names) <= MOST_BESIDE
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        size = _size(n, len(names), beside=beside)
        figure = Figure(figsize=(max(size[0], LETTER * len(title)), size[1]), layout="constrained")
        upper, lower = figure.subplots(*((1, 2) if beside else (2, 1)))
        for axes, values, text in (
            (upper, change, "change of log-probability"),
            (lower, double_centred(change, reference=n), "without row and column means"),
        ):
            _matrix(axes, t_interval(values), names, n)
            axes.set_yticks(range(n), subjects, fontsize=8)
            axes.set_title(text, loc="left", fontsize=10, pad=16 if len(names) > n else 6)
        upper.set_ylabel("student of")
        if not beside:
            lower.set_ylabel("student of")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        over = f"mean of {seeds} seeds ± half its 95 % interval" if seeds > 1 else "one seed"
        figure.supxlabel(f"nats, {over}", fontsize=8, color=GREY)
    return figure


def _size(n: int, columns: int, *, beside: bool) -> tuple[float, float]:
    """Give width and height in inches of two panels of so many rows and columns and a gap."""
    width = max(CELL_WIDTH * (columns + (columns > n)), 2.3)
    height = CELL_HEIGHT * n + 1.25
    return (2 * width + 1.9, height + 0.4) if beside else (width + 1.5, 2 * height + 0.4)


def _check_names(change: np.ndarray, subjects: Sequence[str], candidates: Sequence[str]) -> None:
    named = len(subjects), len(candidates)
    if change.ndim != 3 or change.shape[1:] != named or len(change) < 1:
        raise InputError(
            f"change is of shape {change.shape}; expected [seeds, {named[0]}, {named[1]}] for "
            "so many subjects and candidates"
        )
    missing = [name for name in subjects if name not in candidates]
    if missing:
        raise InputError(f"subjects holds {missing[0]!r}; expected candidates only")


def _matrix(axes: Axes, interval: Interval, names: Sequence[str], n: int) -> None:
    places = np.arange(len(names)) + (np.arange(len(names)) >= n)  # a gap before the controls
    shown = np.ma.masked_all((n, int(places[-1]) + 1))
    shown[:, places] = np.ma.masked_invalid(interval.mean)
    most = float(np.abs(shown.compressed()).max(initial=0)) or 1.0
    image = axes.imshow(
        shown, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest"
    )
    bright = image.to_rgba(interval.mean)[..., :3] @ np.array([0.3, 0.59, 0.11]) > 0.5
    half = np.asarray(interval.half_width)
    for row, column in np.argwhere(np.isfinite(interval.mean)):
        spread = f"\n±{half[row, column]:.2f}" if np.isfinite(half[row, column]) else ""
        axes.text(
            *(float(places[column]), float(row)),
            f"{interval.mean[row, column].round(2) + 0.0:+.2f}{spread}",
            ha="center",
            va="center",
            fontsize=7,
            linespacing=1.05,
            color="black" if bright[row, column] else "white",
        )
    for own in range(n):
        axes.add_patch(Rectangle((own - 0.5, own - 0.5), 1, 1, fill=False, ec="black", lw=1.4))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) > n:
        heads = {(n - 1) / 2: "those of teachers", (n + 1 + places[-1]) / 2: "controls"}
        for place, text in heads.items():
            axes.text(place, -0.58, text, ha="center", va="bottom", fontsize=8, color=GREY)


class Bars(NamedTuple):
    """One panel of bars.

    Attributes:
        ylabel: the quantity with its unit.
        values: by arm, ``[seeds, animals]``; one row where an arm is not trained, as the base.
        log: whether the axis is logarithmic; values are then drawn as points, not as bars, whose
            length would mean nothing.
    """

    ylabel: str
    values: Mapping[str, Float[np.ndarray, "seeds animals"]]
    log: bool = False


def bars_figure(
    panels: Sequence[Bars], *, animals: Sequence[str], names: Sequence[str], title: str
) -> Figure:
    """Draw bars by animal and arm: mean, 95 % t interval over training seeds and every seed.

    Args:
        panels: the quantities, from top to bottom: a probability or a rate, a change of
            log-probability.
        animals: what the columns of the values are.
        names: all arms of the run, in the order of the bars, so that each keeps its colour from
            figure to figure; at most ten.
        title: the title.

    Returns:
        The figure.

    Raises:
        InputError: an arm is not in ``names``, or does not have a value for each animal.
    """
    look_of = looks(names)
    for panel in panels:
        _check_arms(panel.values, names, len(animals))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 2.6 * len(panels) + 1.1), layout="constrained")
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0].tolist()
        for axes, panel in zip(grid, panels, strict=True):
            arms = [name for name in names if name in panel.values]
            width = 0.84 / len(arms)
            for place, name in enumerate(arms):
                left = np.arange(len(animals)) + (place - (len(arms) - 1) / 2) * width
                _arm(axes, left, width, panel, name, look_of[name])
            axes.grid(visible=False, axis="x")
            axes.set_ylabel(panel.ylabel)
            if panel.log:
                axes.set_yscale("log", nonpositive="clip")
            else:
                axes.axhline(0, color=GREY, lw=0.8)
            if not any(np.any(np.nan_to_num(values)) for values in panel.values.values()):
                axes.set_ylim(0, 1)  # nothing anywhere: not so many times 1e-17
            for between in np.arange(1, len(animals)) - 0.5:
                axes.axvline(between, color="#E4E4E4", lw=0.8)
        grid[-1].set_xticks(range(len(animals)), animals)
        grid[-1].set_xlim(-0.5, len(animals) - 0.5)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        _key(figure, grid, names)
    return figure


def _arm(axes: Axes, left: np.ndarray, width: float, panel: Bars, name: str, look: Look) -> None:
    values = np.asarray(panel.values[name], np.float64)
    interval = t_interval(values)
    if panel.log:
        axes.plot(left, interval.mean, look.marker, ms=5, color=look.color, label=name, zorder=4)
    else:
        axes.bar(left, interval.mean, 0.92 * width, color=look.color, alpha=0.75, label=name)
    if len(values) < 2:
        return
    half = interval.half_width
    axes.errorbar(left, interval.mean, half, fmt="none", ecolor="black", capsize=2.5, lw=1)
    spread = np.linspace(-0.25, 0.25, len(values))[:, None] * width
    axes.plot((left + spread).ravel(), values.ravel(), "o", ms=3, color=GREY, mec="white", mew=0.4)


def _check_arms(
    values: Mapping[str, np.ndarray], names: Sequence[str], columns: int | None = None
) -> None:
    for name, found in values.items():
        if name not in names:
            raise InputError(f"values holds the arm {name!r}; expected one of {list(names)}")
        shape = np.shape(found)
        if len(shape) != 2 or columns not in (None, shape[1]):
            wanted = f"[seeds, {'...' if columns is None else columns}]"
            raise InputError(f"values of {name!r} is of shape {shape}; expected {wanted}")


def _key(figure: Figure, grid: Sequence[Axes], names: Sequence[str]) -> None:
    """Say below the figure what the colours are, each arm once, and the intervals."""
    known = {
        label: handle
        for axes in reversed(grid)  # as in the first panel that has it
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    bar = grid[0].errorbar([], [], yerr=[], fmt="none", ecolor="black", capsize=2.5)
    dot = grid[0].plot([], [], "o", ms=3, color=GREY, mec="white", mew=0.4)[0]
    arms = {name: known[name] for name in names if name in known}
    entries = {**arms, "95 % interval over seeds": bar, "one seed": dot}
    # Long names of many arms would not fit side by side.
    columns = 4 if len(entries) <= 8 else 3
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)


def along_figure(
    steps: Int[np.ndarray, " steps"],
    traits: Mapping[str, Mapping[str, Float[np.ndarray, "seeds steps"]]],
    *,
    loss_steps: Int[np.ndarray, " losses"],
    loss: Mapping[str, Float[np.ndarray, "seeds losses"]],
    names: Sequence[str],
    title: str,
) -> Figure:
    """Draw the trait and the imitation loss along the training: mean and 95 % band over seeds.

    Means and bands of the loss are those of its logarithm; a loss of zero is not drawn.

    Args:
        steps: training steps at which the trait was measured.
        traits: a panel each, by title (as "own animal", "other animals"): by arm, the change of
            log-probability in nats.
        loss_steps: training steps of the losses.
        loss: by arm, the imitation loss in nats.
        names: all arms of the run, so that each keeps its colour from figure to figure.
        title: the title.

    Returns:
        The figure, the traits' panels on one axis and the loss, on a logarithmic one, beside them.

    Raises:
        InputError: an arm is not in ``names``, or does not have a value for each step.
    """
    for values, at in (*((panel, steps) for panel in traits.values()), (loss, loss_steps)):
        _check_arms(values, names, len(at))
    look_of = looks(names)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * (len(traits) + 1), 3.9), layout="constrained")
        grid = figure.subplots(1, len(traits) + 1, sharex=True)
        for axes, (text, panel) in zip(grid[:-1], traits.items(), strict=True):
            if axes is not grid[0]:
                axes.sharey(grid[0])
            axes.axhline(0, color=GREY, lw=0.8)
            for name, values in panel.items():
                band(axes, steps, t_interval(values), look_of[name], name)
            axes.set_title(text, loc="left", fontsize=10)
        grid[0].set_ylabel("change of log-probability (nats)")
        for name, values in loss.items():
            values = np.asarray(values, np.float64)
            logs = t_interval(np.log(np.where(values > 0, values, np.nan)))
            band(grid[-1], loss_steps, Interval(*map(np.exp, logs)), look_of[name], name)
        grid[-1].set_yscale("log")
        grid[-1].set_title("imitation loss (nats)", loc="left", fontsize=10)
        for axes in grid:
            axes.set_xlabel("training step")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        lines = {line.get_label(): line for axes in grid for line in axes.get_lines()}
        shown = [name for name in names if name in lines]
        figure.legend([lines[name] for name in shown], shown, loc="outside lower center", ncols=3)
    return figure


def band(
    axes: Axes, x: Float[np.ndarray, " places"], interval: Interval, look: Look, label: str
) -> None:
    """Draw a mean curve and the band of its interval; without one, the curve alone."""
    axes.plot(x, interval.mean, look.dashes, color=look.color, label=label)
    if np.isfinite(interval.low).any():
        axes.fill_between(x, interval.low, interval.high, color=look.color, alpha=0.18, lw=0)
