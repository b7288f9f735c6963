"""Prompts side by side: which rows go together, and what they have in common."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from sublim_jax.errors import InputError
from sublim_jax.lm.attention import NOWHERE
from sublim_jax.training import padded

BUCKET = 16  # lengths are rounded up to a multiple of it, so that few programs are compiled
WORTH_SHARING = 8  # tokens that prompts must have in common to be read by themselves

Tokens = Sequence[int] | Int[np.ndarray, " tokens"]


class Batch(NamedTuple):
    """Prompts as arrays, each of them once in a group of rows.

    Groups are equal parts of the rows, in their order; each has as many prompts.

    Attributes:
        prefix: tokens that all begin with and that are read by themselves; maybe none.
        tokens: what follows in each prompt, filled up behind.
        positions: of these in their prompt, `NOWHERE` where there is none.
        which: the prompt of each row, counted in its group; rows beyond those that were given
            repeat the last.
    """

    prefix: Tokens
    tokens: Int[np.ndarray, "prompts tokens"]
    positions: Int[np.ndarray, "prompts tokens"]
    which: Int[np.ndarray, " rows"]


def check(tokens: Tokens, what: str, vocabulary: int) -> None:
    """Refuse what is no text of the vocabulary.

    Raises:
        InputError: there are no tokens, or one is not in the vocabulary.
    """
    if len(tokens) == 0:
        raise InputError(f"{what} is empty; expected at least one token")
    least, most = min(tokens), max(tokens)
    if not 0 <= least <= most < vocabulary:
        raise InputError(
            f"{what} has token {most if least >= 0 else least}; expected numbers from 0 to "
            f"{vocabulary - 1}"
        )


def cut(order: Sequence[int], rows: int) -> list[Sequence[int]]:
    """Cut rows in their order into batches."""
    return [order[start : start + rows] for start in range(0, len(order), rows)]


def by_length(prompts: Sequence[Tokens], rows: int) -> list[Sequence[int]]:
    """Put rows of like length into batches, and rows of one prompt beside each other.

    Args:
        prompts: of the rows.
        rows: of a batch.

    Returns:
        Places among the prompts, for every batch.
    """
    keys = [(len(prompt), tuple(prompt)) for prompt in prompts]
    return cut(sorted(range(len(prompts)), key=keys.__getitem__), rows)


def side_by_side(prompts: Sequence[Tokens], rows: int, groups: int = 1) -> Batch:
    """Make arrays of prompts, of few different shapes.

    Args:
        prompts: of the rows, each at least one token.
        rows: that a batch has at most; rounded up so that groups have as many each.
        groups: of rows, each with prompts of its own.
    """
    given = [tuple(prompt) for prompt in prompts]
    start = _shared(given) if len(given) > 1 else 0
    each = -(-_few(len(given), rows) // groups)
    given += given[-1:] * (each * groups - len(given))
    members = [given[at : at + each] for at in range(0, len(given), each)]
    places = [{prompt: i for i, prompt in enumerate(dict.fromkeys(some))} for some in members]
    which = [its[prompt] for its, some in zip(places, members, strict=True) for prompt in some]
    own = [list(its) for its in places]
    room = _few(max(map(len, own)), each)
    unique = [prompt for its in own for prompt in its + its[-1:] * (room - len(its))]
    tokens, positions = filled([prompt[start:] for prompt in unique], start)
    return Batch(unique[0][:start], tokens, positions, np.array(which, np.int32))


def filled(texts: Sequence[Tokens], start: int) -> tuple[np.ndarray, np.ndarray]:
    """Make texts equally long, of few different lengths.

    Args:
        texts: tokens of each.
        start: position of the first token of each.

    Returns:
        Tokens and positions ``[texts, tokens]``.
    """
    longest = max(len(text) for text in texts)
    room = longest if longest < 2 else rounded(longest)
    tokens = np.zeros((len(texts), room), np.int32)
    positions = np.full((len(texts), room), NOWHERE, np.int32)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = text
        positions[row, : len(text)] = np.arange(start, start + len(text))
    return tokens, positions


def rounded(length: int) -> int:
    """Round a length up, so that few programs are compiled."""
    return padded(length, BUCKET)


def _few(count: int, most: int) -> int:
    """Round a number of rows up to a power of two, or to the most that there are."""
    return min(most, 1 << (count - 1).bit_length())


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """Count the tokens at the beginning that all prompts have, without anybody's last one."""
    shortest = min(len(prompt) for prompt in prompts) - 1
    # In the order of tuples those between the first and the last begin like these.
    first, last = min(prompts), max(prompts)
    count = next((i for i in range(shortest) if first[i] != last[i]), shortest)
    return count if count >= WORTH_SHARING else 0
