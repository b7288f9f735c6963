"""A request to stop: SIGTERM, as batch systems send it some seconds before they kill."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: it failed for now, the same command goes on


class Preempted(Exception):  # noqa: N818 (a request is no error)
    """The run was asked to stop; what it had done is saved."""

    def __init__(self, training: str, step: int, *, saved: bool) -> None:
        self.saved = saved
        super().__init__(f"asked to stop at step {step} of {training}")


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Take SIGTERM for a request to stop; yields a function that says whether there was one.

    Only in the main thread of a process, where signals arrive; elsewhere no request is ever heard.
    """
    requested = False

    def note(number: int, frame: Any) -> None:
        del number, frame
        nonlocal requested
        requested = True

    try:
        before = signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread
        yield lambda: False
        return
    try:
        yield lambda: requested
    finally:
        signal.signal(signal.SIGTERM, before)
