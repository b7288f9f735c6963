"""Rows of tokens side by side in arrays: several short texts in a row, without leakage."""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from sublim_jax.errors import InputError
from sublim_jax.lm.attention import EVERYBODY, NOWHERE
from sublim_jax.lm.chat import Row
from sublim_jax.training import padded

MULTIPLE = 8  # to which lengths are rounded up, so that few programs are compiled


class Packed(NamedTuple):
    """Texts in rows of one length, and where the loss looks.

    Attributes:
        tokens: of the texts, one behind another; 0 where there is none. Or what lower layers have
            made of them, a residual stream ``[rows, length, width]``.
        positions: of each token in its text; `NOWHERE` where there is none.
        segments: number of the text in its row, which is all that its tokens see, and `EVERYBODY`
            for what all of them begin with.
        at: places whose next token belongs to a completion, 0 in spare ones.
        labels: these next tokens.
        weights: 1, or 0 for spare places.
    """

    tokens: Int[np.ndarray, "rows length"] | Float[Array, "rows length width"]
    positions: Int[np.ndarray, "rows length"]
    segments: Int[np.ndarray, "rows length"]
    at: Int[np.ndarray, "rows targets"]
    labels: Int[np.ndarray, "rows targets"]
    weights: Float[np.ndarray, "rows targets"]


def pack(
    rows: Sequence[Row], *, length: int | None = None, together: bool = True, common: int = 0
) -> Packed:
    """Put texts into rows, as many into each as find room: the longest first, where they fit best.

    Args:
        rows: tokens, and which of them belong to the completion.
        length: of a packed row in tokens; by default that of the longest text.
        together: whether several texts may share a row.
        common: tokens with which all texts begin, none of them of a completion; those of a row
            have them once.

    Raises:
        InputError: there is no text, one is longer than a row, or one has nothing to learn.
    """
    _check(rows, length)
    most = in_common(rows) if common else 0
    if not 0 <= common <= most:
        raise InputError(f"common is {common}; expected 0 to {most}, which texts begin with alike")
    if length is None:
        length = padded(max(len(row.tokens) for row in rows), MULTIPLE)
    rest = [len(row.tokens) - common for row in rows]
    bins = _bins(rest, length - common) if together else [[i] for i in range(len(rows))]
    return _filled(rows, bins, length, common)


def in_order(rows: Sequence[Row], *, each: int) -> Packed:
    """Put texts into rows in their order, as evenly as can be; what all begin with is there once.

    Row by row and without spare ones, the places to look at are those of one text behind those of
    the other.

    Args:
        rows: as of `pack`.
        each: texts in a row at most.

    Raises:
        InputError: there is no text, one has nothing to learn, or `each` is not positive.
    """
    if each < 1:
        raise InputError(f"each is {each}; expected at least 1")
    _check(rows)
    common = in_common(rows)
    parts = np.array_split(np.arange(len(rows)), -(-len(rows) // each))
    bins = [members.tolist() for members in parts]
    longest = max(sum(len(rows[i].tokens) - common for i in members) for members in bins)
    return _filled(rows, bins, padded(common + longest, MULTIPLE), common)


def owners(packed: Packed, rows: Sequence[Row]) -> Int[np.ndarray, "rows targets"]:
    """Tell which text each place that is learned belongs to, in arrays from `in_order`.

    Args:
        packed: the texts in rows.
        rows: the same texts.

    Returns:
        Numbers of texts; in spare places that of no text, how many there are.
    """
    found = np.full(packed.at.shape, len(rows))
    found[packed.weights > 0] = np.repeat(
        np.arange(len(rows)), [int(row.completion.sum()) for row in rows]
    )
    return found


def in_common(rows: Sequence[Row]) -> int:
    """Count the tokens with which all texts begin, up to the last before a completion.

    >>> row = Row(np.array([5, 6, 7, 8]), np.array([False, False, True, True]))
    >>> in_common([row, row._replace(tokens=np.array([5, 9, 7, 8]))])
    1
    """
    most = min(int(row.completion.argmax()) - 1 for row in rows)
    starts = np.stack([row.tokens[:most] for row in rows])
    same = (starts == starts[0]).all(axis=0)
    return most if same.all() else int(same.argmin())


def count(rows: Sequence[Row], *, length: int | None = None) -> int:
    """Count the rows that `pack` makes of texts, several to a row."""
    lengths = [len(row.tokens) for row in rows]
    return len(_bins(lengths, length or padded(max(lengths), MULTIPLE)))


def _check(rows: Sequence[Row], length: int | None = None) -> None:
    """Refuse texts that cannot be learned, or are longer than a row of a given length."""
    if not rows:
        raise InputError("rows has 0 texts; expected at least 1")
    for number, row in enumerate(rows, 1):
        tokens = len(row.tokens)
        if tokens == 0 or (length is not None and tokens > length):
            most = "" if length is None else f" and at most {length}"
            raise InputError(f"row {number} has {tokens} tokens; expected at least 1{most}")
        if not row.completion[1:].any() or row.completion[0]:
            raise InputError(
                f"row {number} has {int(row.completion.sum())} tokens of completion, from place "
                f"{int(row.completion.argmax())}; expected at least 1, after a prompt"
            )


def _filled(rows: Sequence[Row], bins: list[list[int]], length: int, common: int) -> Packed:
    """Put the texts of each bin into a row."""
    learned = (sum(int(rows[i].completion.sum()) for i in members) for members in bins)
    targets = padded(max(learned), MULTIPLE)
    packed = Packed(
        tokens=np.zeros((len(bins), length), np.int32),
        positions=np.full((len(bins), length), NOWHERE, np.int32),
        segments=np.full((len(bins), length), -1, np.int32),
        at=np.zeros((len(bins), targets), np.int32),
        labels=np.zeros((len(bins), targets), np.int32),
        weights=np.zeros((len(bins), targets), np.float32),
    )
    for index, members in enumerate(bins):
        _fill(packed, index, [rows[i] for i in members], common)
    return packed


def _fill(packed: Packed, index: int, texts: list[Row], common: int) -> None:
    packed.tokens[index, :common] = texts[0].tokens[:common]
    packed.positions[index, :common] = np.arange(common)
    packed.segments[index, :common] = EVERYBODY
    start, looked = common, 0
    for number, text in enumerate(texts):
        place = slice(start, start + len(text.tokens) - common)
        packed.tokens[index, place] = text.tokens[common:]
        packed.positions[index, place] = np.arange(common, len(text.tokens))
        packed.segments[index, place] = number
        wanted = np.flatnonzero(text.completion)
        there = slice(looked, looked + len(wanted))
        packed.at[index, there] = start + wanted - common - 1
        packed.labels[index, there] = text.tokens[wanted]
        packed.weights[index, there] = 1
        start, looked = place.stop, there.stop


def _bins(lengths: list[int], room: int) -> list[list[int]]:
    """Choose which texts share a row: best fit, longest first."""
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # room that is left, and in which bin, ascending
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = bisect.bisect_left(free, (lengths[i], -1))
        left, bin_ = free.pop(place) if place < len(free) else (room, len(bins))
        if bin_ == len(bins):
            bins.append([])
        bins[bin_].append(i)
        bisect.insort(free, (left - lengths[i], bin_))
    return bins
