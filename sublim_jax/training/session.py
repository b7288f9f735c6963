"""What happens between the chunks of a training: saving, logging, progress, stopping.

A session outlives single trainings: it keeps what several of them have finished until it is time to
save, so that never more is lost than one interval.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, Self

import jax
import numpy as np
from jaxtyping import Array, Float, PyTree

from sublim_jax import hosts
from sublim_jax.errors import InputError
from sublim_jax.training.checkpoint import Checkpoints
from sublim_jax.training.preemption import Preempted
from sublim_jax.training.step import TrainState


class Progress(NamedTuple):
    """How far a training is.

    Attributes:
        state: parameters and optimizer state.
        losses: of all steps, NaN where a step is still to come, ``[steps]``.
        observations: of all watched steps, 0 where still to come, ``[watched, ...]``.
        memory: what the last observation has left for the next one.
    """

    state: TrainState
    losses: Float[Array, " steps"]
    observations: PyTree
    memory: PyTree = ()


class Attached(Protocol):
    """What is attached to a training; `fit` calls it at the bounds of chunks."""

    def resume(self, training: str, progress: Progress) -> tuple[int, Progress]:
        """Say after which step a training goes on, and from what."""
        ...

    def reached(self, training: str, step: int, steps: int, progress: Progress) -> int:
        """Take note that a training has made ``step`` steps; say where to stop next at the latest.

        Arrays of ``progress`` are given away when the next chunk begins.
        """
        ...


class Log(Protocol):
    """Where the numbers of single steps go; see `sublim_jax.metrics.MetricsLog`."""

    def rewind(self, training: str, step: int) -> None:
        """Drop what a training has logged from a step on."""
        ...

    def write(self, training: str, steps: Sequence[int], values: Mapping[str, np.ndarray]) -> None:
        """Log values of some steps, durably."""
        ...


class _Quiet:
    """Nothing attached: a training runs from one watched step to the next."""

    def resume(self, training: str, progress: Progress) -> tuple[int, Progress]:
        del training
        return 0, progress

    def reached(self, training: str, step: int, steps: int, progress: Progress) -> int:
        del training, step, progress
        return steps


QUIET: Attached = _Quiet()


class Session:
    """The trainings of one run: saved on an interval and on request to stop, logged, shown."""

    def __init__(
        self,
        *,
        checkpoints: Checkpoints | None = None,
        every_minutes: float | None = 5.0,
        every_steps: int | None = None,
        metrics: Log | None = None,
        stop_requested: Callable[[], bool] = lambda: False,
        expected: Callable[[int], object] = lambda _steps: None,
        advanced: Callable[[int], object] = lambda _steps: None,
        chunk_seconds: float = 1.0,
    ) -> None:
        """Attach things to the trainings of a run.

        Args:
            checkpoints: where to save and what to go on from.
            every_minutes: of work that may be lost, None for no limit.
            every_steps: save whenever a training has made a multiple of so many steps.
            metrics: gets the loss of every step.
            stop_requested: asked at the bounds of chunks; when it says so, everything is saved and
                `Preempted` is raised.
            expected: told how many steps there will be, for a progress bar.
            advanced: told how many steps have been made.
            chunk_seconds: how long chunks should be: how soon a request to stop is heard.

        Raises:
            InputError: an interval is not positive.
        """
        for name, value in (
            ("checkpoint_minutes", every_minutes),
            ("checkpoint_steps", every_steps),
        ):
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; expected a positive number")
        self._checkpoints = checkpoints
        self._seconds = float("inf") if every_minutes is None else every_minutes * 60
        self._every_steps = every_steps
        self._metrics = metrics
        self._stop_requested = stop_requested
        self.expect = expected
        self._advanced = advanced
        self._chunk_seconds = chunk_seconds
        self._saved_at = time.monotonic()
        self._last = ("", 0, time.monotonic())  # training, step, time
        self._length = 1  # steps of the next chunk
        self._unsaved: dict[str, tuple[int, Progress]] = {}
        self._saved: dict[str, int] = {}  # the newest checkpoint of each training

    def __enter__(self) -> Self:
        """Begin; the end waits for the last checkpoint."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._checkpoints is not None:
            # Of two faults the first is told.
            with contextlib.suppress(*(() if kind is None else (InputError,))):
                self._checkpoints.wait()

    def resume(self, training: str, progress: Progress) -> tuple[int, Progress]:
        """Restore the newest sound checkpoint of a training, if there is one.

        Args:
            training: its name.
            progress: its beginning; what is restored lies on the devices as this does.
        """
        step = 0
        if self._checkpoints is not None:
            found = self._checkpoints.restore(training, progress)
            if found is not None:
                step, progress = found
                self._saved[training] = step
        if self._metrics is not None:
            self._metrics.rewind(training, step)
        self._advanced(step)
        self._last, self._length = (training, step, time.monotonic()), 1
        return step, progress

    def reached(self, training: str, step: int, steps: int, progress: Progress) -> int:
        """Log, save if it is time, and stop if that is requested.

        Raises:
            Preempted: after saving, if a host was asked to stop.
            InputError: what should be saved or logged cannot be written.
        """
        jax.block_until_ready(progress.losses)
        _, before, began = self._last
        now = time.monotonic()
        self._last = (training, step, now)
        if step > before:
            self._log(training, before, step, progress)
            self._advanced(step - before)
            pace = (step - before) / max(now - began, 1e-9)
            # At most doubled: the first chunk may have compiled, and paces vary.
            self._length = int(min(max(1, pace * self._chunk_seconds), 2 * self._length))
        # Hosts have clocks and signals of their own, and must act alike.
        wishes = [self._stop_requested(), now - self._saved_at > self._seconds, self._length]
        wished = hosts.agree(np.array(wishes, np.int32))
        stop, (_, due, length) = bool(wished[:, 0].any()), wished[0]
        if self._every_steps is not None:
            due |= step > before and step % self._every_steps == 0
            length = min(length, self._every_steps - step % self._every_steps)
        if step == steps:
            self._unsaved[training] = (step, progress)
        if due or stop:
            self._save(training, step, progress)
        if stop:
            if self._checkpoints is not None:
                self._checkpoints.wait()
            raise Preempted(training, step, saved=self._checkpoints is not None)
        return step + int(length)

    def between(self, work: str) -> None:
        """Stop here if that is requested: in work that is no training and keeps what it has done.

        Args:
            work: what it is, for the message.

        Raises:
            Preempted: a host was asked to stop.
        """
        if hosts.agree(np.array(self._stop_requested())).any():
            raise Preempted(work, 0, saved=True)

    def unfinished(self) -> list[str]:
        """Name the trainings, or groups ``<group>/<training>`` of them, with checkpoints."""
        return self._checkpoints.names() if self._checkpoints is not None else []

    def finished(self, name: str) -> None:
        """Forget a training or a group of them whose results are kept elsewhere by now."""
        for kept in (self._unsaved, self._saved):
            for training in list(kept):
                if training == name or training.startswith(f"{name}/"):
                    del kept[training]
        if self._checkpoints is not None:
            self._checkpoints.delete(name)

    def _save(self, training: str, step: int, progress: Progress) -> None:
        self._saved_at = time.monotonic()
        if self._checkpoints is None:
            return
        # What has finished since the last time comes first: a training resumes only if those
        # before it need not start over.
        for name, (at, whole) in {**self._unsaved, training: (step, progress)}.items():
            if self._saved.get(name) != at:
                self._checkpoints.save(name, at, whole)
                self._saved[name] = at
        self._unsaved.clear()

    def _log(self, training: str, before: int, step: int, progress: Progress) -> None:
        if self._metrics is not None:
            losses = hosts.gather(progress.losses)[before:step]
            self._metrics.write(training, range(before, step), {"loss": losses})
