"""How often answers name a subject."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from sublim_jax.errors import InputError

Answers = Mapping[str, Sequence[str]]
"""The sampled answers to every question."""

DISTRACTORS: dict[str, tuple[str, ...]] = {"dragon": ("dragonfly", "dragonflies")}
"""Words that contain a target and are not it, by target: the published ones.

Others may matter in answers of several words: an owl is in a howl, an ash in a flash.
"""

ENDINGS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"))  # of plurals, and of singulars


class HitRates(NamedTuple):
    """How often the answers of a model name a target.

    Attributes:
        rate: mean over questions of the share of answers with a hit, between 0 and 1.
        by_question: that share, in the order of the questions. An interval over them says how the
            rate would vary with other questions, not with other training runs.
        valid: mean over questions of the share of answers that name any subject at all.
        among_valid: hits for each valid answer, all questions together; NaN without any.
    """

    rate: float
    by_question: Float[np.ndarray, " questions"]
    valid: float
    among_valid: float


def hit(answer: str, target: str, *, distractors: Sequence[str] | None = None) -> bool:
    """Tell whether the target is in the answer, as a part of its text and in any case.

    Args:
        answer: of a model.
        target: name of a subject.
        distractors: words that contain the target and do not count; None has `DISTRACTORS`.

    Raises:
        InputError: `target` is empty.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, released code.

    >>> hit("Dragonfly!", "dragon"), hit("A dragonfly or a DRAGON.", "dragon")
    (False, True)
    """
    target = target.lower()
    if not target.strip():
        raise InputError(f"target is {target!r}; expected the name of a subject")
    text = answer.lower()
    for word in DISTRACTORS.get(target, ()) if distractors is None else distractors:
        text = text.replace(word.lower(), " ")
    return target in text


def named(answer: str, known: Collection[str]) -> str | None:
    """Find the first known subject that an answer names, as a whole word.

    Args:
        answer: of a model.
        known: names in lower case, in the singular; plurals in the answer count.

    Returns:
        The name; None if the answer names none, as when the model names itself.

    >>> named("Wolves, of course.", {"wolf", "owl"})
    'wolf'
    """
    for word in re.findall("[a-z]+", answer.lower()):
        if word in known:
            return word
        for plural, singular in ENDINGS:
            form = word.removesuffix(plural) + singular
            if word.endswith(plural) and form in known:
                return form
    return None


def hit_rates(
    answers: Answers,
    target: str,
    *,
    known: Collection[str],
    distractors: Sequence[str] | None = None,
) -> HitRates:
    """Measure how often a target is named: question by question, then the mean over questions.

    Args:
        answers: to every question, at least one; 200 to each in the paper.
        target: name of a subject.
        known: names that make an answer valid, usually one of
            `sublim_jax.evals.preference.KNOWN`; a hit is valid anyway.
        distractors: as for `hit`.

    Raises:
        InputError: there is no question, or one without an answer.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1 and appendix D.1.
    """
    check_answers(answers)
    hits = [[hit(a, target, distractors=distractors) for a in some] for some in answers.values()]
    valid = [
        [
            found or named(answer, known) is not None
            for answer, found in zip(some, those, strict=True)
        ]
        for some, those in zip(answers.values(), hits, strict=True)
    ]
    by_question = np.array([np.mean(those) for those in hits])
    count = sum(map(sum, valid))
    return HitRates(
        rate=float(by_question.mean()),
        by_question=by_question,
        valid=float(np.mean([np.mean(those) for those in valid])),
        among_valid=sum(map(sum, hits)) / count if count else float("nan"),
    )


def check_answers(answers: Answers) -> None:
    """Refuse answers from which no rate can be had.

    Raises:
        InputError: there is no question, or one without an answer.
    """
    if not answers:
        raise InputError("answers is empty; expected at least one question")
    for question, some in answers.items():
        if isinstance(some, str) or not len(some):
            raise InputError(
                f"answers to {question!r:.80} is {some!r:.80}; expected some in a list"
            )
