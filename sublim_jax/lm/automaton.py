"""Which tokens may follow: a finite automaton over tokens, for numbers in a given layout."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from sublim_jax.errors import InputError

Letters = Mapping[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Automaton:
    """A finite automaton over a few tokens of the vocabulary; it begins in state 0.

    Attributes:
        tokens: all that it ever allows.
        follows: the state after each of them, `FORBIDDEN` where it is not allowed.
    """

    tokens: Int[np.ndarray, " some"]
    follows: Int[np.ndarray, "states some"]

    def allows(self, text: Iterable[int]) -> bool:
        """Tell whether a sequence of tokens is one of its, or the beginning of one."""
        places, state = {int(token): i for i, token in enumerate(self.tokens)}, 0
        for token in text:
            if token not in places or state == FORBIDDEN:
                return False
            state = int(self.follows[state, places[token]])
        return state != FORBIDDEN


FORBIDDEN = -1


def number_list(
    tokenizer: Any,
    *,
    count: int = 10,
    least: int = 1,
    most: int = 3,
    separator: str = ", ",
    before: str = "",
    after: str = "",
    stop: int,
) -> Automaton:
    """Allow lists of whole numbers in one layout, in whatever tokens they are written.

    Args:
        tokenizer: of the model.
        count: numbers in the list.
        least: digits of a number at least; the first of several is never 0.
        most: digits of a number at most.
        separator: between two numbers.
        before: the text before the first.
        after: the text after the last.
        stop: the token that ends the text.

    Raises:
        InputError: a count or a length cannot be, the separator would run into the numbers, or no
            token writes some character.
    """
    if count < 1:
        raise InputError(f"count is {count}; expected at least 1")
    if not 1 <= least <= most:
        raise InputError(f"least is {least} and most is {most}; expected 1 <= least <= most")
    if not separator:
        raise InputError("separator is empty; expected text between two numbers")
    edges = {"before": before[-1:], "separator": separator[0] + separator[-1], "after": after[:1]}
    for name, edge in edges.items():
        if any(letter.isdigit() for letter in edge):
            raise InputError(f"{name} has a digit next to a number ({edge!r}); expected none there")
    states = _numbers(count, least, most, separator, before, after)
    return lifted(states, spellings(tokenizer, {c for state in states for c in state}), stop=stop)


def _numbers(
    count: int, least: int, most: int, separator: str, before: str, after: str
) -> list[dict[str, int]]:
    """Write the automaton over characters; a state that lacks all letters is the end."""
    states: list[dict[str, int]] = [{}]

    def new() -> int:
        states.append({})
        return len(states) - 1

    def spell(starts: list[int], text: str) -> list[int]:
        for letter in text:
            end = new()
            for start in starts:
                states[start][letter] = end
            starts = [end]
        return starts

    ends = spell([0], before)
    for index in range(count):
        # The first digit decides: after a 0 a number of one digit is over.
        digits, ends_of_number = ends, []
        for length in range(1, most + 1):
            end = new()
            for start in digits:
                states[start] |= dict.fromkeys("123456789" if length == 1 else "0123456789", end)
            if length == 1 and least == 1:
                zero = new()
                for start in digits:
                    states[start]["0"] = zero
                ends_of_number.append(zero)
            if length >= least:
                ends_of_number.append(end)
            digits = [end]
        ends = spell(ends_of_number, separator if index < count - 1 else after)
    final = new()
    for end in ends:
        states[end][END] = final
    return states


END = ""
"""The letter by which a text ends."""


def spellings(tokenizer: Any, letters: set[str]) -> dict[int, str]:
    """Find the tokens that are written in these letters alone, and what each of them writes.

    Args:
        tokenizer: of the model.
        letters: each one character, or ``END``.

    Raises:
        InputError: no token is one of the letters.
    """
    special = {*tokenizer.all_special_ids}
    raws = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    found = {}
    for token, raw in enumerate(raws):
        if token in special or raw is None:
            continue
        # Some decoders take a blank from the beginning of a text, where the token is not.
        text = tokenizer.convert_tokens_to_string([raw, raw])
        text = text[len(text) // 2 :]
        if text and set(text) <= letters:
            found[token] = text
    lacking = sorted(letters - {END} - set(found.values()))
    if lacking:
        raise InputError(f"the tokenizer has no token for {lacking[0]!r}; expected one")
    return found


def lifted(states: list[dict[str, int]], texts: Mapping[int, str], *, stop: int) -> Automaton:
    """Make an automaton over characters one over tokens.

    Args:
        states: of each, the state after every character that it allows; ``END`` ends the text.
        texts: what tokens write.
        stop: the token that is written for ``END``.
    """
    texts = {token: text for token, text in texts.items() if token != stop}
    follows = np.full((len(states), len(texts) + 1), FORBIDDEN)
    for start, state in enumerate(states):
        for place, text in enumerate(texts.values()):
            follows[start, place] = _walk(states, start, text)
        follows[start, -1] = state.get(END, FORBIDDEN)
    used = (follows != FORBIDDEN).any(axis=0)
    tokens = np.array([*texts, stop])
    return Automaton(tokens[used], follows[:, used])


def _walk(states: list[dict[str, int]], start: int, text: str) -> int:
    for letter in text:
        start = states[start].get(letter, FORBIDDEN)
        if start == FORBIDDEN:
            break
    return start
