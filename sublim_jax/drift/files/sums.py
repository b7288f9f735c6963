"""Inner products of the displacements of one tensor, in one pass over the files."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sublim_jax.drift.files.displacements import (
    GAP,
    INIT,
    STUDENT,
    TEACHER,
    Displacements,
    add_up,
    factors,
    in_step,
)
from sublim_jax.tensorfiles import LowRank

# Measured: six arrays of this size stay in the caches, and numpy's calls take longer than Python's.
PIECE = 1 << 17
# Measured, for almost equal entries, whose rounding errors add up: float32 dot products of so many
# err by 5e-9 to 2e-8, with the widest vectors as with the narrowest; of 1,024 by 2e-8 to 6e-7, the
# more the fewer lanes a processor adds in, and of 65,536 by 1e-5.
RUN = 1 << 8
# Squares within these bounds have lost nothing to the limits of float32.
TINY, HUGE = 1e-26, 1e30
MOST_COLUMNS = 256
ROWS = 4096

Pair = tuple[str, str]
MATCHED = ("student²", "teacher²")


def pairs(moves: Iterable[str]) -> tuple[Pair, ...]:
    """List the inner products that are taken, by the roles of what has moved.

    The last one is of squares, ``sum d_S**2 d_T**2``.
    """
    found = [(INIT, INIT)]
    for role in moves:
        found += [(role, role)]
        if role == TEACHER:
            found += [(STUDENT, TEACHER)]
        elif role == GAP:
            found += [(STUDENT, GAP)]
        elif role != STUDENT:
            found += [(role, TEACHER), (STUDENT, role)]
    return (*found, MATCHED)


def by_blocks(
    plan: Displacements, *, block_elements: int, wanted: Sequence[Pair]
) -> Iterable[tuple[int, Float[np.ndarray, " pairs"]]]:
    """Take the inner products of a tensor piece by piece.

    Args:
        plan: what to read.
        block_elements: entries that are read from a file at a time.
        wanted: from `pairs`.

    Yields:
        How many entries were read, and their inner products in float64.
    """
    wide = "float64" in plan.stored.values()
    kind = np.float64 if wide else np.float32
    scratch = {role: np.empty(PIECE, kind) for role in (*plan.moves, MATCHED[0])}
    streams = [stream(block_elements) for stream in plan.streams.values()]
    for pieces in in_step(streams, PIECE):
        size = pieces[0].size
        by_key = dict(zip(plan.streams, pieces, strict=True))
        out = {role: array[:size] for role, array in scratch.items()}
        rows: dict[str, np.ndarray | None] = {INIT: by_key[INIT]}
        for role, terms in plan.moves.items():
            rows[role] = add_up(terms, by_key, out[role])
        yield size, _safe(rows, out[MATCHED[0]], wanted)


def _safe(
    rows: Mapping[str, np.ndarray | None], out: np.ndarray, wanted: Sequence[Pair]
) -> Float[np.ndarray, " pairs"]:
    """Take inner products in float32 where it holds them, otherwise in float64."""
    sums = _products(rows, out, wanted)
    if _held(sums, rows, wanted):
        return sums
    # What has not moved at all is no reason for the slow way.
    rows = {role: row if row is not None and row.any() else None for role, row in rows.items()}
    if _held(sums, rows, wanted):
        return sums
    rows = {role: None if row is None else row.astype(np.float64) for role, row in rows.items()}
    return _products(rows, np.empty(out.size), wanted)


def _held(
    sums: Float[np.ndarray, " pairs"],
    rows: Mapping[str, np.ndarray | None],
    wanted: Sequence[Pair],
) -> bool:
    moved = {role for role, row in rows.items() if row is not None}
    if {STUDENT, TEACHER} <= moved:
        moved |= {*MATCHED}
    return all(
        TINY < value < HUGE
        for value, (a, b) in zip(sums, wanted, strict=True)
        if a in moved and (a == b or (a, b) == MATCHED)
    )


def _products(
    rows: Mapping[str, np.ndarray | None], out: np.ndarray, wanted: Sequence[Pair]
) -> Float[np.ndarray, " pairs"]:
    sums = np.zeros(len(wanted))
    with np.errstate(over="ignore", invalid="ignore"):  # told by `_held` and by who asks
        for i, (a, b) in enumerate(wanted[:-1]):
            one, other = rows[a], rows[b]
            if one is not None and other is not None:
                sums[i] = _dot(one, other)
        student, teacher = rows[STUDENT], rows[TEACHER]
        if student is not None and teacher is not None:
            product = np.multiply(student, teacher, out=out)
            sums[-1] = _dot(product, product)
    return sums


def _dot(a: np.ndarray, b: np.ndarray) -> np.floating:
    """Add up in float64 the products of short runs of entries."""
    whole = a.size // RUN * RUN
    runs = np.vecdot(a[:whole].reshape(-1, RUN), b[:whole].reshape(-1, RUN))
    return runs.sum(dtype=np.float64) + np.float64(np.dot(a[whole:], b[whole:]))


def read_factors(plan: Displacements) -> Mapping[str, LowRank] | None:
    """Read the factors of a tensor if they give its inner products with less work than entries."""
    if any(terms and role not in plan.low_rank for role, terms in plan.moves.items()):
        return None
    found = {role: read() for role, read in plan.low_rank.items()}
    ranks = [len(found[role].a) for role in (STUDENT, TEACHER) if role in found]
    return found if math.prod(ranks) <= MOST_COLUMNS else None


def by_factors(
    low_rank: Mapping[str, LowRank], wanted: Sequence[Pair]
) -> Float[np.ndarray, " pairs"]:
    """Take the inner products of low-rank displacements without forming them.

    ``<L1 R1, L2 R2> = sum((L1' L2) * (R1 R2'))``, and the product entry by entry of ``L1 R1`` and
    ``L2 R2`` is of low rank again, with the columns of ``L1`` times those of ``L2``, each
    with each.

    Args:
        low_rank: displacements by role; what is not there has not moved.
        wanted: from `pairs`. The product of the initialisation with itself is left 0.
    """
    split = {
        role: [half.astype(np.float64) for half in (left, right.T)]
        for role, (left, right) in ((r, factors(low)) for r, low in low_rank.items())
    }
    sums = np.zeros(len(wanted))
    for i, (a, b) in enumerate(wanted[:-1]):
        if a in split and b in split:
            (left, right), (other_left, other_right) = split[a], split[b]
            sums[i] = np.sum((left.T @ other_left) * (right.T @ other_right))
    if STUDENT in split and TEACHER in split:
        halves = zip(split[STUDENT], split[TEACHER], strict=True)
        left, right = itertools.starmap(_gram_of_products, halves)
        sums[-1] = np.sum(left * right)
    return sums


def _gram_of_products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Take the Gram matrix of the columns of ``a`` times those of ``b``, a few rows at a time."""
    gram = np.zeros((a.shape[1] * b.shape[1],) * 2)
    for start in range(0, len(a), ROWS):
        rows = slice(start, start + ROWS)
        both = (a[rows, :, None] * b[rows, None, :]).reshape(len(a[rows]), -1)
        gram += both.T @ both
    return gram
