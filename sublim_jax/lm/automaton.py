"""Which tokens may follow: a finite automaton over tokens, for numbers in given layouts."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from sublim_jax.errors import InputError

Layout = tuple[str, str, str]
"""What stands between two numbers, before the first and after the last."""

Branch = dict[str, set[int]]
Branching = list[Branch]
"""Of each state, the states to which a letter may lead."""


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
    fewest: int | None = None,
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
        fewest: numbers after which the text may end already; `count` by default.
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
    return number_lists(
        tokenizer,
        [(separator, before, after)],
        count=count,
        fewest=fewest,
        least=least,
        most=most,
        stop=stop,
    )


def number_lists(
    tokenizer: Any,
    layouts: Iterable[Layout],
    *,
    count: int = 10,
    fewest: int | None = None,
    least: int = 1,
    most: int = 3,
    stop: int,
) -> Automaton:
    """Allow lists of whole numbers in any one of several layouts: what is written decides which.

    Args:
        tokenizer: of the model.
        layouts: of each the separator, the text before the first number and that after the last.
        count: see `number_list`, as for all that follow.
        fewest: numbers after which the text may end.
        least: digits of a number.
        most: digits of a number.
        stop: the token that ends the text.

    Raises:
        InputError: there are no layouts, or as `number_list`.
    """
    layouts = [*layouts]
    fewest = count if fewest is None else fewest
    _check(layouts, count, fewest, least, most)
    states: Branching = [{}]
    ends = [
        end
        for layout in layouts
        for end in _list(states, layout, range(fewest, count + 1), range(least, most + 1))
    ]
    _step(states, ends, [END])
    only = _one_way(states)
    return lifted(only, spellings(tokenizer, {c for state in only for c in state}), stop=stop)


def _check(layouts: list[Layout], count: int, fewest: int, least: int, most: int) -> None:
    if count < 1:
        raise InputError(f"count is {count}; expected at least 1")
    if not 1 <= fewest <= count:
        raise InputError(f"fewest is {fewest}; expected 1 to {count}, which is count")
    if not 1 <= least <= most:
        raise InputError(f"least is {least} and most is {most}; expected 1 <= least <= most")
    if not layouts:
        raise InputError("layouts is empty; expected at least one")
    for separator, before, after in layouts:
        if not separator:
            raise InputError("separator is empty; expected text between two numbers")
        edges = {
            "before": before[-1:],
            "separator": separator[0] + separator[-1],
            "after": after[:1],
        }
        for name, edge in edges.items():
            if any(letter.isdigit() for letter in edge):
                raise InputError(
                    f"{name} has a digit next to a number ({edge!r}); expected none there"
                )


def _list(states: Branching, layout: Layout, counts: range, lengths: range) -> list[int]:
    """Add what a layout writes, after state 0; give the states after it."""
    separator, before, after = layout
    starts, ends = _spell(states, [0], before), []
    for number in range(1, counts.stop):
        if number > 1:
            starts = _spell(states, starts, separator)
        starts = _number(states, starts, lengths)
        if number in counts:
            ends += starts
    return _spell(states, ends, after)


def _number(states: Branching, starts: list[int], lengths: range) -> list[int]:
    ends, digits = [], starts
    for length in range(1, lengths.stop):
        digits = _step(states, digits, "123456789" if length == 1 else "0123456789")
        if length in lengths:
            ends += digits
    if 1 in lengths:
        # After a 0 the number is over, as it is after the most digits.
        _join(states, starts, "0", digits[0])
    return ends


def _spell(states: Branching, starts: list[int], text: str) -> list[int]:
    for letter in text:
        starts = _step(states, starts, letter)
    return starts


def _step(states: Branching, starts: list[int], letters: Iterable[str]) -> list[int]:
    states.append({})
    _join(states, starts, letters, len(states) - 1)
    return [len(states) - 1]


def _join(states: Branching, starts: list[int], letters: Iterable[str], end: int) -> None:
    for start, letter in itertools.product(starts, letters):
        states[start].setdefault(letter, set()).add(end)


def _one_way(states: Branching) -> list[dict[str, int]]:
    """Make each letter lead to one state: to the set of all to which the text may have led."""
    sets = [frozenset({0})]
    places = {sets[0]: 0}
    found: list[dict[str, int]] = []
    for some in sets:  # more are added on the way
        after: Branch = {}
        for state in sorted(some):
            for letter, ends in states[state].items():
                after.setdefault(letter, set()).update(ends)
        row = {}
        for letter, ends in after.items():
            whole = frozenset(ends)
            row[letter] = places.setdefault(whole, len(sets))
            if row[letter] == len(sets):
                sets.append(whole)
        found.append(row)
    return found


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
        text = spelling(tokenizer, raw)
        if text and set(text) <= letters:
            found[token] = text
    lacking = sorted(letters - {END} - set(found.values()))
    if lacking:
        raise InputError(f"the tokenizer has no token for {lacking[0]!r}; expected one")
    return found


def spelling(tokenizer: Any, raw: str) -> str:
    """Give what a token writes inside a text.

    Args:
        tokenizer: of the model.
        raw: the token, as the tokenizer names it.
    """
    # Some decoders take a blank from the beginning of a text, where the token is not.
    text = tokenizer.convert_tokens_to_string([raw, raw])
    return text[len(text) // 2 :]


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
