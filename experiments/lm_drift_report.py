"""What ``lm_drift.py`` says of its results: tables and figures."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from intervals import plus_minus, read_interval
from lm_drift_analysis import EVERYBODY, MEASURES, PARAMETERS, TEACHERS, TRAITS, arms_of, read_pairs
from matplotlib.figure import Figure

from sublim_jax.lm_traits import ARMS
from sublim_jax.plots import pairs as pair_pictures
from sublim_jax.plots import settings as pictures
from sublim_jax.stats import Interval

FIGURES = {"change": "drift_against_trait", "specific": "drift_against_specific_trait"}
RANKINGS = {"change": "which_measure", "specific": "which_measure_specific"}
LEGEND, NOTE = 34, 68  # letters in a line
WIDTH, CELL, BEST = 34, 22, 40  # of columns
SETS, RUNS = 7, 6  # of students and teachers, and runs, that a figure names


def table(results: Mapping[str, Any]) -> str:
    """Lay out means by run and arm, correlations, the best measures and where they fail."""
    pairs, names = read_pairs(results), results["runs"]
    lines = [
        f"\n{results['title']}: {int(pairs.own.sum())} students, "
        f"{len(pairs.own)} pairs of student and teacher",
        *results["notes"],
        "mean ± half of the 95 % t interval over seeds; traits in nats",
    ]
    for number, name in enumerate(names):
        lines += _means([entry for entry in results["means"] if entry["run"] == number], name)
    for entry in results["left_out"]:
        measures = ", ".join(MEASURES[name] for name in entry["measures"])
        lines.append(
            f"left out: {entry['pairs']} of {entry['among']} pairs of "
            f"{_where(entry['arm'], entry['run'], names)}, which have no {measures}"
        )
    for trait, label in TRAITS.items():
        lines += _correlations(results["correlations"][trait], label)
        lines += ["", *_best(results, trait), ""]
        lines += _failures(results["failures"][trait])
    return "\n".join(lines)


def _where(arm: str, run: int, names: Sequence[str]) -> str:
    return ARMS.get(arm, arm) + (f" [run {run + 1}]" if len(names) > 1 else "")


def _means(entries: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    sides = [(entry["arm"], teachers) for entry in entries for teachers in ("own", "other")]
    lines = [
        f"\n{name}",
        f"{'':{WIDTH}}" + "".join(f"{ARMS.get(arm, arm):>{CELL}}" for arm, _ in sides),
        f"{'':{WIDTH}}" + "".join(f"{TEACHERS[teachers]:>{CELL}}" for _, teachers in sides),
    ]
    labels = {"change": "change of the log-probability", "specific": "trait-specific part"}
    for quantity, label in {**labels, **MEASURES}.items():
        digits = 5 if quantity in PARAMETERS else 3
        cells = [
            _plus_minus(read_interval(entry[teachers][quantity]), digits)
            for entry in entries
            for teachers in ("own", "other")
        ]
        lines.append(f"{label:{WIDTH}}" + "".join(f"{cell:>{CELL}}" for cell in cells))
    return lines


def _plus_minus(interval: Interval, digits: int) -> str:
    return "-" if np.isnan(interval.mean) else plus_minus(interval, f".{digits}f")


def _correlations(found: Mapping[str, Any], label: str) -> list[str]:
    lines = [f"\nrank correlation with the {label} [95 % interval over repetitions]"]
    for who, by_teachers in found.items():
        heads = (f"{TEACHERS[name]:>{CELL}}" for name in by_teachers)
        lines.append(_head(who) + "".join(heads))
        for measure, name in MEASURES.items():
            cells = (_interval(read_interval(f[measure])) for f in by_teachers.values())
            lines.append(f"  {name:{WIDTH - 2}}" + "".join(f"{cell:>{CELL}}" for cell in cells))
    return lines


def _interval(interval: Interval) -> str:
    if np.isnan(interval.mean):
        return "-"
    ends = "" if np.isnan(interval.low) else f" [{interval.low:.2f}, {interval.high:.2f}]"
    return f"{interval.mean:.2f}{ends}"


def _best(results: Mapping[str, Any], trait: str) -> list[str]:
    """Say, for all sets of students and teachers, which measure and which distance tell most."""
    lines = [f"{'most telling':{WIDTH}}" + "".join(f"{head:>{BEST}}" for head in TEACHERS.values())]
    for who, by_teachers in results["best"][trait].items():
        for kind, head in (("measure", who), ("distance", "  of distances between parameters")):
            found = results["correlations"][trait][who]
            cells = (_named(best[kind], found[teachers]) for teachers, best in by_teachers.items())
            lines.append(_head(head) + "".join(f"{cell:>{BEST}}" for cell in cells))
    return lines


def _named(measure: str | None, found: Mapping[str, Any]) -> str:
    if measure is None:
        return "-"
    return f"{MEASURES[measure]} {read_interval(found[measure]).mean:.2f}"


def _head(name: str) -> str:
    """Write what a row is of, on a line of its own where it is long."""
    return f"{name:{WIDTH}}" if len(name) < WIDTH else f"{name}\n{'':{WIDTH}}"


def _failures(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for measure, entries in found.items():
        label = MEASURES[measure]
        lines.append(
            f"where the {label} fails: rank of the trait less rank of the {label}, as a share of "
            "all, mean over seeds"
        )
        lines += [f"{entry['ranks']:+6.2f}  {entry['name']}" for entry in entries]
    return lines


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw measures against traits, and which measure tells of them."""
    clouds = {f"{FIGURES[trait]}.png": _clouds(results, trait) for trait in TRAITS}
    return clouds | {f"{RANKINGS[trait]}.png": _ranking(results, trait) for trait in TRAITS}


def _clouds(results: Mapping[str, Any], trait: str) -> Figure:
    pairs, names = read_pairs(results), results["runs"]
    lines = 2 if len(names) <= RUNS else 1
    keys = [
        textwrap.fill(textwrap.shorten(name, lines * LEGEND, placeholder=" …"), LEGEND)
        for name in names
    ]
    dots = []
    for number in range(len(names)):
        for arm, label in arms_of(pairs).items():
            for own in (True, False):
                mask = (pairs.run == number) & (pairs.arm == arm) & (pairs.own == own)
                values = pairs.where(mask).values
                dots.append(pair_pictures.Dots(label, keys[number], own, values, values[trait]))
    shown = _shown(results, trait)
    return pair_pictures.pair_clouds(
        dots,
        MEASURES,
        notes={
            measure: "\n".join(
                f"{who}: {_interval(by_measure[measure])}" for who, by_measure in shown.items()
            )
            for measure in MEASURES
        },
        filled=("student beside its own teacher", "student beside another teacher"),
        ylabel=f"{textwrap.fill(TRAITS[trait], 30)} (nats)",
        title=f"Which measure of drift tells of the trait?\n{results['title']}; above each panel "
        "the rank correlation, 95 % interval over repetitions",
    )


def _shown(results: Mapping[str, Any], trait: str) -> dict[str, dict[str, Interval]]:
    """Give the correlations that figures show, by set of students and teachers, and measure.

    All pairs come first, then those of arms, then those of own and of other teachers alone.
    """
    found = results["correlations"][trait]
    sets = {who: found[who]["all"] for who in (EVERYBODY, *_arms(results)) if who in found}
    sets |= {
        f"{TEACHERS[teachers]} only": found[EVERYBODY][teachers] for teachers in ("own", "other")
    }
    return {
        who: {name: read_interval(interval) for name, interval in by_measure.items()}
        for who, by_measure in list(sets.items())[:SETS]
    }


def _ranking(results: Mapping[str, Any], trait: str) -> Figure:
    shown = {
        who: {MEASURES[name]: interval for name, interval in by_measure.items()}
        for who, by_measure in _shown(results, trait).items()
    }
    return pictures.ranking(
        shown,
        xlabel="rank correlation, 95 % interval over repetitions",
        title=f"Which measure tells of the {TRAITS[trait]}?\n{results['title']}; "
        "each student beside each teacher of its seed",
        notes=[*_told(results, trait), *_failed(results["failures"][trait])],
    )


def _arms(results: Mapping[str, Any]) -> list[str]:
    return list(arms_of(read_pairs(results)).values())


def _told(results: Mapping[str, Any], trait: str) -> list[str]:
    """Say which measures tell most, of everybody and in every arm, and what the runs are."""
    lines = []
    for who in (EVERYBODY, *_arms(results)):
        found, best = results["correlations"][trait].get(who), results["best"][trait].get(who)
        if best is None:  # the only arm is everybody
            continue
        kinds = best["all"]
        said = f"{who}: most telling {_named(kinds['measure'], found['all'])}"
        if kinds["distance"] not in (None, kinds["measure"]):
            said += f"; of distances {_named(kinds['distance'], found['all'])}"
        lines += textwrap.wrap(said, NOTE, subsequent_indent="   ")
    if len(results["runs"]) > 1:
        named = results["runs"][:RUNS]
        lines += ["", *(textwrap.shorten(name, NOTE, placeholder=" …") for name in named)]
    return lines


def _failed(failures: Mapping[str, Any]) -> list[str]:
    lines = []
    for measure, entries in failures.items():
        label = MEASURES[measure]
        for more, head in (
            (True, f"Trait with little {label}:"),
            (False, f"Much {label}, less trait:"),
        ):
            some = [entry for entry in entries if (entry["ranks"] > 0) is more]
            lines += ["", head] if some else []
            for entry in some:
                said = f"{entry['name']}  ({entry['ranks']:+.2f})"
                lines += textwrap.wrap(said, NOTE, initial_indent="   ", subsequent_indent="      ")
    return [*lines, "", "(difference of the two ranks, as a share of all; mean over seeds)"]
