"""A log of metrics that is appended to while trainings go on, and that survives their being killed.

A row is on the disk when `MetricsLog.write` returns, so what a checkpoint covers is never missing.
After a kill the trainings go on from their last checkpoint, and write again what came after it:
`MetricsLog.rewind` drops these rows first, so that no step is there twice.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.runs import plain, write_whole


class Sink(Protocol):
    """What shows metrics elsewhere.

    It gets every row at least once: those after the last checkpoint come again after a kill, with
    the same values.
    """

    def log(self, training: str, step: int, values: Mapping[str, float]) -> None:
        """Take the values of one step of a training."""
        ...

    def close(self) -> None:
        """Pass on what is still waiting."""
        ...


class MetricsLog:
    """Rows ``{"training": str, "step": int, **values}``, one JSON line each, appended.

    Steps of a training go up. On several hosts the first process writes, and the others do nothing.

    Args:
        path: the file; one that is there is continued, without the half of a last line that a kill
            may have left.
        sinks: where to show the rows besides; closed with the log.

    Raises:
        InputError: the file cannot be read or written or holds something else.
    """

    def __init__(self, path: Path, sinks: Sequence[Sink] = ()) -> None:
        self.path = path
        self._sinks = tuple(sinks)
        self._writes = hosts.is_first()
        self._last = dict[str, int]()
        if self._writes:
            try:
                self._continue()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def rewind(self, training: str, step: int) -> None:
        """Drop the rows of a training from a step on, which are going to be written again.

        Args:
            training: the name of the training.
            step: the first step that will be written again.

        Raises:
            InputError: the file cannot be read or written or holds something else.
        """
        if training not in self._last or self._last[training] < step:
            return
        rows = self._rows(self._read())
        kept = [row for row in rows if row.training != training or row.step < step]
        write_whole(self.path, b"".join(row.line for row in kept))
        self._last = {row.training: row.step for row in kept}

    def write(
        self,
        training: str,
        steps: Sequence[int],
        values: Mapping[str, Sequence[float] | np.ndarray],
    ) -> None:
        """Append a row for each step; all are on the disk, or none is.

        Args:
            training: the name of the training.
            steps: steps, going up, above those that the training has written.
            values: for each quantity a value for each step; the undefined becomes null.

        Raises:
            InputError: the disk is full or the file cannot be written; it is then as before.
            ValueError: steps do not go up, or a quantity has not one value for each.
        """
        if not self._writes or not len(steps):
            return
        numbers, columns = self._checked(training, steps, values)
        rows = [
            {"training": training, "step": step} | dict(zip(columns, row, strict=True))
            for step, *row in zip(numbers, *columns.values(), strict=True)
        ]
        self._append("".join(f"{json.dumps(plain(row))}\n" for row in rows).encode())
        self._last[training] = numbers[-1]
        for step, row in zip(numbers, rows, strict=True):
            shown = {name: row[name] for name in columns if isinstance(row[name], float | int)}
            for sink in self._sinks:
                sink.log(training, step, shown)

    def close(self) -> None:
        """Close the sinks; the file itself is always up to date."""
        sinks, self._sinks = self._sinks, ()
        with contextlib.ExitStack() as all_of_them:
            for sink in sinks:
                all_of_them.callback(sink.close)

    def _continue(self) -> None:
        """Make the file or take up the one that is there."""
        with told(self.path, "read"):
            if not self.path.exists():
                write_whole(self.path, b"")
        content = self._read()
        whole = content.rfind(b"\n") + 1
        self._last = {row.training: row.step for row in self._rows(content[:whole])}
        if whole < len(content):
            with told(self.path, "written"), self.path.open("r+b") as file:
                file.truncate(whole)

    def _checked(
        self, training: str, steps: Sequence[int], values: Mapping[str, Any]
    ) -> tuple[list[int], dict[str, list[Any]]]:
        """Turn steps and columns into plain lists, or refuse them."""
        numbers = [int(step) for step in steps]
        last = self._last.get(training, numbers[0] - 1)
        if any(after <= before for before, after in itertools.pairwise([last, *numbers])):
            raise ValueError(
                f"steps of {training} are {numbers} after {last}; expected steps that go up"
            )
        columns = {name: np.asarray(column).tolist() for name, column in values.items()}
        for name, column in columns.items():
            if name in ("training", "step"):
                raise ValueError(f"a quantity is named {name}; expected another name")
            if not isinstance(column, list) or len(column) != len(numbers):
                raise ValueError(
                    f"{name} is {column}; expected {len(numbers)} values, one for each step"
                )
        return numbers, columns

    def _append(self, content: bytes) -> None:
        # Not made anew where it is gone: the rows before these would be missing.
        with told(self.path, "written"), self.path.open("r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(content)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(end)
                raise

    def _read(self) -> bytes:
        with told(self.path, "read"):
            return self.path.read_bytes()

    def _rows(self, content: bytes) -> list["_Row"]:
        return [
            _Row.read(line, f"{self.path} line {number}")
            for number, line in enumerate(content.splitlines(keepends=True), 1)
        ]


class _Row(NamedTuple):
    """A line of the file and whose it is."""

    training: str
    step: int
    line: bytes

    @classmethod
    def read(cls, line: bytes, where: str) -> Self:
        try:
            row = json.loads(line)
            training, step = row["training"], row["step"]
        except (ValueError, TypeError, KeyError) as fault:
            raise InputError(f"{where} is damaged; expected a row of metrics") from fault
        if not isinstance(training, str) or not isinstance(step, int):
            raise InputError(
                f"{where} is of {training!r}, step {step!r}; expected a name, a number"
            )
        return cls(training, step, line)


@contextlib.contextmanager
def told(path: Path, done: str) -> Iterator[None]:
    """Tell in one sentence what the system refuses.

    Args:
        path: the file.
        done: what is done to it inside: "read" or "written".

    Raises:
        InputError: the system refused it.
    """
    try:
        yield
    except OSError as fault:
        raise InputError(
            f"{path} cannot be {done} ({fault.strerror}); expected a file in a folder with room"
        ) from fault
