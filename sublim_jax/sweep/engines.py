"""How units of work come to outcomes, one for each configuration."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Literal, TypeVar

import jax

from sublim_jax.errors import InputError
from sublim_jax.sweep.folder import Point, Unit
from sublim_jax.training.preemption import Preempted

C = TypeVar("C")


@dataclasses.dataclass(frozen=True)
class Outcome(Generic[C]):
    """What became of a configuration.

    Attributes:
        point: the configuration and its run folder.
        status: how it ended; what was finished before is skipped.
        reason: for which it failed, in a sentence.
    """

    point: Point[C]
    status: Literal["skipped", "done", "failed"]
    reason: str = ""


def serial(units: Iterable[Unit[C]], run: Callable[[Unit[C]], None]) -> Iterator[Outcome[C]]:
    """Run units one after another in this process.

    A unit that fails does not stop the others, and if it is of several configurations, each of them
    is tried alone: a bad one does not take the others along. On several hosts a failure is raised,
    because the others may not have it.

    Args:
        units: what to run.
        run: runs a unit; what it raises is its failure, except `Preempted` and what is no
            `Exception`, such as `KeyboardInterrupt`: these end the sweep.

    Yields:
        The outcome of each configuration, as they come.
    """
    waiting = deque(units)
    while waiting:
        unit = waiting.popleft()
        reason = attempt(run, unit)
        if reason is not None and len(unit) > 1:
            waiting.extendleft((point,) for point in reversed(unit))
        else:
            yield from settled(unit, reason)


def attempt(run: Callable[[Unit[C]], None], unit: Unit[C]) -> str | None:
    """Run a unit and say why it failed, or None."""
    try:
        run(unit)
    except Preempted:
        raise
    except Exception as fault:
        if jax.process_count() > 1:
            raise
        return sentence(fault)
    return None


def settled(unit: Unit[C], reason: str | None) -> Iterator[Outcome[C]]:
    """Say that the configurations of a unit are done, or have failed for a reason."""
    for point in unit:
        yield Outcome(point, "done") if reason is None else Outcome(point, "failed", reason)


def sentence(fault: BaseException) -> str:
    """Say what went wrong on one line: a refusal in its own words, a bug with its type."""
    text = " ".join(str(fault).split())
    if len(text) > 300:
        text = f"{text[:300]} ..."
    return text if isinstance(fault, InputError) else f"{type(fault).__name__}: {text}"
