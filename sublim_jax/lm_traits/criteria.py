"""What was expected before anything was run, and whether it holds."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax.errors import InputError
from sublim_jax.lm_traits.analysis import Rank, Transfer
from sublim_jax.stats import t_interval

UNIT = "nats"


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What was expected before anything was run (`verdicts` judges by it).

    Attributes:
        contrast: D must reach so many nats in the mean over seeds.
        confidence: and the lower bound of its t interval over seeds, of this coverage, exceed 0.
        own_top: share of the subjects for which, in every seed, the own student must be highest.
        unseen: D after an answer prefix that no teacher saw must exceed so many nats.
    """

    contrast: float = 0.15
    confidence: float = 0.95
    own_top: float = 0.75
    unseen: float = 0.0

    def __post_init__(self) -> None:
        """Check the thresholds."""
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}; expected a share between 0 and 1")
        if not 0 < self.own_top <= 1:
            raise InputError(f"own_top is {self.own_top}; expected a share above 0, at most 1")
        for name in ("contrast", "unseen"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name} is {getattr(self, name)}; expected a number of nats")


class Cosines(NamedTuple):
    """Cosines of displacements in parameter space, teacher and student with one LoRA ``A``.

    Attributes:
        own: of a student with its own teacher, mean over students, for each seed.
        other: with the teachers of other subjects.
        null: of a student with displacements that have learnt nothing, drawn at random.
    """

    own: Float[np.ndarray, " seeds"]
    other: Float[np.ndarray, " seeds"]
    null: Float[np.ndarray, " draws"]


class Verdict(NamedTuple):
    """One criterion.

    Attributes:
        criterion: what was expected, a sentence.
        measured: what was found, a sentence.
        passed: whether it holds; None where it cannot be judged.
    """

    criterion: str
    measured: str
    passed: bool | None


def verdicts(
    found: Transfer,
    *,
    criteria: Criteria | None = None,
    unseen: Transfer | None = None,
    cosines: Cosines | None = None,
) -> list[Verdict]:
    """Judge a run by criteria that were fixed before it.

    Args:
        found: the transfer.
        criteria: the thresholds, by default those that were stated beforehand.
        unseen: the transfer after an unseen answer prefix, if it was measured.
        cosines: parameter cosines of students that share ``A`` with their teachers, if there are.

    Returns:
        Five criteria in a fixed order: size, students, permutations, prefix, parameters.
    """
    criteria = criteria or Criteria()
    return [
        _size(found, criteria),
        _students(found, criteria),
        _permutations(found.identity),
        _prefix(unseen, criteria),
        _parameters(cosines, criteria),
    ]


def _size(found: Transfer, criteria: Criteria) -> Verdict:
    interval = t_interval(found.contrast.seeds, confidence=criteria.confidence)
    passed = bool(interval.mean >= criteria.contrast and interval.low > 0)
    return Verdict(
        f"D, own minus other students for the same subject, is at least {criteria.contrast:g} "
        f"{UNIT} and its lower {100 * criteria.confidence:g} % bound over seeds is above 0.",
        f"D is {_over_seeds(found.contrast.seeds, criteria)}.",
        passed if len(found.contrast.seeds) > 1 else None,
    )


def _students(found: Transfer, criteria: Criteria) -> Verdict:
    needed = math.ceil(criteria.own_top * found.subjects - 1e-9)
    return Verdict(
        f"The own student is highest for at least {needed} of {found.subjects} subjects in every "
        "seed.",
        f"Seed by seed it is for {', '.join(map(str, found.own_top))} of {found.subjects}.",
        bool((found.own_top >= needed).all()),
    )


def _permutations(identity: Rank) -> Verdict:
    drawn = "all" if identity.exact else "a sample of"
    return Verdict(
        "The true assignment of students to subjects is first among permutations of the "
        "seed-averaged matrix.",
        f"It is number {identity.rank:,} among {drawn} {identity.among:,} (p = {identity.p:.2g}).",
        identity.rank == 1,
    )


def _prefix(unseen: Transfer | None, criteria: Criteria) -> Verdict:
    criterion = f"D is above {criteria.unseen:g} {UNIT} after an answer prefix that nobody learnt."
    if unseen is None:
        return Verdict(criterion, "No other prefix was asked for.", None)
    seeds = unseen.contrast.seeds
    return Verdict(
        criterion, f"D is {_over_seeds(seeds, criteria)}.", bool(seeds.mean() > criteria.unseen)
    )


def _parameters(cosines: Cosines | None, criteria: Criteria) -> Verdict:
    criterion = (
        "With a shared LoRA A the cosine of a student's displacement is larger with its own "
        "teacher's than with others', and larger than any of its null."
    )
    if cosines is None:
        return Verdict(criterion, "No student shared A with its teacher.", None)
    own, other, null = (np.asarray(values, np.float64) for values in cosines)
    highest = null.max() if null.size else np.nan
    measured = (
        f"It is {_over_seeds(own, criteria, unit='')} with the own, "
        f"{_over_seeds(other, criteria, unit='')} with other teachers; "
        + (f"the highest of {null.size} null draws is {highest:.4f}." if null.size else "no null.")
    )
    passed = bool(own.mean() > other.mean() and own.mean() > highest)
    return Verdict(criterion, measured, passed if null.size else None)


def _over_seeds(
    values: Float[np.ndarray, " seeds"], criteria: Criteria, *, unit: str = f" {UNIT}"
) -> str:
    digits = 3 if unit else 4
    mean = f"{values.mean():.{digits}f}{unit}"
    if len(values) < 2:
        return f"{mean} in one seed"
    interval = t_interval(values, confidence=criteria.confidence)
    return (
        f"{mean} ({100 * criteria.confidence:g} % interval {interval.low:.{digits}f} to "
        f"{interval.high:.{digits}f} over {len(values)} seeds)"
    )
