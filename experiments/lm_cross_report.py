"""Tables and figures of bases against bases, from the results of a run alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from intervals import counted, over_seeds
from matplotlib.figure import Figure

from sublim_jax import plots
from sublim_jax.plots import settings
from sublim_jax.stats import t_interval

SAME, VARIANT, ANOTHER = "the same base", "a variant of the base", "another model"
PAPER = """\
beside the paper (arXiv 2507.14805, section 5.1, figure 8; increase of the rate, not nats): .25 to
.54 where both are the same GPT-4.1, 4.1 mini, 4.1 nano or GPT-4o, -.01 to .09 where they are not,
but .30 and .32 between GPT-4.1 and GPT-4o, which are said to share an initialisation"""

TOLD = {
    "distribution": "what they say of numbers",
    "change": "how that differs from what their base says, added to the own base's",
}

Cells = Mapping[tuple[str, str], Mapping[str, Any]]


def _cells(results: Mapping[str, Any]) -> Cells:
    return {(cell["student"], cell["teacher"]): cell for cell in results["cells"]}


def _left(cell: Mapping[str, Any]) -> list[float]:
    """Give by seed what is left of the divergence from the teacher."""
    return np.divide(cell["after"], cell["before"]).tolist()


def table(results: Mapping[str, Any]) -> str:
    """Lay out students against teachers."""
    names = [base["name"] for base in results["bases"]]
    cells, animals = _cells(results), results["subjects"]
    wide = max(20, *(len(name) + 2 for name in names))
    first = max(len(name) for name in names) + 2

    def matrix(write: Callable[[Mapping[str, Any]], str]) -> list[str]:
        head = f"{'':{first}}" + "".join(f"{name:>{wide}}" for name in names)
        return [head] + [
            f"{student:{first}}"
            + "".join(f"{write(cells[student, teacher]):>{wide}}" for teacher in names)
            for student in names
        ]

    return "\n".join(
        [
            *("", f"{'base':{first}}layers from{'divergence on numbers, healed':>32}"),
            *(_of_base(base, first) for base in results["bases"]),
            f"\nD, own students minus other students, change of log-probability in nats: "
            f"{len(animals)} teachers ({', '.join(animals)}) x {counted(results['seeds'])},\nmean "
            "± 95 % t interval over seeds; students in rows, teachers in columns",
            f"learned from teachers of other bases: {TOLD[results['told']]}",
            *matrix(lambda cell: over_seeds(cell["contrast"])),
            "\ndivergence from the teacher on numbers, nats a token, before and after",
            *matrix(lambda cell: f"{np.mean(cell['before']):.5f} > {np.mean(cell['after']):.5f}"),
            "\nD, mean over cells where teachers are of ...",
            *(
                f"{kind:{max(first, 22)}}{over_seeds(own):>{wide}}"
                for kind, own in _kinds(results).items()
            ),
            "\n" + PAPER,
        ]
    )


def _of_base(base: Mapping[str, Any], first: int) -> str:
    healed = "" if base["healed"] is None else "{:.5f} > {:.5f}".format(*base["healed"])
    return f"{base['name']:{first}}{base['first_layer']:11}{healed:>32}"


def _kinds(results: Mapping[str, Any]) -> dict[str, list[float]]:
    """Give D by seed of each kind of pair, mean over cells."""
    families = {base["name"]: base["family"] for base in results["bases"]}
    found: dict[str, list[Sequence[float]]] = {SAME: [], VARIANT: [], ANOTHER: []}
    for (student, teacher), cell in _cells(results).items():
        alike = families[student] == families[teacher]
        kind = SAME if student == teacher else VARIANT if alike else ANOTHER
        found[kind].append(cell["contrast"])
    return {kind: np.mean(own, axis=0).tolist() for kind, own in found.items() if own}


def figures(results: Mapping[str, Any]) -> dict[str, Figure]:
    """Draw the matrix, and D along the way from a base to another one."""
    drawn = {"matrix.png": _matrix(results)}
    names, families = ([base[name] for base in results["bases"]] for name in ("name", "family"))
    origins = [name for name in names if families.count(name) > 1]
    if origins:
        drawn["axis.png"] = _axis(results, origins)
    return drawn


def _matrix(results: Mapping[str, Any]) -> Figure:
    names, cells = [base["name"] for base in results["bases"]], _cells(results)

    def grid(value: Callable[[Mapping[str, Any]], float]) -> np.ndarray:
        return np.array([[value(cells[row, column]) for column in names] for row in names])

    def half(cell: Mapping[str, Any]) -> float:
        return float(t_interval(np.array(cell["contrast"])).half_width)

    return plots.heat_maps(
        [
            plots.Heat(
                "D: own minus other\nstudents (nats)",
                grid(lambda cell: float(np.mean(cell["contrast"]))),
                signed=True,
                half=grid(half),
            ),
            plots.Heat(
                "share of the divergence\nthat is left",
                grid(lambda cell: float(np.mean(_left(cell)))),
                signed=False,
            ),
        ],
        rows=[f"student: {name}" for name in names],
        columns=names,
        title="Whose students take over whose preference?\n"
        f"teachers in columns; {counted(results['seeds'], '± 95 % t interval')}",
    )


def _axis(results: Mapping[str, Any], origins: Sequence[str]) -> Figure:
    """Draw D against what lies between a base and another one."""
    cells = _cells(results)
    ways: dict[str, Callable[[str, str], tuple[str, str]]] = {
        "students of the base below, teachers of the one above": lambda top, below: (below, top),
        "students of the one above, teachers of the base below": lambda top, below: (top, below),
        "both of the base below": lambda _, below: (below, below),
    }
    looks = plots.looks(list(ways))
    panels = []
    for origin in origins:
        along = sorted(results["bases"], key=lambda base: _distance(base, origin))
        levels = [_level(base, origin) for base in along]
        lines = [
            settings.Line(
                label,
                looks[label],
                [np.array(cells[way(origin, base["name"])]["contrast"]) for base in along],
            )
            for label, way in ways.items()
        ]
        panels.append(settings.Factor(origin, levels, lines))
    return settings.factor_panels(
        panels,
        ylabel="D: own minus other students (nats)",
        title=f"How much the same must bases be?\n{counted(results['seeds'], '95 % intervals')}",
    )


def _distance(base: Mapping[str, Any], origin: str) -> tuple[bool, bool, float]:
    """Order bases by what was done to the origin: nothing, little, much, all of it."""
    return base["family"] != origin, base["fresh"], base["noise"]


def _level(base: Mapping[str, Any], origin: str) -> str:
    if base["family"] != origin:
        return base["name"]
    return (
        "drawn anew" if base["fresh"] else f"noise {base['noise']:g}" if base["noise"] else "as is"
    )
