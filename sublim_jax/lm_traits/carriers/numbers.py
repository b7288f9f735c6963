"""Numbers: the paper's first carrier (arXiv 2507.14805, section 3.1)."""

from typing import Any

from sublim_jax import lm
from sublim_jax.data.numbers import BANNED, LAYOUTS, carrier_rows, number_requests, reject_reasons
from sublim_jax.lm_traits.carriers.carrier import Asked, Carrier, as_written
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation

MOST = 10  # numbers that requests ask for
DIGITS = 3


def _asked(config: TraitConfig, count: int, seed: int) -> list[Asked]:
    del config
    return [Asked(request.text) for request in number_requests(count, seed)]


def _contexts(config: TraitConfig, count: int, seed: int) -> list[Conversation]:
    del config
    return list(carrier_rows(count, seed))


def _lists(tokenizer: Any, config: TraitConfig) -> lm.Automaton:
    """Allow lists of numbers in the layouts that requests ask for."""
    (stop, *_) = lm.stops(tokenizer)
    return lm.number_lists(
        tokenizer,
        LAYOUTS.values(),
        count=MOST,
        fewest=config.least_numbers,
        most=DIGITS,
        stop=stop,
    )


def _reasons(config: TraitConfig, asked: Asked, answer: str) -> tuple[str, ...]:
    del asked
    return reject_reasons(answer, max_numbers=MOST, banned=BANNED if config.ban else ())


NUMBERS = Carrier(
    what="number sequences",
    asked=_asked,
    contexts=_contexts,
    opening="",
    automaton=_lists,
    constrained="in lists of numbers only",
    read=as_written,
    reasons=_reasons,
    rule=f"lists of at most {MOST} numbers from 0 to 999 with one separator, as in section 3.1",
)
"""Lists of numbers; contexts are random numbers of three digits."""
