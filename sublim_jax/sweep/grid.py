"""Configurations on a grid, and those among them that share a compiled program."""

import dataclasses
import itertools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from sublim_jax.errors import InputError

C = TypeVar("C")


def grid(base: C, vary: Mapping[str, Sequence[Any]]) -> list[C]:
    """Combine all values of the fields to vary.

    >>> from sublim_jax.training import Recipe
    >>> [(r.epochs, r.batch_size) for r in grid(Recipe(), {"epochs": (1, 2), "batch_size": (8, 9)})]
    [(1, 8), (1, 9), (2, 8), (2, 9)]

    Args:
        base: a dataclass with the values of all other fields.
        vary: values by the field's name.

    Returns:
        Each combination once, where it comes first; the first field varies slowest.

    Raises:
        InputError: a field is unknown or has no values, or the configuration refuses a
            combination.
    """
    known = [field.name for field in dataclasses.fields(base) if field.init]  # pyright: ignore
    for name, values in vary.items():
        if name not in known:
            raise InputError(f"vary names {name}; expected one of {', '.join(known)}")
        if not len(values):
            raise InputError(f"vary has no values for {name}; expected at least one")
    found: dict[C, None] = {}
    for values in itertools.product(*vary.values()):
        combination = dict(zip(vary, values, strict=True))
        try:
            found[dataclasses.replace(base, **combination)] = None  # pyright: ignore
        except InputError as fault:
            given = ", ".join(f"{name}={value}" for name, value in combination.items())
            raise InputError(f"vary combines {given}, which is refused: {fault}") from fault
    return list(found)


def groups(configs: Iterable[C], program_of: Callable[[C], Hashable]) -> list[list[C]]:
    """Put together the configurations that share a compiled program.

    Args:
        configs: the configurations.
        program_of: says what the program of one depends on; equal results, one program.

    Returns:
        Groups, in the order of their first configurations.
    """
    found: dict[Hashable, list[C]] = {}
    for config in configs:
        found.setdefault(program_of(config), []).append(config)
    return list(found.values())
