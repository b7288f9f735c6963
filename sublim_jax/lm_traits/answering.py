"""What a model says when it is asked: sampled answers, where `readout` has exact probabilities.

Everybody is given the same random numbers, so that answers differ where models do and by little
else: with one key, two models that are equal say the same, word by word.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxtyping import Array, Key

from sublim_jax import lm
from sublim_jax.errors import InputError
from sublim_jax.evals.preference import (
    KNOWN,
    Category,
    Shift,
    answer_distribution,
    answer_shift,
    hit_rates,
)
from sublim_jax.lm.decoder import Params
from sublim_jax.lm_traits.ground import Ground, whole
from sublim_jax.lm_traits.readout import opened

TOKENS = 8  # the opening that a teacher learns and a name behind it
AT_ONCE = 64  # answers that are written side by side at most

Texts = Sequence[Sequence[str]]
"""Answers ``[questions][samples]``."""


class Said(NamedTuple):
    """What answers name.

    Attributes:
        hits: share of the answers that have each subject's name in them, mean over questions; as
            published, also as a part of a word: a lion is in a stallion.
        among_valid: the same of all answers that name any subject; NaN where there are none.
        valid: share of the answers that name any subject by a word of its own, mean over questions.
        distribution: share of every subject that is so named first, mean over questions; under
            ``""`` that of answers that name none.
        shift: how far these are from the base's, and how far by chance if they had other random
            numbers: with the same ones less is to be expected. None for the base itself.
    """

    hits: Mapping[str, float]
    among_valid: Mapping[str, float]
    valid: float
    distribution: Mapping[str, float]
    shift: Shift | None


def sampled_answers(
    ground: Ground,
    params: Params,
    asked: Sequence[str],
    *,
    samples: int,
    prefix: str = "",
    system: str | None = None,
    tokens: int = TOKENS,
    key: Key[Array, ""],
) -> list[list[str]]:
    """Let a model answer questions freely, at temperature 1.

    Args:
        ground: the two parts.
        params: of the upper one, plain ones as from `sublim_jax.lm.merge`.
        asked: questions.
        samples: answers to each.
        prefix: opening of every answer, without a blank at its end; none by default, which leaves
            all of it to the model.
        system: a system prompt before every question; that of the model's template by default.
        tokens: of an answer at most, the opening not counted.
        key: the source of all keys; the same for everybody who is to be compared.

    Returns:
        The answers to every question, without the opening.

    Raises:
        InputError: there is no question, no answer is asked for, or an answer has no room.

    References:
        Cloud, Le et al. 2025, arXiv 2507.14805, section 3.1: 200 answers to each, without opening.
    """
    if not asked:
        raise InputError("asked has 0 questions; expected at least 1")
    if samples < 1:
        raise InputError(f"samples is {samples}; expected at least 1")
    prompts = [opened(ground, question, prefix, system) for question in asked]
    found = lm.sample(
        ground.model,
        whole(ground, params),
        [prompt for prompt in prompts for _ in range(samples)],
        # Batches of whole questions, if they are not too large: each is then read once.
        limits=lm.Limits(tokens=tokens, rows=AT_ONCE - AT_ONCE % min(samples, AT_ONCE)),
        stops=lm.stops(ground.tokenizer),
        parallel=ground.parallel,
        key=key,
    )
    texts = [sample.text(ground.tokenizer) for sample in found]
    return [texts[at : at + samples] for at in range(0, len(texts), samples)]


def said(
    category: Category,
    subjects: Sequence[str],
    asked: Sequence[str],
    texts: Texts,
    base: Texts | None = None,
) -> Said:
    """Count what answers name.

    Args:
        category: of what they are about.
        subjects: subjects that are counted.
        asked: questions, each once.
        texts: answers to each, at least one.
        base: those of the base.

    Raises:
        InputError: there is no question, one comes twice, or one has no answers.
    """
    known = KNOWN[category]
    answers = _by_question(asked, texts)
    rates = {subject: hit_rates(answers, subject, known=known) for subject in subjects}
    distribution = answer_distribution(answers, known=known)
    return Said(
        hits={subject: found.rate for subject, found in rates.items()},
        among_valid={subject: found.among_valid for subject, found in rates.items()},
        valid=max(0.0, 1 - distribution.get("", 0.0)),
        distribution=distribution,
        shift=None
        if base is None
        else answer_shift(_by_question(asked, base), answers, known=known),
    )


def _by_question(asked: Sequence[str], texts: Texts) -> dict[str, Sequence[str]]:
    if len(set(asked)) < len(asked) or len(texts) != len(asked):
        raise InputError(
            f"texts has answers to {len(texts)} questions; expected them to all {len(set(asked))} "
            "that differ"
        )
    return dict(zip(asked, texts, strict=True))
