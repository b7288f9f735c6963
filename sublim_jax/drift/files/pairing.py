"""Which tensors of several checkpoints belong together."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from sublim_jax.drift.files.sources import MARK, Weights
from sublim_jax.errors import InputError
from sublim_jax.tensorfiles import Adapter, TensorInfo, TensorSource

INTEGERS = ("int", "uint", "bool")


class Paired(NamedTuple):
    """The tensors to compare.

    Attributes:
        tensors: as the initialisation has them, in its order.
        left_out: names of tensors of integers or truth values, which have no displacement.
    """

    tensors: tuple[TensorInfo, ...]
    left_out: tuple[str, ...]


def pair(weights: Mapping[str, Weights], *, select: Sequence[str] = ()) -> Paired:
    """Pair the tensors of checkpoints by name.

    Args:
        weights: checkpoints by role, the initialisation first. Adapters were paired
            with their base when they were opened.
        select: regular expressions, of which one has to be found in a name; by default all names.

    Raises:
        InputError: a name is not in every checkpoint or has another shape there, with all of them
            listed; an expression is none; or nothing is left.
    """
    chosen = _chooser(select)
    whole = {
        role: {name: info for name, info in source.tensors.items() if chosen(name)}
        for role, source in weights.items()
        if not isinstance(source, Adapter)
    }
    left_out = {
        name
        for tensors in whole.values()
        for name, info in tensors.items()
        if info.stored.startswith(INTEGERS)
    }
    init = whole[next(iter(weights))]
    shapes = {role: {n: info.shape for n, info in t.items()} for role, t in whole.items()}
    _refuse_mismatches(shapes, left_out)
    tensors = tuple(info for name, info in init.items() if name not in left_out)
    if not tensors:
        path = weights[next(iter(weights))].path
        raise InputError(
            f"{path} has no tensor of floating-point numbers"
            + (f" that matches {' or '.join(map(repr, select))}" if select else "")
            + "; expected one at least"
        )
    return Paired(tensors, tuple(sorted(left_out)))


def _chooser(select: Sequence[str]) -> Callable[[str], bool]:
    try:
        patterns = [re.compile(expression) for expression in select]
    except re.error as fault:
        raise InputError(
            f"select is {fault.pattern!r} ({fault}); expected a regular expression"
        ) from fault
    return lambda name: not patterns or any(pattern.search(name) for pattern in patterns)


Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]


def _refuse_mismatches(whole: Shapes, left_out: Iterable[str]) -> None:
    first, *others = whole
    init = whole[first]
    skipped = set(left_out)
    complaints, count = [], 0
    for role in others:
        for has, lacks in ((first, role), (role, first)):
            missing = [n for n in whole[has] if n not in whole[lacks] and n not in skipped]
            count += len(missing)
            if missing:
                complaints.append(f"in {has} but not in {lacks}: {', '.join(missing)}")
    for role, shapes in whole.items():
        different = [
            f"{name} ({first} {list(init[name])}, {role} {list(shape)})"
            for name, shape in shapes.items()
            if name in init and shape != init[name] and name not in skipped
        ]
        count += len(different)
        if different:
            complaints.append(f"of other shapes: {', '.join(different)}")
    if complaints:
        raise InputError(
            f"{count} {'tensor does' if count == 1 else 'tensors do'} not pair: "
            f"{'; '.join(complaints)}; expected the same names and shapes in all "
            f"(FILE{MARK}PREFIX takes the tensors below a prefix)"
        )


def stored_as(weights: Weights, name: str) -> str | None:
    """Say as what numbers a tensor is stored; None where an adapter does not hold it whole."""
    source: TensorSource = weights.replaced if isinstance(weights, Adapter) else weights
    return source.tensors[name].stored if name in source.tensors else None
