"""What ``lm_drift.py`` finds in students beside teachers: means, correlations, failures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from lm_drift_pairs import Pairs
from scipy import stats as scipy_stats
from tqdm import tqdm

from sublim_jax.lm_traits import ARMS
from sublim_jax.lm_traits import MEASURES as WRITTEN
from sublim_jax.stats import Interval, rank_correlation, t_interval

PARAMETERS = ("projection", "distance_reduction", "cosine", "relative_length")
MEASURES = {
    **dict.fromkeys(PARAMETERS, ""),
    **WRITTEN,
    "distance_reduction": "distance reduction",
    "relative_length": "relative length",
}
"""What runs write down, and what follows from it; parameters come first."""
TRAITS = {
    "change": "change of the log-probability of the teacher's animal",
    "specific": "trait-specific part of the change of the log-probability",
}
"""The second is without means over animals and over students (`lm_traits.analysis.specific`)."""
TEACHERS = {"all": "all teachers", "own": "own teachers", "other": "other teachers"}
EVERYBODY = "all students"
RESAMPLES = 1_000
PATIENCE = 2.0  # seconds without a progress bar
NAMED = 3  # failures to each side


def results(
    pairs: Pairs, names: Sequence[str], title: str, notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Gather what the pairs say: means, correlations, the best measures and where they fail.

    Args:
        pairs: students beside teachers.
        names: what the runs are called.
        title: of them all.
        notes: what is to be said of the runs.
    """
    found = correlations(pairs, names)
    best = {
        trait: {
            who: {
                teachers: {"measure": most(by_measure, MEASURES), "distance": most(by_measure)}
                for teachers, by_measure in by_teachers.items()
            }
            for who, by_teachers in by_students.items()
        }
        for trait, by_students in found.items()
    }
    return {
        "title": title,
        "notes": list(notes),
        "runs": list(names),
        "means": list(means(pairs)),
        "left_out": left_out(pairs),
        "correlations": found,
        "best": best,
        "failures": {
            trait: {
                name: failures(pairs, names, trait, name)
                for name in dict.fromkeys(best[trait][EVERYBODY]["all"].values())
                if name is not None
            }
            for trait in TRAITS
        },
        "pairs": pairs._asdict(),
    }


def read_pairs(results: Mapping[str, Any]) -> Pairs:
    """Give the pairs of results that were read from a file."""
    written = dict(results["pairs"])
    values = {name: np.array(one, float) for name, one in written.pop("values").items()}
    return Pairs(**{name: np.array(column) for name, column in written.items()}, values=values)


def arms_of(pairs: Pairs) -> dict[str, str]:
    """List the arms that there are, and what they are called."""
    arms: list[str] = pairs.arm.tolist()
    return {arm: ARMS.get(arm, arm) for arm in arms}


def chosen(pairs: Pairs) -> dict[str, Bool[np.ndarray, " pairs"]]:
    """Say which pairs have which teachers."""
    return {"all": np.full(pairs.own.shape, True), "own": pairs.own, "other": ~pairs.own}


def among(pairs: Pairs, names: Sequence[str]) -> dict[str, Bool[np.ndarray, " pairs"]]:
    """Say which pairs belong to whom: to everybody, to arms and to runs, if there are several."""
    arms, found = arms_of(pairs), {EVERYBODY: chosen(pairs)["all"]}
    if len(arms) > 1:
        found |= {label: pairs.arm == arm for arm, label in arms.items()}
    if len(names) > 1:
        found |= {name: pairs.run == number for number, name in enumerate(names)}
    return found


def correlations(
    pairs: Pairs, names: Sequence[str]
) -> dict[str, dict[str, dict[str, dict[str, Interval]]]]:
    """Give rank correlations by trait, students, teachers and measure.

    The intervals are those of the bootstrap over repetitions of runs. Pairs for which a measure is
    not defined are left out.
    """
    wanted = [
        (trait, who, teachers, mask & whose, name)
        for trait in TRAITS
        for who, mask in among(pairs, names).items()
        for teachers, whose in chosen(pairs).items()
        for name in MEASURES
    ]
    found: dict[str, Any] = {}
    for trait, who, teachers, mask, name in tqdm(wanted, unit="", delay=PATIENCE, leave=False):
        some = pairs.where(mask)
        values = some.values
        interval = rank_correlation(
            values[name], values[trait], clusters=some.clusters, resamples=RESAMPLES
        )
        place = found.setdefault(trait, {}).setdefault(who, {}).setdefault(teachers, {})
        place[name] = interval
    return found


def most(found: Mapping[str, Interval], names: Sequence[str] | Mapping = PARAMETERS) -> str | None:
    """Name the measure that tells most of a trait; None where none tells anything."""
    defined = [name for name in names if not np.isnan(found[name].mean)]
    return max(defined, key=lambda name: float(found[name].mean), default=None)


def means(pairs: Pairs) -> Iterator[dict[str, Any]]:
    """Give, by run and arm, mean and t interval over seeds of everything, by teachers."""
    for run, arm in dict.fromkeys(zip(pairs.run.tolist(), pairs.arm.tolist(), strict=True)):
        here = (pairs.run == run) & (pairs.arm == arm)
        entry: dict[str, Any] = {"run": run, "arm": arm}
        for teachers in ("own", "other"):
            some = pairs.where(here & chosen(pairs)[teachers])
            entry[teachers] = {
                name: over_seeds(some.values[name], some.seed) for name in (*TRAITS, *MEASURES)
            }
        yield entry


def over_seeds(values: Float[np.ndarray, " pairs"], seeds: np.ndarray) -> Interval:
    """Average over the defined pairs of each seed, and give the t interval over seeds."""
    there = ~np.isnan(values)
    each = [values[there & (seeds == seed)].mean() for seed in np.unique(seeds[there])]
    return t_interval(np.array(each)) if each else Interval(*np.full(3, np.nan))


def left_out(pairs: Pairs) -> list[dict[str, Any]]:
    """Count the pairs of every run and arm for which measures are not defined."""
    found = []
    for run, arm in dict.fromkeys(zip(pairs.run.tolist(), pairs.arm.tolist(), strict=True)):
        some = pairs.where((pairs.run == run) & (pairs.arm == arm))
        missing = {name: int(np.isnan(some.values[name]).sum()) for name in MEASURES}
        for count in dict.fromkeys(number for number in missing.values() if number):
            without = [name for name, number in missing.items() if number == count]
            entry = {"run": run, "arm": arm, "measures": without, "pairs": count}
            found.append(entry | {"among": len(some.run)})
    return found


def failures(
    pairs: Pairs, names: Sequence[str], trait: str, measure: str, *, count: int = NAMED
) -> list[dict[str, Any]]:
    """Name students beside teachers that a measure misjudges most, in the mean over seeds.

    Returns:
        First those with the trait and without the measure, then the others; the worst first.
        ``ranks`` is by how much higher the trait ranks than the measure, as a share of all pairs.
    """
    some = pairs.where(~np.isnan(pairs.values[measure]) & ~np.isnan(pairs.values[trait]))
    trait_ranks, ranks = (scipy_stats.rankdata(some.values[name]) for name in (trait, measure))
    gaps: dict[Any, list[float]] = {}
    columns = (some.student, some.teacher, some.arm, some.run, trait_ranks - ranks)
    for *who, gap in zip(*(column.tolist() for column in columns), strict=True):
        gaps.setdefault(tuple(who), []).append(gap / max(1, len(ranks) - 1))
    mean = {who: sum(each) / len(each) for who, each in gaps.items()}
    worst = sorted(mean, key=lambda who: mean[who])
    above = [who for who in worst[::-1][:count] if mean[who] > 0]
    below = [who for who in worst[:count] if mean[who] < 0]
    return [{"name": _name(who, names), "ranks": mean[who]} for who in (*above, *below)]


def _name(key: tuple[str, str, str, int], names: Sequence[str]) -> str:
    student, teacher, arm, run = key
    beside = "own teacher" if student == teacher else f"teacher of {teacher}"
    where = f"; run {run + 1}" if len(names) > 1 else ""
    return f"student of {student}, {beside} [{ARMS.get(arm, arm)}{where}]"
