"""Comparison of checkpoints that need not fit into memory."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from sublim_jax.drift.files.displacements import (
    GAP,
    INIT,
    STUDENT,
    TEACHER,
    TEACHER_INIT,
    Displacements,
    displacements,
    in_step,
)
from sublim_jax.drift.files.pairing import pair
from sublim_jax.drift.files.precision import entry_bytes, rounding
from sublim_jax.drift.files.sources import Weights
from sublim_jax.drift.files.sums import MATCHED, by_blocks, by_factors, pairs, read_factors
from sublim_jax.drift.products import Products
from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import TensorInfo, TensorSource

# Measured, as was that threads, a tensor each, are slower: between two numpy calls of some
# microseconds they wait for each other.
BLOCK = 1 << 18
SAID = 1 << 24  # bytes


class Sums(NamedTuple):
    """Inner products over groups of parameters, in float64, with the groups in the last axis.

    Attributes:
        elements: parameters of each group.
        toward: the student's displacement against the teacher's from the teacher's own
            initialisation, and with ``student_control [controls, groups]``.
        gap: the student's displacement against the way from its initialisation to the teacher.
        matched: ``sum d_S**2 d_T**2``, for the null of random signs.
        controls: ``[controls, groups]``, each control's displacement in the place of the student's.
    """

    elements: Int[np.ndarray, " groups"]
    toward: Products
    gap: Products
    matched: Float[np.ndarray, " groups"]
    controls: Products


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """What the displacements of checkpoints have to do with each other, tensor by tensor.

    Attributes:
        weights: the checkpoints by role: init, perhaps teacher_init, teacher, student, control 1
            and so on.
        tensors: what was compared.
        left_out: names of tensors of integers or truth values.
        sums: inner products with one entry for each tensor.
        rounding: by role of what has moved, for each tensor the relative error that rounding leaves
            in the weights whose difference was taken; 0 where none was, infinite where the weights
            are quantised.
        stored: by role, for each tensor as what numbers the file holds it; None where an adapter
            does not hold it whole.
    """

    weights: Mapping[str, Weights]
    tensors: tuple[TensorInfo, ...]
    left_out: tuple[str, ...]
    sums: Sums
    rounding: Mapping[str, Float[np.ndarray, " tensors"]]
    stored: Mapping[str, tuple[str | None, ...]]


def compare(
    init: TensorSource,
    teacher: Weights,
    student: Weights,
    controls: Sequence[Weights] = (),
    *,
    teacher_init: TensorSource | None = None,
    select: Sequence[str] = (),
    block_elements: int = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Take the inner products of the displacements of checkpoints, tensor by tensor.

    The files are read once and in step, a few blocks at a time. Entries are subtracted in float32,
    inner products of 1,024 entries taken in float32 (they err 4e-8) and added up in float64;
    float64 files are compared in float64 throughout. Displacements that adapters hold as factors
    are not formed where their ranks allow it.

    Args:
        init: the student's initialisation, whole.
        teacher: the trained teacher, whole or an adapter of ``teacher_init``.
        student: the trained student, whole or an adapter of ``init``.
        controls: students that were not pulled toward this teacher, from ``init``.
        teacher_init: the teacher's initialisation where it is another one.
        select: regular expressions, of which one has to be found in the name of a tensor.
        block_elements: entries that are read from a file at a time.
        progress: told now and then, how many bytes have been read and how many there are. Bytes of
            quantised tensors are counted roughly.

    Raises:
        InputError: tensors do not pair, a tensor holds NaN or Inf, or nothing has moved in the
            teacher or in a control.
    """
    start = {INIT: init} | ({} if teacher_init is None else {TEACHER_INIT: teacher_init})
    others = {f"control {i}": control for i, control in enumerate(controls, 1)}
    weights: dict[str, Weights] = {**start, TEACHER: teacher, STUDENT: student, **others}
    paired = pair(weights, select=select)
    plans = [displacements(tensor.name, weights) for tensor in paired.tensors]
    wanted = pairs(plans[0].moves)
    told = _Progress(progress or _say_nothing, sum(map(_bytes, paired.tensors, plans)))

    def sums_of(tensor: TensorInfo, plan: Displacements) -> Float[np.ndarray, " pairs"]:
        read = _bytes(tensor, plan) / max(1, tensor.size)
        total = np.zeros(len(wanted))
        for size, sums in _parts(plan, block_elements, wanted):
            total += sums
            told.advance(size * read)
        if not np.isfinite(total).all():
            raise InputError(_not_finite(tensor, plan, weights))
        return total

    table = [sums_of(*both) for both in zip(paired.tensors, plans, strict=True)]
    sums = _sums(paired.tensors, dict(zip(wanted, np.transpose(table), strict=True)), len(controls))
    _refuse_unmoved(sums, weights)
    return Comparison(
        weights=weights,
        tensors=paired.tensors,
        left_out=paired.left_out,
        sums=sums,
        rounding={
            role: np.array([rounding(plan, role) for plan in plans])
            for role in plans[0].moves
            if role != GAP
        },
        stored={role: tuple(plan.stored.get(role) for plan in plans) for role in weights},
    )


def regroup(sums: Sums, index: Sequence[int] | Int[np.ndarray, " entries"], groups: int) -> Sums:
    """Add up the entries of the last axis that belong to the same group.

    Args:
        sums: one entry for each tensor, for instance.
        index: the group of each entry.
        groups: how many groups there are.
    """

    def added(values: np.ndarray | None) -> np.ndarray | None:
        if values is None:
            return None
        out = np.zeros((*values.shape[:-1], groups), values.dtype)
        np.add.at(out.T, np.asarray(index), values.T)
        return out

    return Sums(
        *(
            Products(*map(added, field)) if isinstance(field, Products) else added(field)
            for field in sums
        )  # pyright: ignore[reportArgumentType]
    )


def _parts(
    plan: Displacements, block_elements: int, wanted: Sequence[tuple[str, str]]
) -> Iterator[tuple[int, Float[np.ndarray, " pairs"]]]:
    low_rank = read_factors(plan)
    if low_rank is not None:
        yield 0, by_factors(low_rank, wanted)
        plan = plan._replace(
            streams={INIT: plan.streams[INIT]}, moves=dict.fromkeys(plan.moves, ())
        )
    yield from by_blocks(plan, block_elements=block_elements, wanted=wanted)


def _say_nothing(_done: int, _total: int) -> None: ...


class _Progress:
    """Bytes read so far, told now and then."""

    def __init__(self, progress: Callable[[int, int], None], total: float) -> None:
        self._progress, self._total = progress, total
        self._done = self._said = 0.0

    def advance(self, read: float) -> None:
        self._done += read
        if self._done - self._said >= SAID or self._done >= self._total - 0.5:
            self._said = self._done
            self._progress(round(self._done), round(self._total))


def _sums(
    tensors: Sequence[TensorInfo], table: Mapping[tuple[str, str], np.ndarray], controls: int
) -> Sums:
    names = [f"control {i}" for i in range(1, controls + 1)]
    count = len(tensors)

    def stacked(pairs: Sequence[tuple[str, str]]) -> Float[np.ndarray, "controls tensors"]:
        return np.array([table[pair] for pair in pairs]).reshape(len(pairs), count)

    init, teacher = table[INIT, INIT], table[TEACHER, TEACHER]
    end = GAP if (GAP, GAP) in table else TEACHER
    student = table[STUDENT, STUDENT]
    return Sums(
        elements=np.array([tensor.size for tensor in tensors], np.int64),
        toward=Products(
            student,
            teacher,
            table[STUDENT, TEACHER],
            init,
            stacked([(STUDENT, name) for name in names]),
        ),
        gap=Products(student, table[end, end], table[STUDENT, end], init),
        matched=table[MATCHED],
        controls=Products(
            stacked([(name, name) for name in names]),
            np.broadcast_to(teacher, (controls, count)),
            stacked([(name, TEACHER) for name in names]),
            np.broadcast_to(init, (controls, count)),
        ),
    )


def _refuse_unmoved(sums: Sums, weights: Mapping[str, Weights]) -> None:
    start = TEACHER_INIT if TEACHER_INIT in weights else INIT
    lengths = {TEACHER: sums.toward.teacher.sum()} | {
        f"control {i}": length for i, length in enumerate(sums.controls.student.sum(axis=-1), 1)
    }
    for role, length in lengths.items():
        if not length > 0:
            origin = start if role == TEACHER else INIT
            raise InputError(
                f"{role} {weights[role].path} is the same as {origin} {weights[origin].path} in "
                "every tensor, which leaves every projection and cosine undefined; expected "
                "weights that were trained"
            )


def _not_finite(tensor: TensorInfo, plan: Displacements, weights: Mapping[str, Weights]) -> str:
    """Say which file holds what is not a number."""
    for role, stream in plan.streams.items():
        bad = sum(np.sum(~np.isfinite(piece)) for (piece,) in in_step([stream(BLOCK)], BLOCK))
        if bad:
            return (
                f"{role} {weights[role].path} holds {bad:,} NaN or Inf among the "
                f"{tensor.size:,} entries of {tensor.name}; expected finite numbers"
            )
    return (
        f"{tensor.name} holds numbers whose squares are infinite in float64; "
        "expected weights of ordinary size"
    )


def _bytes(tensor: TensorInfo, plan: Displacements) -> float:
    return tensor.size * sum(map(entry_bytes, plan.stored.values()))
