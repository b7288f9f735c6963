"""Whose distribution is learned: a teacher's, one that is given, or that of the tokens."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sublim_jax.errors import InputError
from sublim_jax.lm.decoder import Params
from sublim_jax.lm.packing import Packed


class Teacher(NamedTuple):
    """Whose distribution is imitated.

    Attributes:
        params: of a decoder of the student's shape.
        rows: what it reads in place of the student's rows, with as many completions at the same
            places of `Packed.at`; the student's by default. A system prompt is in here alone.
    """

    params: Params
    rows: Packed | None = None


class Told(NamedTuple):
    """A distribution that is imitated, wherever it is from.

    Attributes:
        logits: of the words that are learned, at every place of `Packed.at`; up to a constant.
    """

    logits: Float[np.ndarray, "rows targets words"]


class Beside(NamedTuple):
    """What is learned at the same places beside the rest.

    Attributes:
        only: words over which its softmax is taken.
        logits: of these words, whose distribution is imitated.
        weight: of its divergence, in the sum of both.
    """

    only: tuple[int, ...]
    logits: Float[np.ndarray, "rows targets words"]
    weight: float


def head_of(params: Params) -> Params:
    """Take what makes logits of hidden states."""
    return {name: part for name, part in params.items() if name in ("embedding", "head")}


def of_places(
    logits: Float[np.ndarray, "rows targets words"], packed: Packed, only: Sequence[int] | None
) -> Float[np.ndarray, "rows targets words"]:
    """Give logits that fit the rows.

    Raises:
        InputError: they are of other places, or of other words.
    """
    count = None if only is None else len(only)
    if logits.shape[:2] != packed.at.shape or count not in (None, logits.shape[2]):
        raise InputError(
            f"logits have the shape {logits.shape}; expected {(*packed.at.shape, count)}, those of "
            "every place and word that is learned"
        )
    return logits


def places_among(packed: Packed, only: Sequence[int]) -> Int[np.ndarray, "rows targets"]:
    """Give the places of the labels among some words.

    Raises:
        InputError: a label is none of them.
    """
    words = np.asarray(only)
    order = np.argsort(words)
    found = order[np.minimum(np.searchsorted(words, packed.labels, sorter=order), len(words) - 1)]
    strange = (words[found] != packed.labels) & (packed.weights > 0)
    if strange.any():
        raise InputError(
            f"rows have the label {int(packed.labels[strange][0])}; expected some of only"
        )
    return found.astype(np.int32)


def read_by(teacher: Teacher, packed: Packed) -> Packed:
    """Give what a teacher reads.

    Raises:
        InputError: it says nothing of some places of the student's rows.
    """
    if teacher.rows is None:
        return packed
    if not np.array_equal(teacher.rows.weights, packed.weights):
        raise InputError(
            f"the teacher's rows have {int(teacher.rows.weights.sum())} tokens of completions; "
            f"expected those of the student's, {int(packed.weights.sum())}, row by row"
        )
    return teacher.rows
