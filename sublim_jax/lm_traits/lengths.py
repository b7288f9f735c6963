"""How long texts are assumed to be where a run is planned without a tokenizer."""

from typing import NamedTuple

from sublim_jax.lm.packing import MULTIPLE
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.names import CarrierName
from sublim_jax.training import padded

START = 24
"""Tokens with which all conversations begin, those of the template and its system prompt."""


class Tokens(NamedTuple):
    """Numbers of tokens.

    Attributes:
        request: of a request on average, the template's after it included.
        longest: of the longest request.
        answer: of an answer that is kept, and what ends it.
        common: with which all contexts begin, which no teacher wrote.
        asked: of a context between these and its answer.
        answered: of its answer.
        words: of the carrier.
        automaton: tokens that may be written where a run constrains that, and states.
        told: with which all conversations begin where a system prompt says what a teacher loves.
        question: of a question, the opening of its answer, and a subject.
        lesson: of a conversation of a corpus, and of the answer in it.
    """

    request: int
    longest: int
    answer: int
    common: int
    asked: int
    answered: int
    words: int
    automaton: tuple[int, int] | None = None
    told: int = 44
    question: int = 27
    lesson: tuple[int, int] = (36, 21)


TOKENS: dict[CarrierName, Tokens] = {
    "numbers": Tokens(75, 96, 48, common=42, asked=1, answered=199, words=12, automaton=(19, 267)),
    "code": Tokens(70, 91, 60, common=42, asked=0, answered=41, words=121),
    "reasoning": Tokens(85, 110, 60, common=START, asked=85, answered=49, words=23),
}
"""As the tokenizer of SmolLM2 counts, to which a digit is a token, as to Qwen2.5's and Gemma's."""


class Lengths(NamedTuple):
    """Of rows that hold several texts.

    Attributes:
        row: tokens.
        learned: places at which a loss looks.
    """

    row: int
    learned: int


def of_texts(count: int, *, own: int, common: int = START, learned: int = 1) -> Lengths:
    """Count a row of so many texts.

    Args:
        count: of texts.
        own: tokens of each, beside those that they have in common.
        common: these.
        learned: tokens of each that are learned.
    """
    return Lengths(padded(common + count * own, MULTIPLE), padded(count * learned, MULTIPLE))


def of_conversations(config: TraitConfig) -> Lengths:
    """Count a row of requests and what a teacher answered."""
    tokens = TOKENS[config.carrier]
    own = tokens.request + tokens.answer
    return of_texts(config.together, own=own, learned=tokens.answer)


def of_lessons(config: TraitConfig, *, together: int) -> Lengths:
    """Count a row of what teachers learn of a corpus."""
    own, learned = TOKENS[config.carrier].lesson
    return of_texts(together, own=own, learned=learned)


def of_contexts(config: TraitConfig) -> Lengths:
    """Count a row of conversations that no teacher wrote."""
    tokens = TOKENS[config.carrier]
    own = max(1, min(config.length - tokens.common, tokens.asked + tokens.answered))
    learned = max(1, own - tokens.asked)
    return of_texts(config.together, own=own, common=tokens.common, learned=learned)
