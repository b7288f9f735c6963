"""Array jobs: a batch system starts one command many times, and each takes its share."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

from sublim_jax.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of an array job.

    Attributes:
        index: which one, from 0.
        count: how many there are, None where that is unknown.
    """

    index: int
    count: int | None


@dataclasses.dataclass(frozen=True)
class _System:
    """Variables of a batch system; numbers where it announces none."""

    index: str
    first: str | int = 0
    last: str | None = None
    step: str | int = 1
    count: str | None = None
    outside: str = ""  # value of the index in a job that is no array


SYSTEMS = {
    "SLURM": _System(
        index="SLURM_ARRAY_TASK_ID",
        first="SLURM_ARRAY_TASK_MIN",
        last="SLURM_ARRAY_TASK_MAX",
        step="SLURM_ARRAY_TASK_STEP",
        count="SLURM_ARRAY_TASK_COUNT",
    ),
    "PBS": _System(index="PBS_ARRAY_INDEX"),
    "Grid Engine": _System(
        index="SGE_TASK_ID",
        first="SGE_TASK_FIRST",
        last="SGE_TASK_LAST",
        step="SGE_TASK_STEPSIZE",
        outside="undefined",
    ),
    "LSF": _System(
        index="LSB_JOBINDEX",
        first=1,
        last="LSB_JOBINDEX_END",
        step="LSB_JOBINDEX_STEP",
        outside="0",
    ),
    "Kubernetes": _System(index="JOB_COMPLETION_INDEX"),
    "AWS Batch": _System(index="AWS_BATCH_JOB_ARRAY_INDEX", count="AWS_BATCH_JOB_ARRAY_SIZE"),
}
"""Batch systems by name, in the order in which they are asked."""


def announced_task(environ: Mapping[str, str]) -> Task:
    """Find out from the environment which task of an array job this process is.

    Tasks are numbered from 0, whatever the batch system does: ``--array=1-9:2`` of SLURM has the
    tasks 0 to 4. PBS and Kubernetes announce no count, and are taken to count from 0.

    Args:
        environ: environment variables, ``os.environ``.

    Raises:
        InputError: nothing announces a task, a variable is no number, or the numbers of the tasks
            have gaps.
    """
    for system in SYSTEMS.values():
        if environ.get(system.index, "") not in ("", system.outside):
            return _task(system, environ)
    names = ", ".join(system.index for system in SYSTEMS.values())
    raise InputError(
        f"engine is array, and nothing announces a task of an array job; expected index and count, "
        f"or one of the variables {names}"
    )


def _task(system: _System, environ: Mapping[str, str]) -> Task:
    def number(name: str | int | None, default: int | None = None) -> int | None:
        if name is None or isinstance(name, int):
            return name
        text = environ.get(name, "")
        try:
            return int(text) if text else default
        except ValueError:
            raise InputError(f"{name} is {text!r}; expected a number") from None

    index, first = number(system.index) or 0, number(system.first, 0) or 0
    step, last, count = number(system.step, 1) or 1, number(system.last), number(system.count)
    spanned = None if last is None else (last - first) // step + 1
    if (count is not None and spanned not in (None, count)) or (index - first) % step:
        raise InputError(
            f"{system.index} is {environ[system.index]} in an array whose numbers have gaps; "
            "expected evenly spaced numbers, such as 0-9, or index and count"
        )
    return Task((index - first) // step, spanned if count is None else count)


def share(units: Sequence[T], task: Task) -> list[T]:
    """Take the units of one task: with a count every count-th, otherwise the one of its index.

    >>> share("abcde", Task(index=1, count=2)), share("abcde", Task(index=1, count=None))
    (['b', 'd'], ['b'])

    Args:
        units: all units, the same in all tasks.
        task: which task this is.

    Raises:
        InputError: the index is out of range.
    """
    index, count = task.index, task.count
    if count is not None and count < 1:
        raise InputError(f"count is {count}; expected at least 1")
    tasks = len(units) if count is None else count
    if not 0 <= index < tasks:
        why = f", a task for each of the {tasks} units" if count is None else ""
        raise InputError(f"index is {index}; expected 0 to {tasks - 1}{why}")
    return list(units[index::tasks])
