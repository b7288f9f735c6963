"""How far answers have moved, whatever they have moved to.

A model may have learnt something that the rate of one target does not show.
"""

import collections
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from sublim_jax.errors import InputError
from sublim_jax.evals.preference.answers import Answers, check_answers, named

NO_ANSWER = ""


class Shift(NamedTuple):
    """How far two models' answers are apart.

    Attributes:
        variation: total variation distance between the distributions of their answers, 0 to 1.
        by_chance: what it is on average where both answer alike: it is never 0 in samples.
    """

    variation: float
    by_chance: float


def answer_distribution(answers: Answers, *, known: Collection[str]) -> dict[str, float]:
    """Give the share of every subject in a model's answers, as a mean over questions.

    Args:
        answers: to every question, at least one.
        known: names of subjects, see `sublim_jax.evals.preference.KNOWN`.

    Returns:
        Shares of the subjects that were named, and under ``""`` that of answers without one; they
        sum to 1.

    Raises:
        InputError: there is no question, or one without an answer.
    """
    check_answers(answers)
    return _mean_distribution([_names(some, known) for some in answers.values()])


def total_variation(p: Mapping[str, float], q: Mapping[str, float]) -> float:
    """Give the total variation distance of two distributions, ``sum |p - q| / 2``.

    Args:
        p: shares by name; a name that is missing has none.
        q: as `p`.

    >>> total_variation({"owl": 0.5, "cat": 0.5}, {"owl": 1.0})
    0.5
    """
    # Exact whatever the order: that of a set of names is another one in every process.
    return math.fsum(abs(p.get(name, 0) - q.get(name, 0)) for name in {*p, *q}) / 2


def answer_shift(
    before: Answers,
    after: Answers,
    *,
    known: Collection[str],
    resamples: int = 200,
    seed: int = 0,
) -> Shift:
    """Measure how far a model's answers have moved from another's, on the same questions.

    Chance is what remains when the answers to each question are dealt out anew to the two.

    Args:
        before: answers of one model, for instance the base.
        after: of the other one.
        known: names of subjects, see `sublim_jax.evals.preference.KNOWN`.
        resamples: deals.
        seed: of numpy's PCG64, for the deals.

    Raises:
        InputError: the questions differ, one has no answer, or `resamples` is not positive.
    """
    check_answers(before)
    check_answers(after)
    if set(before) != set(after):
        alone = sorted(set(before) ^ set(after))[0]
        raise InputError(
            f"after has other questions than before ({alone!r:.80}); expected the same"
        )
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; expected at least 1")
    first = [_names(some, known) for some in before.values()]
    second = [_names(after[question], known) for question in before]
    random = np.random.default_rng(seed)
    dealt = [_deal(first, second, random) for _ in range(resamples)]
    return Shift(_distance(first, second), float(np.mean([_distance(*pair) for pair in dealt])))


def _names(answers: Collection[str], known: Collection[str]) -> list[str]:
    return [named(answer, known) or NO_ANSWER for answer in answers]


def _mean_distribution(names: list[list[str]]) -> dict[str, float]:
    shares: dict[str, float] = collections.defaultdict(float)
    for some in names:
        for name, count in collections.Counter(some).items():
            shares[name] += count / len(some) / len(names)
    return dict(shares)


def _distance(first: list[list[str]], second: list[list[str]]) -> float:
    return total_variation(_mean_distribution(first), _mean_distribution(second))


def _deal(
    first: list[list[str]], second: list[list[str]], random: np.random.Generator
) -> tuple[list[list[str]], list[list[str]]]:
    pairs = zip(first, second, strict=True)
    dealt = [(len(a), random.permutation(np.array([*a, *b])).tolist()) for a, b in pairs]
    return [names[:size] for size, names in dealt], [names[size:] for size, names in dealt]
