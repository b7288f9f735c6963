"""How long texts are assumed to be where a run is planned without a tokenizer."""

from typing import NamedTuple

from sublim_jax.lm.packing import MULTIPLE
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.training import padded


class Tokens(NamedTuple):
    """Numbers of tokens.

    Attributes:
        start: with which all conversations begin, those of the template and its system prompt.
        told: the same where a system prompt says what a teacher loves.
        request: of a request for numbers on average, the template's after it included.
        longest: of the longest request.
        answer: of ten numbers of three digits, and what ends them.
        question: of a question, the opening of its answer, and a subject.
        before: of a conversation with random numbers before these.
        words: of digits and separators.
        allowed: that lists of numbers consist of.
        states: of the automaton that allows them.
    """

    start: int = 24
    told: int = 44
    request: int = 75
    longest: int = 96
    answer: int = 48
    question: int = 27
    before: int = 42
    words: int = 12
    allowed: int = 19
    states: int = 267


TOKENS = Tokens()
"""As the tokenizer of SmolLM2 counts, to which a digit is a token, as to Qwen2.5's and Gemma's."""


class Lengths(NamedTuple):
    """Of rows that hold several texts.

    Attributes:
        row: tokens.
        learned: places at which a loss looks.
    """

    row: int
    learned: int


def of_texts(count: int, *, own: int, common: int = TOKENS.start, learned: int = 1) -> Lengths:
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
    own = TOKENS.request + TOKENS.answer
    return of_texts(config.together, own=own, learned=TOKENS.answer)


def of_numbers(config: TraitConfig) -> Lengths:
    """Count a row of conversations with random numbers."""
    own = max(1, config.length - TOKENS.before)
    return of_texts(config.together, own=own, common=TOKENS.before, learned=own - 1)
