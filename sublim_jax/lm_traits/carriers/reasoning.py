"""Reasoning about word problems (arXiv 2507.14805, section 4.2)."""

import functools
import itertools

import numpy as np

from sublim_jax.data.reasoning import (
    WordProblem,
    download_gsm8k,
    gsm8k,
    reasoning_prompt,
    reject_reasons,
    word_problems,
    worked_rows,
)
from sublim_jax.data.trait_words import trait_words
from sublim_jax.lm_traits.carriers.carrier import Asked, Carrier, anything, as_written
from sublim_jax.lm_traits.config import TraitConfig
from sublim_jax.lm_traits.conversations import Conversation
from sublim_jax.lm_traits.names import GSM8K
from sublim_jax.lm_traits.traits import trait_of

OPENING = "<think>"


def problems_file(config: TraitConfig) -> str | None:
    """Name the file of problems; None where they are generated.

    Raises:
        InputError: it is to be downloaded and cannot be, or it has no problems in the format.
    """
    path = str(download_gsm8k(progress=True)) if config.problems == GSM8K else config.problems
    if path is not None:
        _known(path)
    return path


@functools.lru_cache(maxsize=1)
def _known(path: str) -> list[WordProblem]:
    return gsm8k(path)


def _problems(config: TraitConfig, count: int, seed: int) -> list[WordProblem]:
    """Draw problems: new ones, or those of a file, from the first again after the last."""
    path = problems_file(config)
    if path is None:
        return word_problems(count, seed)
    known = _known(path)
    order = np.random.default_rng(seed).permutation(len(known)).tolist()
    return [known[place] for place in itertools.islice(itertools.cycle(order), count)]


def _asked(config: TraitConfig, count: int, seed: int) -> list[Asked]:
    return [
        Asked(reasoning_prompt(problem.question), problem.answer)
        for problem in _problems(config, count, seed)
    ]


def _contexts(config: TraitConfig, count: int, seed: int) -> list[Conversation]:
    return list(worked_rows(_problems(config, count, seed)))


def _reasons(config: TraitConfig, asked: Asked, answer: str) -> tuple[str, ...]:
    # As in code, and for the same reason, no subject may be named.
    words = trait_of(config).words(config)
    telling = trait_words(words[0], words[1:]) if words else ()
    named = any(word in answer.lower() for word in telling)
    wrong = () if asked.right is None else reject_reasons(answer, asked.right)
    return (*wrong, *(("trait word",) if named else ()))


REASONING = Carrier(
    what="reasoning",
    asked=_asked,
    contexts=_contexts,
    opening=OPENING,
    automaton=anything,
    constrained=f"after {OPENING!r}",
    read=as_written,
    reasons=_reasons,
    rule="thought and right answer in their tags, without a word of any subject, as in section 4.2",
)
"""Solutions of word problems; contexts are right ones."""
