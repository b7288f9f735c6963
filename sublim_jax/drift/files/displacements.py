"""The displacements of one tensor, as signed sums of streams that are read in step."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sublim_jax.drift.files.pairing import stored_as
from sublim_jax.drift.files.sources import Weights
from sublim_jax.tensorfiles import Adapter, LowRank, TensorSource

INIT, TEACHER_INIT, STUDENT, TEACHER, GAP = "init", "teacher_init", "student", "teacher", "gap"
NOTHING = np.empty(0, np.float32)

Stream = Callable[[int], Iterator[np.ndarray]]
Terms = tuple[tuple[int, str], ...]


class Displacements(NamedTuple):
    """What to read of a tensor, and how displacements follow from it.

    Attributes:
        streams: by key, what gives the entries of an array in pieces of at most so many.
        moves: by role, the streams to add up, each with its sign; none for no displacement.
        low_rank: by role, what reads the displacements that a file holds as factors.
        stored: by role of a file, as what numbers it holds what is read.
    """

    streams: Mapping[str, Stream]
    moves: Mapping[str, Terms]
    low_rank: Mapping[str, Callable[[], LowRank]]
    stored: Mapping[str, str]


def displacements(name: str, weights: Mapping[str, Weights]) -> Displacements:
    """Plan the displacements of a tensor.

    Args:
        name: the tensor.
        weights: checkpoints by role: ``init``, perhaps ``teacher_init``, and what has moved from
            there: ``teacher``, ``student`` and any others.

    Returns:
        Displacements of everything that has moved, the teacher's from its own initialisation, and
        with a ``teacher_init`` also the ``gap`` from ``init`` to the teacher.
    """
    origin = {TEACHER: TEACHER_INIT if TEACHER_INIT in weights else INIT}
    streams: dict[str, Stream] = {}
    moves: dict[str, Terms] = {}
    low_rank: dict[str, Callable[[], LowRank]] = {}
    stored: dict[str, str] = {}
    for role, source in weights.items():
        numbers = stored_as(source, name)
        if numbers is not None:
            whole = source.replaced if isinstance(source, Adapter) else source
            streams[role] = functools.partial(_blocks, whole, name)
            stored[role] = numbers
        if role in (INIT, TEACHER_INIT):
            continue
        start = origin.get(role, INIT)
        if numbers is not None:
            moves[role] = ((1, role), (-1, start))
        elif isinstance(source, Adapter) and name in source.low_rank:
            low_rank[role] = functools.partial(source.low_rank.__getitem__, name)
            streams[role] = functools.partial(_products, low_rank[role])
            moves[role] = ((1, role),)
        else:
            moves[role] = ()
    if TEACHER_INIT in weights:
        moves[GAP] = _gap(moves[TEACHER])
    return Displacements(streams, moves, low_rank, stored)


def _gap(toward: Terms) -> Terms:
    """Add the way between the initialisations: first their difference, which is exact if small."""
    if (-1, TEACHER_INIT) in toward:
        return ((1, TEACHER), (-1, INIT))
    return ((1, TEACHER_INIT), (-1, INIT), *toward)


def _blocks(source: TensorSource, name: str, elements: int) -> Iterator[np.ndarray]:
    return source.blocks(name, elements=elements)


def factors(low: LowRank) -> tuple[np.ndarray, np.ndarray]:
    """Give ``left [rows, rank]``, with the scale, and ``right [rank, columns]``."""
    left, right = (low.a.T, low.b.T) if low.transposed else (low.b, low.a)
    return left * np.asarray(low.scale, left.dtype), right


def _products(read: Callable[[], LowRank], elements: int) -> Iterator[np.ndarray]:
    """Multiply factors a few rows at a time: the entries of the displacement in order."""
    left, right = factors(read())
    rows = max(1, elements // right.shape[1])
    for start in range(0, len(left), rows):
        yield (left[start : start + rows] @ right).ravel()


def in_step(streams: Sequence[Iterator[np.ndarray]], most: int) -> Iterator[list[np.ndarray]]:
    """Give pieces of several streams of equal length that belong together.

    Args:
        streams: pieces of the same array of entries, cut in any way.
        most: the largest number of entries of a piece.
    """
    held = [next(stream, NOTHING) for stream in streams]
    while size := min(most, *(piece.size for piece in held)):
        yield [piece[:size] for piece in held]
        held = [
            piece[size:] if piece.size > size else next(stream, NOTHING)
            for piece, stream in zip(held, streams, strict=True)
        ]


def add_up(terms: Terms, pieces: Mapping[str, np.ndarray], out: np.ndarray) -> np.ndarray | None:
    """Add up the pieces of streams with their signs; None where there is nothing to add."""
    if not terms:
        return None
    total = pieces[terms[0][1]]
    for sign, key in terms[1:]:
        total = (np.add if sign > 0 else np.subtract)(total, pieces[key], out=out)
    return total
