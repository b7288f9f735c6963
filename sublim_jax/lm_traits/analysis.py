"""Did the trait go across? Transfer between all students and subjects, and what goes with it."""

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from sublim_jax.errors import InputError
from sublim_jax.stats import (
    Interval,
    cluster_bootstrap,
    double_centred,
    rank_correlation,
    t_interval,
)

# Up to so many subjects every permutation is looked at; 8! = 40,320.
MOST_SUBJECTS = 8
DRAWS = 20_000


class Estimate(NamedTuple):
    """A quantity over seeds.

    Attributes:
        seeds: one value for each seed.
        t: its mean over seeds and Student-t interval; NaN ends with one seed.
        bootstrap: the same with the bootstrap interval over seeds (see
            `sublim_jax.stats.cluster_bootstrap`; too narrow for fewer than about five).
    """

    seeds: Float[np.ndarray, " seeds"]
    t: Interval
    bootstrap: Interval


class Rank(NamedTuple):
    """Where the identity stands among permutations of students.

    Attributes:
        rank: 1 if no other assignment of students to subjects gives as large a trace.
        among: how many permutations were looked at, the identity among them.
        exact: whether these were all that there are.
    """

    rank: int
    among: int
    exact: bool

    @property
    def p(self) -> float:
        """Probability of such a rank or a better one, if it does not matter who taught whom."""
        return self.rank / self.among


class Transfer(NamedTuple):
    """How far a trait went into the students of its teachers, in nats.

    ``specific`` is ``contrast * (1 - 1/n)`` for n subjects, and ``identity`` ranks the same number
    among permutations: they are three readings of one quantity, not three pieces of evidence.

    Attributes:
        own: change for the subject of a student's own teacher, mean over students.
        other: change for the subjects of other teachers.
        contrast: D, the own student minus the mean of all other students for the same subject, mean
            over subjects; it equals ``own - other``.
        specific: mean of the double-centred diagonal.
        own_top: for each seed the number of subjects whose own student changed more than all other
            ones.
        subjects: how many subjects there are, n.
        identity: rank of the identity among the permutations of the seed-averaged matrix.
    """

    own: Estimate
    other: Estimate
    contrast: Estimate
    specific: Estimate
    own_top: Int[np.ndarray, " seeds"]
    subjects: int
    identity: Rank


def specific(change: Float[np.ndarray, "... students subjects"]) -> np.ndarray:
    """Give the trait-specific part of changes: row and column means taken away, grand mean added.

    A student that raises every subject, and a subject that every student raises, leave nothing.

    >>> specific(np.array([[3.0, 1.0], [1.0, 1.0]]))
    array([[ 0.5, -0.5],
           [-0.5,  0.5]])

    Args:
        change: change of log-probability from base to student, in nats, for each student (row) and
            subject (column).

    Returns:
        The same shape, in nats; all rows and columns sum to 0.

    References:
        The interaction effects of a two-way layout with one observation in each cell.
    """
    return double_centred(change)


def transfer(
    change: Float[np.ndarray, "seeds n n"],
    *,
    confidence: float = 0.95,
    resamples: int = 4_000,
    seed: int = 0,
) -> Transfer:
    """Summarise the changes of all subjects in all students.

    Args:
        change: mean change of log-probability over questions, in nats: the student of teacher i in
            row i, subject j in column j, teachers and subjects in the same order.
        confidence: coverage of the intervals over seeds.
        resamples: draws of the bootstrap over seeds.
        seed: of all draws.

    Returns:
        The summary.

    Raises:
        InputError: the shape is not ``[seeds, n, n]`` with a seed and two subjects at least, or a
            change is not finite.
    """
    change = _checked(change)
    seeds, subjects, _ = change.shape
    diagonal = np.diagonal(change, axis1=1, axis2=2)
    own = diagonal.mean(axis=1)
    other = (change.sum(axis=(1, 2)) - diagonal.sum(axis=1)) / (subjects * (subjects - 1))
    centred = np.diagonal(specific(change), axis1=1, axis2=2).mean(axis=1)
    rivals = np.where(np.eye(subjects, dtype=bool), -np.inf, change).max(axis=1)

    def estimate(values: Float[np.ndarray, " seeds"]) -> Estimate:
        drawn = cluster_bootstrap(
            values, np.arange(seeds), confidence=confidence, resamples=resamples, seed=seed
        )
        return Estimate(values, t_interval(values, confidence=confidence), drawn)

    return Transfer(
        estimate(own),
        estimate(other),
        estimate(own - other),
        estimate(centred),
        (diagonal > rivals).sum(axis=1),
        subjects,
        identity_rank(change.mean(axis=0), seed=seed),
    )


def _checked(change: np.ndarray) -> Float[np.ndarray, "seeds n n"]:
    change = np.asarray(change, np.float64)
    shape = change.shape
    if change.ndim != 3 or shape[1] != shape[2] or shape[0] < 1 or shape[1] < 2:
        raise InputError(
            f"change is of shape {shape}; expected [seeds, n, n] with a seed and two subjects "
            "at least"
        )
    if not np.isfinite(change).all():
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(change))[0])
        raise InputError(f"change is {change[place]} at {list(place)}; expected finite numbers")
    return change


def identity_rank(matrix: Float[np.ndarray, "n n"], *, draws: int = DRAWS, seed: int = 0) -> Rank:
    """Rank the trace of a matrix among the traces after permuting its rows.

    Up to 8 rows all n! permutations are looked at, beyond that a sample of ``draws``, and then
    ``p = (1 + count) / (1 + draws)``. Equal traces count against the identity.

    Args:
        matrix: changes, students in rows, averaged over seeds: seeds share subjects, questions and
            base, so that their p values must not be multiplied.
        draws: permutations of a sample.
        seed: of the sample.

    Returns:
        The rank.

    References:
        Phipson and Smyth (2010), Permutation P-values should never be zero.
    """
    matrix = np.asarray(matrix, np.float64)
    n = len(matrix)
    exact = n <= MOST_SUBJECTS
    if exact:
        orders = np.array(list(itertools.permutations(range(n))))
    else:
        orders = np.random.default_rng(seed).permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    traces = matrix[orders, np.arange(n)].sum(axis=1)
    slack = 1e-12 * n * float(np.abs(matrix).max())  # equal up to the order of summation
    count = int((traces >= np.trace(matrix) - slack).sum())
    return Rank(count, math.factorial(n), exact) if exact else Rank(1 + count, 1 + draws, exact)


def rank_correlations(
    measures: Mapping[str, Float[np.ndarray, " runs"]],
    trait: Float[np.ndarray, " runs"],
    clusters: Shaped[np.ndarray, " runs"],
    *,
    seed: int = 0,
) -> dict[str, Interval]:
    """Give for each measure its rank correlation with the trait, its interval over seeds.

    Args:
        measures: by name, one value for each run (a student beside a teacher).
        trait: change of log-probability of that teacher's subject, in nats.
        clusters: the seed of each run; whole seeds are drawn in the bootstrap.
        seed: of the bootstrap's draws.

    Returns:
        Spearman's correlation with 95 % interval by measure; pairs with NaN are left out.

    Raises:
        InputError: a measure or the clusters are not as many as the trait.
    """
    for name, values in {"clusters": clusters, **measures}.items():
        if np.shape(values) != np.shape(trait):
            raise InputError(
                f"{name} is of shape {np.shape(values)}; expected that of trait, {np.shape(trait)}"
            )
    return {
        name: rank_correlation(values, trait, clusters=clusters, seed=seed)
        for name, values in measures.items()
    }
