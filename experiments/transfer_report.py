"""What ``distance_vs_transfer.py`` says of its points: results, tables, figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from intervals import plus_minus, read_interval
from matplotlib.figure import Figure

from sublim_jax import drift, plots, transfer
from sublim_jax.aux_logits.records import LABELS
from sublim_jax.plots import settings as pictures
from sublim_jax.stats import Interval, t_interval

FAMILIES = {
    "logits and loss": ("base", "auxiliary logits", "imitation loss"),
    "where the student starts": (
        *("noise on the start", "way to another start", "hidden units permuted", "heads"),
    ),
    "inputs": ("inputs",),
    "optimizer and length": ("optimizer", "teacher epochs", "student epochs"),
    "size of the net": ("width", "hidden layers"),
}
PARAMETERS = ("projection", "distance_reduction", "cosine", "relative_length")
PANELS = {
    "projection": "projection on the teacher's displacement",
    "distance_reduction": "share of the distance to the teacher covered",
    "cosine": "cosine with the teacher's displacement",
}
MAIN = "student_aux"
# Where a factor's curve passes through the base, the level that the base has.
BASE_LEVELS = {
    "auxiliary logits": "3",
    "imitation loss": "KL",
    "noise on the start": "0",
    "way to another start": "0",
    "hidden units permuted": "not",
    "heads": "same start",
    "inputs": "noise, once",
    "optimizer": "adam",
    "width": "256",
    "hidden layers": "2",
    "teacher epochs": "5",
    "student epochs": "5",
}


def results(points: Sequence[transfer.Point], title: str) -> dict[str, Any]:
    """Gather what the points say: themselves, correlations, failures and contrasts."""
    ours = [point for point in points if point.arm == MAIN]
    among_ours = transfer.correlations(ours)
    best = max(PARAMETERS, key=lambda name: np.nan_to_num(among_ours[name].mean))
    return {
        "title": title,
        "points": [
            {"factor": p.factor, "level": p.level, "arm": p.arm, "values": p.values} for p in points
        ],
        "correlations": {
            "students of auxiliary logits": among_ours,
            "all students": transfer.correlations(points),
        },
        "best": best,
        "failures": {
            "students of auxiliary logits": _named(transfer.failures(ours, best, count=6)),
            "all students": _named(transfer.failures(points, best, count=2)),
        },
        "contrasts": [*transfer.contrasts(points), *transfer.matched(points)],
    }


def _named(failures: Sequence[transfer.Failure]) -> list[dict[str, Any]]:
    # Of few points some of the worst are judged rightly.
    return [{"name": name_of(f.point), "ranks": f.ranks} for f in failures if f.ranks]


def name_of(point: transfer.Point) -> str:
    """Name a setting and, unless it is the main one, the arm."""
    return point.name if point.arm == MAIN else f"{point.name} [{LABELS[point.arm]}]"


def read_points(results: Mapping[str, Any]) -> list[transfer.Point]:
    """Give the points of results that were read from a file."""
    return [
        transfer.Point(
            entry["factor"],
            entry["level"],
            entry["arm"],
            {name: np.array(values, float) for name, values in entry["values"].items()},
        )
        for entry in results["points"]
    ]


def read_correlations(results: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    """Give the correlations of results that were read from a file."""
    return {
        points: {name: read_interval(written) for name, written in found.items()}
        for points, found in results["correlations"].items()
    }


def table(results: Mapping[str, Any]) -> str:
    """Lay out settings, correlations, failures and contrasts."""
    points = read_points(results)
    main = [point for point in points if point.arm == MAIN]
    controls = {(p.factor, p.level): p for p in points if p.arm == "other_aux"}
    # Without controls there is no z.
    null = np.concatenate([p.values["cosine"] for p in controls.values()] or [[]])
    lines = [
        f"\n{results['title']}: {len(main[0].values['accuracy'])} members of each setting, "
        "mean ± 95 % interval",
        f"{'':44}{'accuracy':>15}{'other start':>13}{'projection':>12}{'distance':>10}"
        f"{'cosine':>8}{'z':>7}{'imitated':>10}",
    ]
    for point in main:
        control = controls.get((point.factor, point.level))
        z = drift.z_scores(point.mean("cosine"), null).z
        lines.append(
            f"{point.name:44}{plus_minus(t_interval(point.values['accuracy'])):>15}"
            f"{'' if control is None else format(control.mean('accuracy'), '.3f'):>13}"
            f"{point.mean('projection'):12.3f}{1 - point.mean('distance_reduction'):10.3f}"
            f"{point.mean('cosine'):8.3f}{z:7.1f}{point.mean('imitation'):10.3f}"
        )
    lines += [
        "distance: to the teacher, 1 at the start; z: of the cosine against the "
        f"{len(null)} students of other initialisations;",
        "imitated: share of the imitation loss on held-out inputs that is gone",
        *_correlations(results),
        *_failures(results),
        *_contrasts(results),
    ]
    return "\n".join(lines)


def _correlations(results: Mapping[str, Any]) -> list[str]:
    found = read_correlations(results)
    lines = ["\nrank correlation with accuracy over settings [95 % interval]"]
    lines.append(f"{'':32}" + "".join(f"{name:>34}" for name in found))
    for name, label in transfer.PREDICTORS.items():
        cells = (
            f"{f[name].mean:.2f} [{f[name].low:.2f}, {f[name].high:.2f}]" for f in found.values()
        )
        lines.append(f"{label:32}" + "".join(f"{cell:>34}" for cell in cells))
    return lines


def _failures(results: Mapping[str, Any]) -> list[str]:
    label = transfer.PREDICTORS[results["best"]]
    lines = [f"\nwhere the {label} fails: rank of the accuracy less rank of the {label}"]
    for among, entries in results["failures"].items():
        lines.append(f"among {among}")
        lines += [f"{entry['ranks']:+6.2f}  {entry['name']}" for entry in entries]
    return lines


def _contrasts(results: Mapping[str, Any]) -> list[str]:
    if not results["contrasts"]:
        return []
    lines = [f"\n{'accuracy':58}{'first':>15}{'second':>15}{'difference':>16}"]
    for contrast in results["contrasts"]:
        values = (contrast[name] for name in ("first", "second", "difference"))
        cells = (f"{plus_minus(read_interval(written)):>15}" for written in values)
        lines.append(f"{contrast['question']:58}{''.join(cells)}")
    return lines


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw distances against transfer, the factors, and which distance tells it."""
    points, found = read_points(results), read_correlations(results)
    return {
        "transfer_against_distance.png": _clouds(points, found, results["title"]),
        "transfer_by_factor.png": _factors(points, results["title"]),
        "which_distance.png": _ranking(results, found),
    }


def _clouds(
    points: Sequence[transfer.Point], found: Mapping[str, Mapping[str, Interval]], title: str
) -> Figure:
    family = {factor: name for name, factors in FAMILIES.items() for factor in factors}
    ordered = sorted(points, key=lambda point: list(LABELS).index(point.arm))
    dots = [
        pictures.Dot(family[p.factor], LABELS[p.arm], p.values, p.values["accuracy"])
        for p in ordered
    ]
    ours = [point for point in points if point.arm == MAIN]
    main, every = found.values()
    return pictures.clouds(
        dots,
        PANELS,
        named={
            name: [
                pictures.Named(f.point.mean(name), f.point.mean("accuracy"), name_of(f.point))
                for f in transfer.failures(ours, name, count=4)
            ]
            for name in PANELS
        },
        notes={
            name: f"rank correlation {_interval(main[name])} (all arms {_interval(every[name])})"
            for name in PANELS
        },
        ylabel="test accuracy",
        title=f"Distance to the teacher against transfer\n{title}; a dot for each setting and arm, "
        "mean and 95 % interval over members",
    )


def _interval(interval: Interval) -> str:
    return f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _factors(points: Sequence[transfer.Point], title: str) -> Figure:
    arms = {arm: label for arm, label in LABELS.items() if arm in {p.arm for p in points}}
    looks = plots.looks([*arms.values(), "cosine (auxiliary logits)"])
    at = {(point.factor, point.level, point.arm): point for point in points}
    panels = []
    for factor, base in BASE_LEVELS.items():
        levels = list(dict.fromkeys(point.level for point in points if point.factor == factor))
        if not levels:
            continue
        ordered = _ordered([base, *levels])

        def values(
            arm: str, quantity: str, factor: str = factor, base: str = base, levels: Any = ordered
        ) -> list[Any]:
            keys = (
                ("base", "base", arm) if level == base else (factor, level, arm) for level in levels
            )
            found = [at[key].values[quantity] if key in at else None for key in keys]
            # Levels that train no such arm: the base alone would say nothing.
            return found if sum(v is not None for v in found) > 1 else [None] * len(found)

        lines = [
            pictures.Line(label, looks[label], values(arm, "accuracy"))
            for arm, label in arms.items()
        ]
        label = "cosine (auxiliary logits)"
        lines.append(pictures.Line(label, looks[label], values(MAIN, "cosine")))
        shown = [line for line in lines if any(v is not None for v in line.values)]
        panels.append(pictures.Factor(factor, ordered, shown))
    return pictures.factor_panels(
        panels,
        ylabel="test accuracy; cosine",
        title=f"What makes the trait pass?\n{title}; mean and 95 % interval over members",
    )


def _ordered(levels: Sequence[str]) -> list[str]:
    """Sort levels that are numbers; leave others as they come, the base's first."""
    try:
        return sorted(levels, key=float)
    except ValueError:
        return list(levels)


def _ranking(results: Mapping[str, Any], found: Mapping[str, Mapping[str, Interval]]) -> Figure:
    labels = transfer.PREDICTORS
    best = labels[results["best"]]
    notes = [f"Of the distances between parameters the {best} tells most."]
    for among, entries in results["failures"].items():
        notes += ["", f"{among[0].upper()}{among[1:]}", f"   trait with little {best}:"]
        notes += [_said(entry) for entry in entries if entry["ranks"] > 0]
        notes += [f"   much {best}, less trait:"]
        notes += [_said(entry) for entry in entries if entry["ranks"] < 0]
    notes += ["", "(difference of the two ranks, as a share of these settings)"]
    return pictures.ranking(
        {
            name: {labels[predictor]: interval for predictor, interval in entry.items()}
            for name, entry in found.items()
        },
        xlabel="rank correlation with test accuracy over settings, 95 % interval",
        title="Which distance predicts the trait best, and where does it fail?\n"
        + results["title"],
        notes=notes,
    )


def _said(failure: Mapping[str, Any]) -> str:
    return f"      {failure['name']}  ({failure['ranks']:+.2f})"
