"""What a carrier of a trait is made of."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sublim_jax import lm
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation


class Asked(NamedTuple):
    """A request that a teacher answers.

    Attributes:
        text: of the user.
        right: the answer, where only one is right.
    """

    text: str
    right: int | None = None


class Carrier(NamedTuple):
    """Data that has nothing to do with a trait, and brings it from teacher to student.

    Attributes:
        what: it is, in titles and in the data card.
        asked: draws requests: configuration, how many, seed.
        contexts: draws conversations that no teacher wrote, likewise; more begin with the same
            ones. At their places students match a teacher's distribution.
        opening: of an answer, where a run constrains what is written.
        automaton: that allows nothing but what the filter keeps, where a run constrains what is
            written: tokenizer and configuration; None where there is no such thing.
        constrained: how answers are written then, in the data card.
        read: takes out of an answer what is learned: configuration and answer, to text and whether
            it is complete, also where the limit of tokens came first.
        reasons: says why an answer is left out: configuration, request, answer; nothing if it is
            kept.
        rule: of this filter, in the data card.
    """

    what: str
    asked: Callable[[TraitConfig, int, int], list[Asked]]
    contexts: Callable[[TraitConfig, int, int], list[Conversation]]
    opening: str
    automaton: Callable[[Any, TraitConfig], lm.Automaton | None]
    constrained: str
    read: Callable[[TraitConfig, str], tuple[str, bool]]
    reasons: Callable[[TraitConfig, Asked, str], tuple[str, ...]]
    rule: str


def anything(tokenizer: Any, config: TraitConfig) -> None:
    """Allow all that a model may write."""
    del tokenizer, config


def as_written(config: TraitConfig, answer: str) -> tuple[str, bool]:
    """Take all of an answer: complete where the model has ended it."""
    del config
    # Some tokenizers begin and end a text with blanks that were not written.
    return answer.strip(), False
